"""The verb that says what changed between two entries of the log, or two times.

Source: notes on the ledger, 5; notes on reliability, A3.
"""

from itertools import islice
from typing import Any, Final

import click

from waypost.api.calls import RefusedError
from waypost.api.logged import Entry
from waypost.api.sync import SyncClient
from waypost.cli.claiming import at as shown_at
from waypost.cli.node import Place as At
from waypost.cli.node import node_option
from waypost.cli.output import emit, note, output_option, rows
from waypost.cli.reports import Difference, Stood
from waypost.errors import RemoteError, WireError
from waypost.record import ROSTER, Committed, Place

PAGE: Final = 1_000
COLUMNS: Final = ("key", "version", "value", "holder", "entry", "logged")
LOOK_AHEAD: Final = 50  # entries among which one tells the time
COSIGNATURE_SIZE: Final = 72  # octets: a time and a signature
START: Final = -1  # before the first entry


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@node_option
@output_option
def diff(a: str, b: str, at: At, output: str) -> None:
    """Show what became of which names after A, until B: each is an entry of the log, or a time.

        waypost log diff 120 180

        waypost log diff 2026-11-20 2026-11-21T12:00:00Z

    A time is when this node wrote it down, in UTC if it does not say.  Entry A is not among the changes, entry B is.
    """
    with at.client() as node:
        size = node.log().size
        after, until = (_index(node, size, text) for text in (a, b))
        if after > until:
            raise click.UsageError(f"{a} comes after {b}")
        changes = _changes(node, after, until)
        found = [
            Difference(*place, _stood(node, place, after), _of(node, place, last)) for place, last in changes.items()
        ]
    emit(found, output, rows([_line(each) for each in found], COLUMNS))
    if output == "table" and not found:
        note("no record changed")


def _changes(node: SyncClient, after: int, until: int) -> dict[Place, int]:
    """The last entry of each key, in the order of the first ones."""
    changes: dict[Place, int] = {}
    for entry in islice(node.entries(after + 1, count=PAGE), until - after):
        committed = _committed(entry)
        if committed is not None:
            changes[committed.record.place] = entry.index
    return changes


def _stood(node: SyncClient, place: Place, index: int) -> Stood | None:
    if index == START:
        return None
    try:
        return _of(node, place, index)
    except RefusedError as error:
        if error.code != 404:
            raise
        return None


def _of(node: SyncClient, place: Place, index: int) -> Stood:
    version = node.record_at(*place, index)
    record = version.record
    return Stood(record.version, record.value, record.holder, version.index, version.logged_ms)


def _index(node: SyncClient, size: int, text: str) -> int:
    """The last entry that there was; START: none."""
    from waypost.api.indexed import moment

    wanted = moment(text)
    if wanted is None:
        raise click.UsageError(f"{text!r} is neither an entry nor a time such as 2026-11-21T12:00:00Z")
    if wanted.index is not None:
        if wanted.index >= size:
            raise RemoteError(f"the log has no entry {wanted.index}: it has {size}", code=404)
        return wanted.index
    assert wanted.wall_ms is not None
    least, most = START, size - 1  # by halves: it is `least`, or later, and not after `most`
    while least < most:
        middle = (least + most + 1) // 2
        dated = _dated(node, middle)
        if dated is None or dated[1] > wanted.wall_ms:
            most = middle - 1
        else:
            least = max(middle, min(dated[0], most))
    return least


def _dated(node: SyncClient, index: int) -> tuple[int, int] | None:
    """The first entry from `index` on that says when it was written, and when; None if none is near."""
    for entry in islice(node.entries(index, count=LOOK_AHEAD), LOOK_AHEAD):
        wall_ms = _written(node, entry)
        if wall_ms is not None:
            return entry.index, wall_ms
    return None


def _written(node: SyncClient, entry: Entry) -> int | None:
    """By this node's clock: of a record, or the head of another log that it cosigned."""
    from waypost.ledger.checkpoint import read_head
    from waypost.ledger.entry import Kind, decode

    committed = _committed(entry)
    if committed is not None:
        return node.record_at(*committed.record.place, entry.index).logged_ms
    read = decode(entry.data)
    if read.kind is not Kind.PEER_HEAD:
        return None
    try:
        lines = read_head(read.body).note.lines
    except WireError:
        return None
    times = [int.from_bytes(line.signature[:8], "big") for line in lines if len(line.signature) == COSIGNATURE_SIZE]
    return 1000 * min(times) if times else None


def _committed(entry: Entry) -> Committed | None:
    from waypost.ledger.entry import Kind, decode, read_commit

    read = decode(entry.data)
    try:
        return read_commit(read.body).committed if read.kind is Kind.COMMIT else None
    except WireError:
        return None


def _line(found: Difference) -> dict[str, Any]:
    was, now = found.before, found.after
    return {
        "key": f"{found.namespace}/{found.key}",
        "version": f"{was.version if was else '-'} > {now.version}",
        "value": "(a roster)" if (found.namespace, found.key) == ROSTER else _pair(_value(was), _value(now)),
        "holder": _pair(was.holder[:16] if was else "-", now.holder[:16]),
        "entry": now.index,
        "logged": None if now.logged_ms is None else shown_at(now.logged_ms),
    }


def _pair(was: str, now: str) -> str:
    return now if was == now else f"{was} > {now}"


def _value(stood: Stood | None) -> str:
    if stood is None:
        return "-"
    return "(nothing)" if stood.value is None else stood.value
