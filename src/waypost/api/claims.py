"""Calls about voted records and about who votes, and how a client makes a record that it can claim.

The holder's key stays here: what is sent is signed.

Source: notes on DRiP, 4.2 and 4.4 (client contract); the routes are those of `voting.py`.
"""

from collections.abc import Sequence
from types import NoneType
from typing import Final
from urllib.parse import quote

import msgspec

from waypost.api.calls import Call, RefusedError, query_text
from waypost.api.logged import Versions
from waypost.api.resuming import INCOMPLETE, Stream
from waypost.api.voted import (
    RESPOND_ASYNC,
    Claimed,
    Contested,
    Next,
    Peers,
    RecordEvent,
    Records,
    Standing,
    Votes,
)
from waypost.record import Cited, Committed, Place, Record, Sign, Stamp, Transfer
from waypost.record.wire import Hash, Signature

VOTE_S: Final = 15.0  # for which a node may try to have a record voted on, or a vote closed

STREAM: Final = Stream("/v1/changes", RecordEvent, RecordEvent("reset", detail=INCOMPLETE))


class Taking(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new holder's word for who gives it a key: goes from one to the other by any way, for it gives nothing away."""

    network: Hash
    transfer: Transfer
    signature: Signature


def record(place: Place, *, quorum: bool) -> Call[Standing]:
    return Call("GET", _path(place) + "?quorum=true" * quorum, Standing, slow_s=VOTE_S * quorum)


def claim(record: Record, *, queue: bool = False) -> Call[Claimed]:
    prefer = RESPOND_ASYNC if queue else ""
    return Call("PUT", _path(record.place), Claimed, record.encode(), slow_s=VOTE_S, prefer=prefer)


def outcome(place: Place, version: int, txid: str) -> Call[Claimed]:
    return Call("GET", f"{_path(place)}/transactions/{version}/{txid}", Claimed, slow_s=VOTE_S)


def cancel(place: Place, version: int, txid: str) -> Call[None]:
    return Call("DELETE", f"{_path(place)}/transactions/{version}/{txid}", NoneType)


def history(place: Place, count: int) -> Call[Versions]:
    return Call("GET", f"{_path(place)}/history?count={count}", Versions)


def records(namespace: str | None, prefix: str, count: int) -> Call[Records]:
    return Call("GET", f"/v1/records?{query_text((*within(namespace, prefix), ('count', str(count))))}", Records)


def within(namespace: str | None, prefix: str) -> tuple[tuple[str, str], ...]:
    """The parameters that say which records are meant."""
    pairs = (("namespace", namespace or ""), ("prefix", prefix))
    return tuple(pair for pair in pairs if pair[1])


def peers() -> Call[Peers]:
    return Call("GET", "/v1/peers", Peers)


def force(roster: Committed) -> Call[Claimed]:
    return Call("POST", "/v1/peers/forced", Claimed, roster.encode())


def votes(*, voters: bool = False) -> Call[Votes]:
    return Call("GET", "/v1/votes" + "?voters=true" * voters, Votes, slow_s=VOTE_S * voters)


def contested(error: RefusedError) -> Contested | None:
    """What the refusal says of a record: what stands in its place, and what the next version needs."""
    try:
        return msgspec.json.decode(error.document, type=Contested)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def next_version(
    next: Next,
    place: Place,
    value: str | None,
    *,
    author: bytes,
    sign: Sign,
    holder: str,
    wall_ms: int,
    txid: str,
    cites: Sequence[Cited] = (),
    taken: str = "",
) -> Record:
    """The version of `place` that `next` says is the next, signed.

    `author` are the 32 octets of the key that `sign` signs with; `holder` may change it after that, 64 hexadecimal
    digits of an Ed25519 key; `wall_ms` is the time now.  `txid`, 32 random hexadecimal digits, tells this record from
    all others.  A value of None is a tombstone.  `cites` are versions of other keys that it relies on; `taken` is the
    signature of another holder than before: see transfer().
    """
    namespace, key = place
    unsigned = Record(
        namespace=namespace,
        key=key,
        version=next.version,
        prev=next.prev,
        holder=holder,
        home=next.home,
        value=value,
        author=author.hex(),
        hlc=Stamp(0, wall_ms),
        txid=txid,
        cites=tuple(cites),
        signature="",
        taken=taken,
    )
    return unsigned.signed(next.network, sign)


def transfer(next: Next, current: Record, *, taker: bytes, sign: Sign) -> Taking:
    """That the holder of `taker`, the 32 octets of the key that `sign` signs with, takes the next version of a key.

    It holds until there is another version of the key, and for that holder alone.
    """
    agreed = Transfer(*current.place, next.version, next.prev, current.holder, taker.hex())
    return Taking(next.network, agreed, sign(agreed.to_sign(next.network)).hex())


def _path(place: Place) -> str:
    namespace, key = (quote(part, safe="") for part in place)
    return f"/v1/records/{namespace}/{key}"
