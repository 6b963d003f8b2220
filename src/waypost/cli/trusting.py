"""Which logs and witnesses whoever verifies trusts: a policy file, and never one that comes with what is verified.

Source: C2SP tlog-policy; docs/ledger.md.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from waypost.cli.keys import read_file
from waypost.errors import ConfigError, WireError

if TYPE_CHECKING:
    from waypost.ledger.policy import Policy

NAME: Final = "tlog-policy"  # in the configuration directory

F = TypeVar("F", bound=Callable[..., Any])


def policy_option(function: F) -> F:
    """`--policy`; the verb gets `policy`, a Path or None."""
    return click.option(
        "--policy",
        envvar="WAYPOST_TLOG_POLICY",
        show_envvar=True,
        type=click.Path(path_type=Path),
        help="The logs and witnesses that you trust. [tlog-policy in the configuration directory]",
    )(function)


def trusted(file: Path | None) -> "Policy":
    """Raises ConfigError if there is none, or it is not right."""
    from waypost.ledger.policy import Policy

    path = file or configuration_directory() / NAME
    if file is None and not path.exists():
        raise ConfigError(
            f"there is no policy: {path}",
            hint="name one with --policy; `waypost log policy` writes one of the network that it asks",
        )
    try:
        return Policy.decode(read_file(path))
    except WireError as error:
        raise ConfigError(f"{path} is no policy: {error}") from error


def configuration_directory() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if base.startswith("/") else Path("~/.config").expanduser()  # XDG: a relative one is ignored
    return folder / "waypost"
