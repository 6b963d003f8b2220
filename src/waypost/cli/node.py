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


ESSENTIAL: Final = {  # a gauge, and what people call it
    "registrations": "registrations",
    "registrations_hidden": "hidden",
    "registrations_held": "held by the brake",
    "changes_waiting": "changes waiting",
    "changes": "feed at change",
}


@click.command()
@click.option("--all", "everything", is_flag=True, help="Show every figure.")
@node_option
@output_option
def status(everything: bool, url: str, output: str) -> None:
    """Show how the node is.

    The table has the essentials; JSON, and the table with --all, have every figure.
    """
    with SyncClient(url) as node:
        report = node.status()
    emit(report, output, fields({"url": url} | _table(to_builtins(report), everything=everything)))


def _table(report: dict[str, Any], *, everything: bool) -> dict[str, Any]:
    gauges: dict[str, Any] = report["gauges"]
    minutes = int(report["uptime_s"]) // 60
    head: dict[str, Any] = {name: report[name] for name in ("version", "ready")} | report["checks"]
    head["up"] = f"{minutes // 1440} d {minutes // 60 % 24} h {minutes % 60} min"
    figures = gauges | report["counters"] if everything else {}
    if not everything:
        figures = {shown: gauges[name] for name, shown in ESSENTIAL.items() if name in gauges}
    return (
        head
        | figures
        | {f"listens {kind}": where for kind, where in report["listeners"].items()}
        | {"last error": report["last_error"]}
    )
