"""The verb that looks up (RFC 9176, 6.2)."""

from itertools import islice

import click
from msgspec import to_builtins

from waypost.cli.ending import Exit
from waypost.cli.names import complete_criterion
from waypost.cli.node import Place, node_option
from waypost.cli.output import emit, fields, note, output_option, rows

PAGE_MAX = 1000  # the most that the node puts on one page


@click.command()
@click.argument("criteria", nargs=-1, metavar="[NAME=VALUE]...", shell_complete=complete_criterion)
@click.option("--links/--endpoints", default=True, show_default=True, help="What to list.")
@click.option("--record", metavar="[NAMESPACE/]KEY", help="Show a record that was voted on instead.")
@click.option("--quorum", is_flag=True, help="With --record: as a majority of the voters knows it now.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="List that many at most.")
@node_option
@output_option
def find(
    criteria: tuple[str, ...], links: bool, record: str | None, quorum: bool, limit: int, at: Place, output: str
) -> Exit:
    """Find links, or endpoints, that meet all criteria; or a record that was voted on.

    A criterion is an attribute of the link or of its endpoint; a star at the end stands for any ending:

        waypost find rt=temperature ep=cellar*

        waypost find --record names/lamp --quorum

    Exit code 1 if nothing was found, and of a record whose value was deleted.
    """
    if record is not None:
        if criteria:
            raise click.UsageError("a record is found by its key: leave out the criteria")
        return _record(record, quorum, at, output)
    if quorum:
        raise click.UsageError("--quorum is about a record: name it with --record")
    wanted = [criterion(text) for text in criteria]
    with at.client() as node:
        count = min(limit + 1, PAGE_MAX)
        found = list(islice(node.find("links" if links else "endpoints", wanted, count=count), limit + 1))
    items = to_builtins(found[:limit])
    columns = ("href", "anchor", "attributes") if links else ("id", "ep", "d", "base", "expires_in", "attributes")
    if items or output != "table":
        emit(items, output, rows(items, columns))
    if not items and output == "table":
        note("nothing found")
    if len(found) > limit:
        note(f"there is more: --limit {10 * limit} shows more of it")
    return Exit.OK if items else Exit.NOT_FOUND


def criterion(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.BadArgumentUsage(f"{text!r} is not a criterion; write it like rt=temperature")
    return name, value


def _record(key: str, quorum: bool, at: Place, output: str) -> Exit:
    from waypost.cli.claiming import place_in, shown
    from waypost.record import Committed

    with at.client() as node:
        standing = node.record(*place_in(key, None), quorum=quorum)
    line = shown(Committed(standing.record, standing.certificate))
    names = ("key", "value", "version", "holder", "home", "time", "voters")
    age = "never heard of a majority" if standing.age_s is None else f"{standing.age_s:.1f} s"
    emit(standing, output, fields({name: line[name] for name in names} | {"age": age}))
    return Exit.NOT_FOUND if standing.record.value is None else Exit.OK
