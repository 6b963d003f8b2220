"""A log of anybody's, read over HTTP file by file.

Source: C2SP tlog-tiles.
"""

import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from waypost import __version__
from waypost.api.calls import context
from waypost.errors import ConfigError, RemoteError, StoreError, UnreachableError

if TYPE_CHECKING:
    from waypost.ledger.checkpoint import Head
    from waypost.ledger.tree import Tree

TIMEOUT_S: Final = 30.0
CHECKPOINT_MAX: Final = 64 << 10  # octets
FILE_MAX: Final = 256 * (2 + 65_535)  # octets: a bundle of the largest entries


class Log:
    """`url` is what /checkpoint and /tile/… come after; `ca` has the roots that may certify its server."""

    def __init__(self, url: str, ca: Path | None = None) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"{url!r} is not a URL: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ConfigError(f"{url!r} is not the URL of a log", hint="write it like http://127.0.0.1:8480/log")
        self.url = url.rstrip("/")
        self._path = parts.path.rstrip("/")
        self._connection: HTTPConnection
        if parts.scheme == "https":
            secure: ssl.SSLContext = context(ca)
            self._connection = HTTPSConnection(parts.hostname, port, timeout=TIMEOUT_S, context=secure)
        else:
            self._connection = HTTPConnection(parts.hostname, port, timeout=TIMEOUT_S)

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def checkpoint(self) -> bytes:
        """The log's head now.  Raises RemoteError if there is none."""
        data = self._get("checkpoint", CHECKPOINT_MAX)
        if data is None:
            raise RemoteError(f"there is no log at {self.url}", code=404)
        return data

    def get(self, path: str) -> bytes | None:
        """A tile; None, there is none of that name.  Raises UnreachableError."""
        return self._get(path, FILE_MAX)

    def tree(self, head: "Head") -> "Tree":
        """Of the log's tiles, whatever is in them.  Raises StoreError if one is missing."""
        from waypost.ledger.tiles import WIDTH, Tile
        from waypost.ledger.tree import HASH_SIZE, Tree

        def full(level: int, index: int) -> bytes:
            data = self.get(Tile(level, index, WIDTH).path)
            if data is None or len(data) != WIDTH * HASH_SIZE:
                raise StoreError(f"{Tile(level, index, WIDTH).path} is missing")
            return data

        last = Tile(0, head.size // WIDTH, head.size % WIDTH)
        hashes = (self.get(last.path) or self.get(last.full.path) or b"") if last.width else b""
        if len(hashes) < last.width * HASH_SIZE:
            raise StoreError(f"{last.path} is missing")
        tail = [hashes[place : place + HASH_SIZE] for place in range(0, last.width * HASH_SIZE, HASH_SIZE)]
        tree = Tree(full)
        tree.restore(head.size, tail)
        return tree

    def _get(self, path: str, most: int) -> bytes | None:
        try:
            try:
                return self._ask(path, most)
            except (ConnectionError, HTTPException):  # the server closed the idle connection
                self._connection.close()
                return self._ask(path, most)
        except (OSError, HTTPException) as error:
            self._connection.close()
            raise UnreachableError(f"no answer from {self.url}: {str(error) or type(error).__name__}") from error

    def _ask(self, path: str, most: int) -> bytes | None:
        headers = {"User-Agent": f"waypost/{__version__}", "Accept-Encoding": "identity"}
        self._connection.request("GET", f"{self._path}/{path}", headers=headers)
        response = self._connection.getresponse()
        data = response.read(most + 1)
        if response.status == 200 and len(data) <= most:
            return data
        self._connection.close()
        if response.status in (404, 410):
            return None
        raise UnreachableError(
            f"{self.url}/{path} is too large"
            if response.status == 200
            else f"{self.url}/{path} is answered with status {response.status}"
        )
