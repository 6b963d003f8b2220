"""The verb that follows the change feed."""

from contextlib import closing

import click

from waypost.api.schemas import Event
from waypost.cli.find import criterion
from waypost.cli.names import complete_criterion
from waypost.cli.node import Place, node_option
from waypost.cli.output import cell, emit, note, output_option, printable


@click.command()
@click.argument("criteria", nargs=-1, metavar="[NAME=VALUE]...", shell_complete=complete_criterion)
@click.option("--since", metavar="TOKEN", help="Resume after the event with this token; -o jsonl shows tokens.")
@click.option("--once", is_flag=True, help="End when all that is there has been shown.")
@node_option
@output_option
def watch(criteria: tuple[str, ...], since: str | None, once: bool, at: Place, output: str) -> None:
    """Watch endpoints come, change and go, a line for each event.

    First comes all that is there, then what changes; criteria are those of `waypost find`:

        waypost watch rt=temperature

    A lost connection is taken up again.  Ctrl-C ends it.
    """
    wanted = [criterion(text) for text in criteria]
    with at.client() as node, closing(node.watch(wanted, since=since)) as events:
        for event in events:
            if event.event not in ("synced", "reset") or output != "table":
                emit(event, output, _line(event))
            elif event.event == "reset":
                note(f"from the beginning: {printable(event.detail or '')}")
            if event.event == "synced" and once:
                return


def _line(event: Event) -> str:
    endpoint = event.endpoint
    columns = [event.event.ljust(6), cell(event.ep), cell(event.d)]
    if endpoint is not None:
        columns += [cell(endpoint.base), f"{len(endpoint.links or ())} links", endpoint.id]
    return "  ".join(columns)
