"""The verbs that have a record voted on, and that show what was."""

import re
from itertools import islice
from pathlib import Path

import click

from waypost.api.voted import Claimed
from waypost.cli.claiming import (
    author_of,
    author_option,
    before,
    deadline_option,
    key_argument,
    logged,
    place_in,
    put,
    queue_option,
    shown,
    tell,
)
from waypost.cli.ending import Exit
from waypost.cli.node import Place as At
from waypost.cli.node import node_option
from waypost.cli.output import emit, output_option, rows
from waypost.errors import RemoteError
from waypost.record import Committed, Place

HISTORY = ("version", "time", "value", "holder", "voters", "entry", "logged")


class Holder(click.ParamType[str]):
    """A public key."""

    name = "hex"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not re.fullmatch("[0-9a-f]{64}", text):
            self.fail(f"{text[:80]!r} is not the public half of an Ed25519 key in 64 hexadecimal digits", param, ctx)
        return text


class Transaction(click.ParamType[tuple[int, str]]):
    """Version and txid of a record."""

    name = "version/txid"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, str]:
        match = re.fullmatch("([1-9][0-9]{0,14})/([0-9a-f]{32})", str(value))
        if match is None:
            self.fail(f"{value!r} is not a version and a txid, as a claim tells them", param, ctx)
        return int(match[1]), match[2]


@click.command()
@key_argument
@click.argument("value", required=False)
@click.option("--if-version", type=click.IntRange(min=0), help="Only if this is the version now; 0: if there is none.")
@click.option("--delete", is_flag=True, help="No value: leave a tombstone, which the holder may write over.")
@click.option("--holder", type=Holder(), help="Who may change it from then on. [who holds it, else the key that signs]")
@click.option("--outcome", type=Transaction(), help="Send nothing: ask what became of an earlier claim.")
@click.option("--cancel", type=Transaction(), help="Send nothing: take back a claim that waits at the node.")
@queue_option
@author_option
@deadline_option
@node_option
@output_option
def claim(
    key: str,
    namespace: str | None,
    value: str | None,
    if_version: int | None,
    delete: bool,
    holder: str | None,
    outcome: tuple[int, str] | None,
    cancel: tuple[int, str] | None,
    queue: bool,
    file: Path | None,
    deadline_s: float,
    at: At,
    output: str,
) -> Exit:
    """Have VALUE voted on as the next version of KEY.

        waypost claim lamp coap://[2001:db8::1]

    The record is signed here, and the key that signs it is sent nowhere.  Exit code 0: it is committed; 4: somebody
    else was voted for, or it is not allowed; 3: nobody can say yet, as while it waits.
    """
    place = place_in(key, namespace)
    if outcome is not None or cancel is not None:
        if value is not None or delete or (outcome and cancel):
            raise click.UsageError("--outcome and --cancel send nothing: leave out VALUE, --delete, and the other")
        with at.client() as node:
            if outcome is not None:
                return tell(node.outcome(*place, *outcome), output)
            assert cancel is not None
            node.cancel(*place, *cancel)
            return tell(Claimed("cancelled", *place, *cancel), output)
    if (value is None) != delete:
        raise click.UsageError("give a VALUE, or --delete")
    author = author_of(file)
    with at.client() as node:
        next, current = before(node, place)
        if if_version is not None and if_version != next.version - 1:
            return tell(_elsewhere(place, if_version, current), output)
        keeper = holder or (current.record.holder if current else author.public)
        return tell(put(node, author.sign(next, place, value, keeper), deadline_s, queue=queue), output)


@click.command()
@key_argument
@click.argument("newholder", metavar="NEWHOLDER", type=Holder())
@queue_option
@author_option
@deadline_option
@node_option
@output_option
def transfer(
    key: str,
    namespace: str | None,
    newholder: str,
    queue: bool,
    file: Path | None,
    deadline_s: float,
    at: At,
    output: str,
) -> Exit:
    """Give KEY to another holder, who alone may change it from then on.

    NEWHOLDER is the public half of the new holder's key, as in the table of `waypost claim`.  Its value stays.
    """
    place = place_in(key, namespace)
    author = author_of(file)
    with at.client() as node:
        next, current = before(node, place)
        if current is None:
            raise RemoteError(f"nothing was ever voted on {key!r}", code=404)
        record = author.sign(next, place, current.record.value, newholder)
        return tell(put(node, record, deadline_s, queue=queue), output)


@click.command()
@key_argument
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="List that many at most.")
@node_option
@output_option
def history(key: str, namespace: str | None, limit: int, at: At, output: str) -> None:
    """List the versions of KEY, oldest first, who voted for each, and which entry of the log it is since when.

    JSON has each version with its certificate.
    """
    with at.client() as node:
        versions = list(islice(node.history(*place_in(key, namespace), count=min(limit, 1000)), limit))
    emit(versions, output, rows([shown(version) | logged(version) for version in versions], HISTORY))


def _elsewhere(place: Place, expected: int, current: Committed | None) -> Claimed:
    version = current.record.version if current else 0
    reason = f"version {version} is committed, and not {expected}"
    return Claimed("lost", *place, expected + 1, "", reason, current=current)
