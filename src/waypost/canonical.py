"""Canonical JSON: one value, one spelling.

The safe subset of RFC 8785: objects with ASCII keys, arrays, strings without lone surrogates,
integers of magnitude below 2^53, booleans and null; no floats.  Keys are sorted and nothing is
spaced, so equal values are equal bytes, which is what gets hashed, signed and compared.

Source: notes on the ledger, section 6; RFC 8785.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from waypost.errors import WireError

INTEGER_MAX: Final = (1 << 53) - 1
DEPTH_MAX: Final = 16

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode


def canonical(value: object) -> bytes:
    """The one spelling of `value`.  Raises ValueError if it lies outside the subset."""
    _require(value, DEPTH_MAX)
    return _encode(value)


def parse_canonical(data: bytes) -> object:
    """The value whose one spelling is `data`.  Raises WireError for any other bytes."""
    try:
        value: object = _decode(data)
        if canonical(value) != data:
            raise WireError("the JSON is not in its canonical spelling")
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise WireError("the bytes are not JSON of the canonical subset") from error
    return value


def _require(value: object, depth: int) -> None:
    if depth == 0:
        raise ValueError(f"more than {DEPTH_MAX} levels of nesting")
    match value:
        case None | bool():
            return
        case str():
            value.encode()  # a lone surrogate raises UnicodeEncodeError, a ValueError
        case int():
            if abs(value) > INTEGER_MAX:
                raise ValueError(f"the integer {value} needs more than 53 bits")
        case Mapping():
            for key, item in value.items():
                if not (isinstance(key, str) and key.isascii()):
                    raise ValueError(f"the key {key!r} is not ASCII text")
                _require(item, depth - 1)
        case Sequence() if not isinstance(value, (bytes, bytearray)):
            for item in value:
                _require(item, depth - 1)
        case _:
            raise ValueError(f"{type(value).__name__} has no canonical form")
