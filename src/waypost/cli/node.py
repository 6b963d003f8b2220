"""The node that verbs talk to, and the verb that asks how it is."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from msgspec import to_builtins

from waypost.api.calls import TIMEOUT_S
from waypost.api.sync import SyncClient
from waypost.cli.output import emit, fields, output_option
from waypost.errors import ConfigError
from waypost.runtime.local import NAME, default_directory

URL: Final = "http://127.0.0.1:8480"
ROOT: Final = "keys/ca.crt"  # in a state directory

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, repr=False)
class Place:
    """Where the node is, and what it is shown; `ca` is a file with the roots that may certify it."""

    url: str
    token: str | None = None
    ca: Path | None = None

    def client(self, timeout_s: float = TIMEOUT_S) -> SyncClient:
        return SyncClient(self.url, token=self.token, ca=self.ca, timeout_s=timeout_s)


def node_option(function: F) -> F:
    """`--url` and what belongs to it; the verb gets `at`, a Place."""

    @wraps(function)
    def called(
        *args: Any, url: str | None, directory: Path | None, token_file: Path | None, ca: Path | None, **more: Any
    ) -> Any:
        return function(*args, at=place(url, directory, token_file, ca), **more)

    file = click.Path(path_type=Path)
    options = (
        click.option("--url", envvar="WAYPOST_URL", show_envvar=True, help=f"The node. [its own socket, else {URL}]"),
        click.option(
            "--dir", "directory", envvar="WAYPOST_DIR", type=file, help="The state directory with its socket."
        ),
        click.option("--token-file", envvar="WAYPOST_TOKEN_FILE", type=file, help="Say who asks: a file with a token."),
        click.option("--ca", envvar="WAYPOST_CA", type=file, help="Roots that may certify the node, PEM."),
    )
    for option in reversed(options):
        called = option(called)
    return called  # type: ignore[return-value]


def place(
    url: str | None = None, directory: Path | None = None, token_file: Path | None = None, ca: Path | None = None
) -> Place:
    """The URL that was given; else the node's own socket, where whoever asks is the operator; else the default one.

    A token goes to a URL: that of the file, or of WAYPOST_TOKEN.
    """
    folder = directory or default_directory(os.environ)
    if url is None and (folder / NAME).exists():
        return Place(f"unix://{(folder / NAME).absolute()}")
    root = folder / ROOT
    if ca is None and root.exists():
        ca = root
    return Place(url or URL, _token(token_file), ca)


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get("WAYPOST_TOKEN") or None
    try:
        return file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read as a token") from error


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
def status(everything: bool, at: Place, output: str) -> None:
    """Show how the node is.

    The table has the essentials; JSON, and the table with --all, have every figure.
    """
    with at.client() as node:
        report = node.status()
    emit(report, output, fields({"url": at.url} | _table(to_builtins(report), everything=everything)))


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
