"""Files that only their owner may read: checked before they are opened, written whole and durably.

Source: notes on reliability, D1 ("secrets: 0600 files in a 0700 directory, checked at start").
"""

import os
import stat
from pathlib import Path

from waypost.errors import ConfigError


def require_private(directory: Path) -> None:
    """Raises ConfigError, with the command that helps, if others may read `directory` or a file in it."""
    _require(directory.parent, 0o022, "others may write there", "go-w")
    _require(directory, 0o077, "others may look into it", "700")
    for entry in sorted(directory.iterdir()):
        if entry.is_dir():
            raise ConfigError(f"{entry} is a directory, and only files belong there")
        _require(entry, 0o077, "others may read or write it", "600")


def _require(path: Path, forbidden: int, what: str, mode: str) -> None:
    found = path.stat()
    if found.st_uid != os.geteuid():
        owner, ours = found.st_uid, os.geteuid()
        raise ConfigError(f"{path} belongs to user {owner}, and this is user {ours}", hint=f"chown {ours} {path}")
    if found.st_mode & forbidden:
        raise ConfigError(f"{path}: {what} (mode {stat.S_IMODE(found.st_mode):o})", hint=f"chmod {mode} {path}")
