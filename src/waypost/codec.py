"""Octets to values and back.

Encoding is an expression: each function returns bytes, and a structure is the sum of its fields in
wire order.  Decoding is a bounded cursor: a length-prefixed block is read through a Reader of its
own, so no field can run past its block.

All integers are unsigned and big-endian.  A value that does not fit its field is a bug of ours
(OverflowError); bytes that break the format are the sender's (WireError).
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from waypost.errors import WireError

T = TypeVar("T")


def u8(value: int) -> bytes:
    return value.to_bytes(1, "big")


def u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def u64(value: int) -> bytes:
    return value.to_bytes(8, "big")


def opaque(prefix: int, data: bytes) -> bytes:
    """`opaque data<0..2^(8*prefix)-1>`: a length of `prefix` octets, then the data."""
    return len(data).to_bytes(prefix, "big") + data


def vector(prefix: int, items: Iterable[T], encode: Callable[[T], bytes]) -> bytes:
    """`Item items<0..2^(8*prefix)-1>`: the length in octets, then each item."""
    return opaque(prefix, b"".join(map(encode, items)))


class Reader:
    """A cursor over received bytes that cannot leave its block."""

    __slots__ = ("_data", "_end", "_pos")

    def __init__(self, data: bytes, start: int = 0, end: int | None = None) -> None:
        self._data = data
        self._pos = start
        self._end = len(data) if end is None else end

    def take(self, size: int) -> bytes:
        end = self._pos + size
        if end > self._end:
            raise WireError(f"{size} octets wanted, {self._end - self._pos} left")
        start, self._pos = self._pos, end
        return self._data[start:end]

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "big")

    def opaque(self, prefix: int) -> bytes:
        return self.take(int.from_bytes(self.take(prefix), "big"))

    def block(self, prefix: int) -> "Reader":
        """Step over a length-prefixed block; return a Reader of its inside."""
        size = int.from_bytes(self.take(prefix), "big")
        start = self._pos
        if start + size > self._end:
            raise WireError(f"block of {size} octets, {self._end - start} left")
        self._pos = start + size
        return Reader(self._data, start, self._pos)

    def vector(self, prefix: int, decode: "Callable[[Reader], T]") -> list[T]:
        block = self.block(prefix)
        items: list[T] = []
        while block.remaining():
            items.append(decode(block))
        return items

    def remaining(self) -> int:
        return self._end - self._pos

    def finish(self) -> None:
        """Every octet must have been read."""
        if self.remaining():
            raise WireError(f"{self.remaining()} octets after the end")
