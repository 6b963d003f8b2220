"""What happened in a simulated world, line by line, and one digest of it all."""

import hashlib
from collections.abc import Callable


def octets(data: bytes) -> str:
    """A datagram as a line shows it unless the room's own decoder does."""
    return data.hex() if len(data) <= 32 else f"{data[:16].hex()}… {len(data)} octets"


class Trace:
    """Lines are kept only if `keep`; the digest is of all of them.  `describe` puts a datagram into words."""

    def __init__(self, *, keep: bool = True, describe: Callable[[bytes], str] = octets) -> None:
        self.lines: list[str] = []
        self.describe = describe
        self._keep = keep
        self._hash = hashlib.sha256()

    def add(self, now: float, text: str) -> None:
        line = f"{now:12.6f} {text}"
        self._hash.update(line.encode() + b"\n")
        if self._keep:
            self.lines.append(line)

    def digest(self) -> str:
        return self._hash.hexdigest()
