"""The verb that writes a file by which anybody can check a record, without asking anybody.

Source: C2SP tlog-proof; notes on the ledger, 5.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from waypost.api.calls import RefusedError
from waypost.api.sync import SyncClient
from waypost.cli.claiming import key_argument, place_in
from waypost.cli.keys import write_new
from waypost.cli.node import Place, node_option
from waypost.cli.output import emit, fields, note, output_option
from waypost.cli.reports import Proven
from waypost.errors import RemoteError, UnreachableError, WireError

WAIT_S: Final = 30.0
PAUSE_S: Final = 0.5

F = TypeVar("F", bound=Callable[..., Any])


def wait_option(function: F) -> F:
    return click.option(
        "--wait",
        "wait_s",
        type=click.FloatRange(min=0),
        default=WAIT_S,
        show_default=True,
        help="Seconds for which to wait for a head that witnesses have cosigned.",
    )(function)


@click.command()
@key_argument
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--version", type=click.IntRange(min=1), help="Which one. [the newest]")
@wait_option
@node_option
@output_option
def prove(
    key: str, namespace: str | None, file: Path, version: int | None, wait_s: float, at: Place, output: str
) -> None:
    """Write into FILE the proof that a record is in the log of the node.

        waypost prove lamp lamp.proof

    The file has the record, who signed it, who voted, its place in the log, and the log's head with the cosignatures of
    its witnesses.  `waypost verify` checks it, on any machine, for ever.
    """
    place = place_in(key, namespace)
    with at.client() as node:
        write(file, node, lambda: node.prove(*place, version), wait_s, output)


def write(file: Path, node: SyncClient, ask: Callable[[], bytes], wait_s: float, output: str) -> None:
    """The proof, when enough witnesses have cosigned, or time is over."""
    quorum = _quorum(node)
    data, proven = _waited(file, ask, quorum, time.monotonic() + wait_s)
    write_new({file: data})
    shown = {"proof": str(file), "entry": proven.index, "log": proven.origin, "size": proven.size}
    emit(proven, output, fields(shown | {"cosigned": ", ".join(proven.cosigners)}))
    if output == "table" and len(proven.cosigners) < quorum:
        note(f"{quorum} witnesses should have cosigned: most policies will not take this; try again in a while")


def _waited(file: Path, ask: Callable[[], bytes], quorum: int, until: float) -> tuple[bytes, Proven]:
    while True:
        try:
            data = ask()
            proven = _read(file, data)
            if len(proven.cosigners) >= quorum or time.monotonic() + PAUSE_S > until:
                return data, proven
        except RefusedError as error:
            if error.code != 503 or time.monotonic() + PAUSE_S > until:
                raise
        time.sleep(PAUSE_S)


def _quorum(node: SyncClient) -> int:
    """How many cosignatures the node wants; 0 if it does not say."""
    try:
        return node.log().quorum
    except RemoteError:
        return 0


def _read(file: Path, data: bytes) -> Proven:
    from waypost.ledger.proof import ProofFile

    try:
        proof = ProofFile.decode(data)
    except WireError as error:
        raise UnreachableError(f"what answered is not a node: {error}") from error
    head = proof.head
    by = tuple(dict.fromkeys(line.name for line in head.note.lines if line.name != head.origin))
    return Proven(str(file), head.origin, proof.index, head.size, by)
