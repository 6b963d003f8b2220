"""The policy file in the state directory.

Source: design, "One authorization choke point".
"""

import os
import tomllib
from pathlib import Path
from typing import Final

from waypost.engine import PutFile
from waypost.errors import ConfigError
from waypost.identity.policy import DEFAULT, Policy
from waypost.storage.files import Files

NAME: Final = "policy.toml"
OCTETS_MAX: Final = 1 << 20


def open_policy(directory: Path) -> Policy:
    """That of the node; where there is none, the default is written.  Raises ConfigError."""
    file = directory / NAME
    if not file.exists():
        Files(directory, os.fsync).write([PutFile(NAME, DEFAULT.encode())])
    return read_policy(file)


def read_policy(file: Path) -> Policy:
    """Raises ConfigError if `file` cannot be read, or says what is not understood."""
    try:
        octets = file.read_bytes()
        if len(octets) > OCTETS_MAX:
            raise ConfigError(f"{file} has more than {OCTETS_MAX} octets")
        document = tomllib.loads(octets.decode())
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {os.strerror(error.errno or 0)}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
    return Policy.read(document, str(file))
