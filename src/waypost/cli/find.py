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
@click.option("--at", "moment", metavar="TIME|INDEX", help="Show the records of these names as they were then.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="List that many at most.")
@node_option
@output_option
def find(
    criteria: tuple[str, ...],
    links: bool,
    record: str | None,
    quorum: bool,
    moment: str | None,
    limit: int,
    at: Place,
    output: str,
) -> Exit:
    """Find links, or endpoints, that meet all criteria; or a record that was voted on.

    A criterion is an attribute of the link or of its endpoint; a star at the end stands for any ending:

        waypost find rt=temperature ep=cellar*

        waypost find --record names/lamp --quorum

    With --at the arguments are names, [NAMESPACE/]KEY, of records; an INDEX is an entry of the node's log:

        waypost find --at 2026-11-20T12:00:00Z lamp names/door

    Exit code 1 if nothing was found, and of a record whose value was deleted.
    """
    if moment is not None:
        if quorum or not (criteria or record) or (criteria and record):
            raise click.UsageError("--at needs names of records, and nothing beside them")
        return _stood(criteria or (record or "",), moment, at, output)
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


def _stood(keys: tuple[str, ...], moment: str, at: Place, output: str) -> Exit:
    from waypost.api.calls import RefusedError
    from waypost.cli.claiming import logged, place_in, shown

    found, missing = [], []
    with at.client() as node:
        for key in keys:
            try:
                found.append(node.record_at(*place_in(key, None), moment))
            except RefusedError as error:
                if error.code != 404:
                    raise
                missing.append(key)
    columns = ("key", "value", "version", "holder", "time", "entry", "logged")
    if found or output != "table":
        emit(found, output, rows([shown(version) | logged(version) for version in found], columns))
    for key in missing:
        note(f"{key} was not in the log then")
    gone = [version for version in found if version.record.value is None]
    return Exit.NOT_FOUND if missing or gone else Exit.OK
