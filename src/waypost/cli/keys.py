"""What the verbs about keys share: the state directory that is meant, and files for one pair of eyes."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from waypost.config.settling import settle
from waypost.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from waypost.storage.keyring import Keyring

F = TypeVar("F", bound=Callable[..., Any])


def directory_option(function: F) -> F:
    """`--dir`: the state directory; no node needs to run."""
    return click.option("--dir", "directory", type=click.Path(path_type=Path), help="The state directory.")(function)


def operator_option(function: F) -> F:
    return click.option(
        "--operator-key", "operator", type=click.Path(path_type=Path), required=True, help="The operator's key, PEM."
    )(function)


def keyring_of(directory: Path | None) -> "Keyring":
    """Raises ConfigError if there are no keys, or they are not as they must be."""
    from waypost.storage.keyring import Keyring

    return Keyring.open_made(directory_of(directory))


def directory_of(directory: Path | None) -> Path:
    if directory is not None:
        return directory.expanduser().absolute()
    found = settle({}, os.environ)["dir"].value
    assert isinstance(found, Path)
    return found


def operator_key(file: Path) -> "Ed25519PrivateKey":
    """Raises ConfigError, which shows nothing of it."""
    from waypost.errors import WireError
    from waypost.identity.keys import read_private_ed25519

    try:
        return read_private_ed25519(read_file(file))
    except WireError as error:
        raise ConfigError(f"{file}: {error}") from error


def read_file(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(1 << 20)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {os.strerror(error.errno or 0)}") from error


def write_new(files: dict[Path, bytes]) -> None:
    """Each 0600 and durably; none that is there is written over.  Raises ConfigError."""
    for path, data in files.items():
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {os.strerror(error.errno or 0)}") from error
        with open(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """0600, whole and durably, in place of what is there.  Raises ConfigError."""
    from waypost.storage.files import sync_directory

    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    write_new({new: data})
    try:
        new.replace(path)
        sync_directory(path.parent, os.fsync)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {os.strerror(error.errno or 0)}") from error


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def day(moment_ms: int) -> str:
    """As 2027-01-31, in UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(moment_ms / 1000))
