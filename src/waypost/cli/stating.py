"""The verb that enters a signed statement in the log.

Who signs two statements with one `prev` has said two things at once, and the two prove it.  So what a key stated last
is remembered in a file beside it, and written there before it is sent; the same words go out again as the same octets.

Source: notes on the ledger, L9 and 5 (proof 3); ledger/statement.py.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from waypost.api.calls import RefusedError
from waypost.cli.claiming import HOLDER_KEY, Author, author_of, author_option
from waypost.cli.keys import read_file, replace_file, wall_ms
from waypost.cli.node import Place, node_option
from waypost.cli.output import emit, fields, output_option
from waypost.cli.reports import Stated
from waypost.cli.trusting import configuration_directory
from waypost.errors import ConfigError, StateError, WireError

if TYPE_CHECKING:
    from waypost.ledger.statement import Statement

LAST: Final = ".last"  # behind the name of the key's file: the last statement that a log has
SENT: Final = ".sent"  # and one of which that is not known


@click.command()
@click.argument("body", metavar="FILE|JSON")
@click.option("--kind", default="note", show_default=True, help="What sort of statement it is, in a word.")
@click.option("--prev", metavar="HASH", help="The signer's last statement. [as remembered beside the key]")
@click.option("--first", is_flag=True, help="The key has stated nothing before, here or elsewhere.")
@author_option
@node_option
@output_option
def add(body: str, kind: str, prev: str | None, first: bool, file: Path | None, at: Place, output: str) -> None:
    """Sign a statement, a JSON object, and have it entered in the log for ever.

        waypost log add '{"says": "hello"}' --first

    Each statement names the one that its signer made before; who makes two upon one has said two things at once, which
    anybody can prove.  What a key stated last is remembered in a file beside it.  If it is not known whether a
    statement arrived, the same command sends it again, and makes no other.
    """
    author = author_of(file)
    path = file or configuration_directory() / HOLDER_KEY
    statement = _drafted(author, path, kind, _object(body), prev, first=first)
    replace_file(_beside(path, SENT), statement.encode())
    with at.client() as node:
        try:
            entered = node.enter(statement)
        except RefusedError as error:
            raise StateError(
                str(error), hint=f"the same command sends it again; to give it up, remove {_beside(path, SENT)}"
            ) from error
    replace_file(_beside(path, LAST), statement.encode())
    _beside(path, SENT).unlink()
    stated = Stated(entered.index, entered.head.size, statement.hash, statement.prev, statement.signer)
    emit(stated, output, fields({"entry": stated.index, "statement": stated.hash, "signer": stated.signer}))


def _drafted(
    author: Author, path: Path, kind: str, body: dict[str, Any], prev: str | None, *, first: bool
) -> "Statement":
    """What was sent before, if it says the same and nobody knows what became of it; else a new one."""
    from waypost.ledger.statement import Statement

    sent, last = _read(path, SENT, author), _read(path, LAST, author)
    if sent is not None and not (last is not None and last.hash == sent.hash):
        if (sent.kind, sent.body) == (kind, body) and prev in (None, sent.prev):
            return sent
        raise StateError(
            "it is not known what became of the statement before this one",
            hint=f"send that again first, or give it up: it is in {_beside(path, SENT)}",
        )
    if prev is None and last is None and not first:
        raise StateError(
            "it is not known what this key has stated before",
            hint="--first if nothing, else --prev with the hash of the last",
        )
    if first and (last is not None or prev is not None):
        raise StateError("the key has stated something before: leave out --first")
    before = last.hash if prev is None and last is not None else prev or ""
    try:
        statement = msgspec.convert(
            {"at_ms": wall_ms(), "body": body, "kind": kind, "prev": before, "signer": author.public}, Statement
        ).signed(author.key.sign)
        statement.encode()
    except (WireError, ValueError) as error:  # msgspec's errors are
        raise ConfigError(f"it can be no statement: {error}") from error
    return statement


def _read(path: Path, end: str, author: Author) -> "Statement | None":
    from waypost.ledger.statement import Statement

    file = _beside(path, end)
    if not file.exists():
        return None
    try:
        statement = Statement.decode(read_file(file))
    except WireError as error:
        raise ConfigError(f"{file}: {error}") from error
    if statement.signer != author.public:
        raise ConfigError(f"{file} is of another key")
    return statement


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _object(text: str) -> dict[str, Any]:
    source = text.encode("utf-8", "surrogateescape") if re.match(r"\s*\{", text) else read_file(Path(text))
    try:
        return msgspec.json.decode(source, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the statement is no JSON object: {error}") from error
