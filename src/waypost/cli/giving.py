"""A key that goes from one holder to another: what the new one writes, and the old one uses.

Source: notes on DRiP, 5.4.
"""

from pathlib import Path
from typing import Final

import click
import msgspec

from waypost.api import claims
from waypost.api.claims import Taking
from waypost.api.voted import Next
from waypost.cli.claiming import Author
from waypost.cli.keys import write_new
from waypost.errors import ConfigError, DeniedError
from waypost.record import Committed, Transfer
from waypost.record.wire import encode

ACCEPTED: Final = click.Path(path_type=Path, exists=True, dir_okay=False)
TAKING_MAX: Final = 4_096  # octets


def write_taking(path: Path, author: Author, next: Next, current: Committed) -> Taking:
    """Raises ConfigError."""
    taking = claims.transfer(next, current.record, taker=author.octets, sign=author.key.sign)
    write_new({path: encode(taking) + b"\n"})
    return taking


def read_taking(path: Path) -> Taking:
    """Raises ConfigError."""
    with path.open("rb") as stream:
        data = stream.read(TAKING_MAX + 1)
    try:
        return msgspec.json.decode(data, type=Taking)
    except ValueError as error:  # msgspec's errors are ValueErrors
        raise ConfigError(f"{path} is not what `waypost transfer --accept` writes") from error


def taken_in(path: Path | None, next: Next, current: Committed | None, holder: str) -> str:
    """The new holder's signature, "" without a file.  Raises ConfigError, DeniedError if it is of something else."""
    if path is None:
        return ""
    taking = read_taking(path)
    if current is None:
        raise DeniedError("there is nothing to take over: the key has no version yet")
    record = current.record
    agreed = Transfer(*record.place, next.version, next.prev, record.holder, holder)
    if taking.network != next.network or taking.transfer.taker != holder or taking.transfer.key != record.key:
        raise DeniedError(f"{path} is about another key, or somebody else's")
    if taking.transfer != agreed:
        sentence = f"the key has another version than when {path} was written"
        raise DeniedError(sentence, hint="the new holder runs `waypost transfer --accept` again")
    from waypost.identity.keys import verifies

    if not verifies(bytes.fromhex(holder), bytes.fromhex(taking.signature), agreed.to_sign(next.network)):
        raise DeniedError(f"{path} is not signed by the new holder")
    return taking.signature
