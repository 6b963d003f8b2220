"""The state directory, and the node's own socket in it: whoever may open that is the operator.

The address of a Unix socket has room for 107 octets; a longer path is reached through its directory, held open.

Source: unix(7); design, "One authorization choke point".
"""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

NAME: Final = "waypost.sock"
ADDRESS_MAX: Final = 107  # octets


def default_directory(environ: Mapping[str, str]) -> Path:
    """The state directory of a node that was told of none."""
    data = environ.get("XDG_DATA_HOME", "")
    # XDG base directories: a relative path there is to be ignored.
    return (Path(data) if data.startswith("/") else Path("~/.local/share").expanduser()) / "waypost"


@contextmanager
def address_of(path: Path) -> Iterator[str]:
    """What bind() and connect() take for `path`, of any length, inside."""
    if len(os.fsencode(path)) <= ADDRESS_MAX:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def bind(path: Path) -> socket.socket:
    """A socket that its owner alone may open.  What a dead node left there gives way: the caller has the directory.

    Raises OSError.
    """
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with address_of(path) as address:
            made.bind(address)
    except OSError:
        made.close()
        raise
    finally:
        os.umask(before)
    made.setblocking(False)
    return made


def connect(path: Path, timeout_s: float) -> socket.socket:
    """Raises OSError."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(timeout_s)
    try:
        with address_of(path) as address:
            made.connect(address)
    except OSError:
        made.close()
        raise
    return made
