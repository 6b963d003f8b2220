"""The verbs that have a record voted on, and that show what was."""

import re
from itertools import islice
from pathlib import Path

import click
import msgspec

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
from waypost.cli.giving import ACCEPTED, read_taking, taken_in, write_taking
from waypost.cli.node import Place as At
from waypost.cli.node import node_option
from waypost.cli.output import emit, fields, output_option, rows
from waypost.errors import RemoteError
from waypost.record import Cited, Committed, Place

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


class Cite(click.ParamType[Cited]):
    """A version of another key."""

    name = "[namespace/]key@version"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Cited:
        key, _, version = str(value).rpartition("@")
        try:
            namespace, name = place_in(key, None)
            return msgspec.convert({"namespace": namespace, "key": name, "version": int(version)}, Cited)
        except ValueError:  # msgspec's errors are ValueErrors
            self.fail(f"{value!r} is not a key and its version, as names/lamp@3", param, ctx)


@click.command()
@key_argument
@click.argument("value", required=False)
@click.option("--if-version", type=click.IntRange(min=0), help="Only if this is the version now; 0: if there is none.")
@click.option("--delete", is_flag=True, help="No value: leave a tombstone, which the holder may write over.")
@click.option("--holder", type=Holder(), help="Who may change it from then on. [who holds it, else the key that signs]")
@click.option("--cite", "cites", type=Cite(), multiple=True, help="A grant that it relies on.  May be repeated.")
@click.option("--accepted", type=ACCEPTED, help="The new holder's word, if it is another than before: see transfer.")
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
    cites: tuple[Cited, ...],
    accepted: Path | None,
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
        taken = taken_in(accepted, next, current, keeper)
        signed = author.sign(next, place, value, keeper, cites=cites, taken=taken)
        return tell(put(node, signed, deadline_s, queue=queue), output)


@click.command()
@key_argument
@click.argument("newholder", metavar="[NEWHOLDER]", type=Holder(), required=False)
@click.option(
    "--accept", "accept", type=click.Path(path_type=Path), help="As the new holder: write FILE and send nothing."
)
@click.option("--accepted", type=ACCEPTED, help="What the new holder wrote so.")
@queue_option
@author_option
@deadline_option
@node_option
@output_option
def transfer(
    key: str,
    namespace: str | None,
    newholder: str | None,
    accept: Path | None,
    accepted: Path | None,
    queue: bool,
    file: Path | None,
    deadline_s: float,
    at: At,
    output: str,
) -> Exit:
    """Give KEY to another holder, who alone may change it from then on.  Its value stays.

    Nobody is given what he does not take.  The new holder writes a file, and the holder uses it:

        waypost transfer lamp --accept lamp.taken
        waypost transfer lamp --accepted lamp.taken

    The file is good until KEY has another version.  NEWHOLDER, the public half of the new holder's key as in the
    table of `waypost claim`, need not be given: it says that the file is to be of nobody else.
    """
    place = place_in(key, namespace)
    if accept is not None and (newholder or accepted):
        raise click.UsageError("--accept is for the new holder alone: leave out NEWHOLDER and --accepted")
    if accept is None and newholder is None and accepted is None:
        raise click.UsageError("give --accepted FILE, or as the new holder --accept FILE")
    author = author_of(file)
    with at.client() as node:
        next, current = before(node, place)
        if current is None:
            raise RemoteError(f"nothing was ever voted on {key!r}", code=404)
        if accept is not None:
            taking = write_taking(accept, author, next, current)
            emit(taking, output, fields({"key": key, "version": next.version, "holder": author.public, "file": accept}))
            return Exit.OK
        keeper = newholder or ("" if accepted is None else read_taking(accepted).transfer.taker)
        taken = taken_in(accepted, next, current, keeper)
        record = author.sign(next, place, current.record.value, keeper, taken=taken)
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
