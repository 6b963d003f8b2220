"""The verb that removes a registration and keeps its name out."""

import re
from typing import Final

import click
from msgspec import to_builtins

from waypost.api.schemas import LIFETIME_MAX, Eviction
from waypost.api.sync import SyncClient
from waypost.cli.directory import id_of
from waypost.cli.names import complete_endpoint
from waypost.cli.node import Place, node_option
from waypost.cli.output import emit, fields, output_option, rows
from waypost.cli.reports import Evicted, Readmitted
from waypost.errors import RemoteError

UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Duration(click.ParamType[int]):
    """A number with a unit, as in 90s, 15m, 1h or 7d; in seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"([0-9]{1,10})([smhd]?)", str(value), re.ASCII)
        seconds = int(match[1]) * UNITS[match[2]] if match else 0
        if not 1 <= seconds <= LIFETIME_MAX:
            self.fail(f"{value!r} is not a duration such as 90s, 15m, 1h or 7d", param, ctx)
        return seconds


@click.command()
@click.argument("endpoint", metavar="[ID|NAME]", required=False, shell_complete=complete_endpoint)
@click.option("--d", "--sector", "d", help="The sector it is in.")
@click.option("--for", "for_s", type=Duration(), help="Keep the name out so long, as in 1h.")
@click.option("--list", "listed", is_flag=True, help="List the names that are kept out.")
@click.option("--undo", is_flag=True, help="Let the name back in.")
@node_option
@output_option
def evict(
    endpoint: str | None, d: str | None, for_s: int | None, listed: bool, undo: bool, at: Place, output: str
) -> None:
    """Remove a registration; with --for its device is refused for a while when it comes back.

    waypost evict lamp-3 --for 1h

    waypost evict --list

    waypost evict --undo lamp-3
    """
    if listed != (endpoint is None) or (for_s is not None and (listed or undo)) or (undo and listed):
        raise click.UsageError("give a name, perhaps with --for; or --undo and a name; or --list alone")
    with at.client() as node:
        if endpoint is None:
            items = to_builtins(node.evictions())
            emit(items, output, rows(items, ("ep", "d", "remaining_s", "id")))
        elif undo:
            eviction = _eviction(node, endpoint, d)
            node.readmit(eviction.id)
            emit(Readmitted(eviction.id, eviction.ep), output, fields({"readmitted": endpoint}))
        else:
            id = id_of(node, endpoint, d)
            if for_s is None:
                node.unregister(id)
            else:
                node.evict(id, for_s=for_s)
            emit(Evicted(id, for_s), output, fields({"evicted": endpoint, "for_s": for_s}))


def _eviction(node: SyncClient, endpoint: str, d: str | None) -> Eviction:
    found = [entry for entry in node.evictions() if endpoint in (entry.ep, entry.id) and d in (None, entry.d)]
    if not found:
        raise RemoteError(f"nobody is kept out under the name {endpoint!r}", code=404)
    if len(found) > 1:
        raise click.BadArgumentUsage(f"several of the name {endpoint!r} are kept out: add --sector")
    return found[0]
