"""Structs of the mesh as canonical JSON, and what of them is hashed and signed.

Encoding is canonical() of the struct's fields, without looking at each value again: the types of the fields allow
nothing outside the subset.  Whatever is hashed or signed has the network's id in it, so that nothing of one network
means anything in another, and a first line that names the purpose.

Structs of which many are made are `gc=False`: a frozen value holds none that holds it, so the collector of cycles need
not look at it.

Source: design, Choices (canonical JSON); notes on DRiP, 4.2 and 5.1.
"""

from hashlib import sha256
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from waypost.canonical import INTEGER_MAX
from waypost.errors import WireError

S = TypeVar("S", bound=Struct)

Count = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
Version = Annotated[int, Meta(ge=1, le=INTEGER_MAX)]
Hash = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]  # SHA-256
PublicKey = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]  # the 32 octets of an Ed25519 key
Signature = Annotated[str, Meta(pattern=r"\A[0-9a-f]{128}\Z")]
MaybeHash = Annotated[str, Meta(pattern=r"\A(?:[0-9a-f]{64})?\Z")]  # "" where there is none
MaybeKey = Annotated[str, Meta(pattern=r"\A(?:[0-9a-f]{64})?\Z")]
MaybeSignature = Annotated[str, Meta(pattern=r"\A(?:[0-9a-f]{128})?\Z")]
Namespace = Annotated[str, Meta(pattern=r"\A[a-z0-9_][a-z0-9._-]{0,63}\Z")]
Name = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f]{1,255}\Z")]  # a key within its namespace
NodeName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")]
TransactionId = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]

_encode: Final = msgspec.json.Encoder(order="sorted").encode


def encode(value: object) -> bytes:
    """The one spelling of a struct, or of a mapping of them."""
    return _encode(value)


def decode(data: bytes, decoder: "msgspec.json.Decoder[S]", size_max: int) -> S:
    """The struct whose one spelling is `data`.  Raises WireError, and nothing else, for any other bytes."""
    if len(data) > size_max:
        raise WireError(f"it has {len(data)} octets, {size_max} at most")
    try:
        value = decoder.decode(data)
        if _encode(value) == data:
            return value
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise WireError("the bytes are not of the format") from error
    raise WireError("the JSON is not in its canonical spelling")


def hash_of(purpose: str, network: str, value: object) -> str:
    """64 hexadecimal digits."""
    return sha256(b"waypost hash v1 " + purpose.encode() + b"\n" + _bound(network, value)).hexdigest()


def signed_bytes(purpose: str, network: str, value: object) -> bytes:
    """What identity.signature.message_of() makes of the purpose and {"network", "value"}."""
    return b"waypost signature v1 " + purpose.encode() + b"\n" + _bound(network, value)


def _bound(network: str, value: object) -> bytes:
    return _encode({"network": network, "value": value})
