"""The node that verbs talk to, and the verb that asks how it is."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
from msgspec import to_builtins

from waypost.api.sync import SyncClient
from waypost.cli.output import emit, fields, output_option

URL: Final = "http://127.0.0.1:8480"

F = TypeVar("F", bound=Callable[..., Any])


def node_option(function: F) -> F:
    """`--url`: where the node's HTTP API is."""
    return click.option(
        "--url", envvar="WAYPOST_URL", default=URL, show_default=True, show_envvar=True, help="The node."
    )(function)


@click.command()
@node_option
@output_option
def status(url: str, output: str) -> None:
    """Show how the node is."""
    with SyncClient(url) as node:
        report = to_builtins(node.status())
    checks, counters, gauges = report["checks"], report["counters"], report["gauges"]
    head = {name: value for name, value in report.items() if not isinstance(value, dict)}
    emit(report, output, fields({"url": url} | head | checks | gauges | counters))
