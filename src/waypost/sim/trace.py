"""What happened in a simulated world, line by line, and one digest of it all."""

import hashlib
from collections.abc import Callable
from typing import Final

from waypost.coap.message import decode
from waypost.coap.numbers import Code, Option, Type
from waypost.errors import WireError

METHODS: Final = {code.value: code.name for code in Code if 0 < code < 32}


def octets(data: bytes) -> str:
    """A datagram as a line shows it unless the room's own decoder does."""
    return data.hex() if len(data) <= 32 else f"{data[:16].hex()}… {len(data)} octets"


def coap(data: bytes) -> str:
    """A CoAP message in one line: `CON POST rd?ep=lamp [id 7, 52 octets]`; an answer with its payload's beginning."""
    try:
        message = decode(data)
    except WireError:
        return octets(data)
    values: dict[int, list[str]] = {}
    for number, value in message.options:
        values.setdefault(number, []).append(value.decode(errors="replace"))
    path = "/".join(values.get(Option.URI_PATH, []) or values.get(Option.LOCATION_PATH, []))
    query = "&".join(values.get(Option.URI_QUERY, []))
    method = METHODS.get(message.code)
    words = [
        Type(message.type).name,
        method or f"{message.code >> 5}.{message.code & 31:02d}",
        f"{path}?{query}" if query else path,
        "" if method else message.payload[:40].decode(errors="replace"),
        f"[id {message.id}, {len(data)} octets]",
    ]
    return " ".join(filter(None, words))


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
