"""The verb that writes down all that helps somebody else to see what is wrong, and no secret.

Nothing goes in that is not named here: no file of the state directory is copied, and of a log only what a node wrote
as a message, with its time and level.  What else stands in it, such as a key that was shown at the first start, stays
out.
"""

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from msgspec import to_builtins

from waypost import __version__
from waypost.cli.config import chosen, config_options
from waypost.cli.doctor import examine, place_of
from waypost.cli.keys import write_new
from waypost.cli.node import Place
from waypost.cli.output import emit, output_option
from waypost.cli.reports import Bundled, Set
from waypost.config import Config
from waypost.config.settling import Setting, build, settle
from waypost.errors import ConfigError, RemoteError, UnreachableError

ANSWER_S: Final = 5.0
LOG_LINES: Final = 500
LOG_TAIL: Final = 1 << 20  # octets at the end of a log
LOG_NAMES: Final = ("timestamp", "level", "logger", "event", "exception")  # of a line of JSON
HUMAN: Final = re.compile(r"(?:\x1b\[\d*m)*\d{4}-\d\d-\d\dT[0-9:.]+Z.{0,16}? \[(?:\x1b\[[0-9;]*m)*[a-z]+ *.*", re.ASCII)


@click.command()
@click.argument("out", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--log", "log_file", type=click.Path(path_type=Path), help="Take the last lines of this log of the node.")
@click.option("--url", envvar="WAYPOST_URL", show_envvar=True, help="The node. [its own socket, else http.listen]")
@config_options
@output_option
def report(out: Path, log_file: Path | None, url: str | None, file: Path | None, output: str, **options: Any) -> None:
    """Write what helps to see what is wrong into FILE, for somebody else: JSON, without secrets.

    Versions, the configuration, what the doctor finds, status and metrics if the node runs, and the log if it is
    named.  Give it the options that the node has.
    """
    settings = settle(chosen(options), os.environ, file)
    config = build(settings.values())
    sections = dict(_sections(config, settings, place_of(config, url), log_file))
    write_new({out: msgspec.json.format(msgspec.json.encode(sections), indent=1) + b"\n"})
    told = f"{out} has {', '.join(sections)}: look at it before you give it away; it shows names and addresses"
    emit(Bundled(str(out), tuple(sections)), output, told)


def _sections(
    config: Config, settings: dict[str, Setting], at: Place, log_file: Path | None
) -> Iterator[tuple[str, object]]:
    yield "made", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    yield "versions", _versions()
    values = (Set(key, s.value if isinstance(s.value, str | int | tuple) else str(s.value), s.source)
              for key, s in settings.items())  # fmt: skip
    yield "configuration", list(values)
    yield "doctor", examine(config, at)
    yield "status", _status(at)
    yield "metrics", _metrics(at)
    if log_file is not None:
        yield "log", list(log_lines(_tail(log_file)))


def _versions() -> dict[str, str]:
    from cryptography import __version__ as cryptography
    from cryptography.hazmat.backends.openssl import backend

    system = os.uname()
    return {
        "waypost": __version__,
        "python": sys.version.split(" ")[0],
        "system": f"{system.sysname} {system.release} {system.machine}",
        "cryptography": cryptography,
        "openssl": backend.openssl_version_text(),
    }


def _status(at: Place) -> object:
    try:
        with at.client(ANSWER_S) as node:
            return to_builtins(node.status())
    except (RemoteError, UnreachableError) as error:
        return str(error)


def _metrics(at: Place) -> object:
    try:
        with at.client(ANSWER_S) as node:
            return node.metrics().splitlines()
    except (RemoteError, UnreachableError) as error:
        return str(error)


def log_lines(text: str) -> Iterator[object]:
    """The last messages of a node's log, in either of its forms; whatever else is there is left out."""
    from waypost.identity.token import redacted

    for line in text.splitlines()[-LOG_LINES:]:
        try:
            written = msgspec.json.decode(line)
        except msgspec.DecodeError:
            if HUMAN.fullmatch(line):
                yield redacted(line)
            continue
        if isinstance(written, dict) and "timestamp" in written:
            yield {name: redacted(str(written[name])) for name in LOG_NAMES if name in written}


def _tail(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - LOG_TAIL))
            return stream.read(LOG_TAIL).decode(errors="replace")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {os.strerror(error.errno or 0)}") from error
