"""Messages of the ballot profile on HTTP: which of the draft's calls each rides on, and bodies that are arrays of them.

The request names the network in a header of its own; the sender is whom its certificate names.  A body is a JSON array
of messages, {"type": "vote", …}, of either class, or envelopes with such.  What is signed inside is canonical; the
body need not be.

Source: notes on DRiP, 1.2, 1.9 (G3) and 4.3.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from waypost.drip.envelope import Envelope
from waypost.drip.messages import MESSAGES_MAX, PARCEL_MAX, Message, records_in
from waypost.drip.rumours import Pulled, Rumour, Spread
from waypost.errors import WireError
from waypost.record import Record
from waypost.record.wire import encode

Said = Message | Rumour | Envelope

# {node}: of the response the asker's, of the others the sender's.
VOTING: Final = "/voting"
YES: Final = "/voting/peernode/{node}/response/yes"
NO: Final = "/voting/peernode/{node}/response/no"
COMMIT: Final = "/commit"
SYNC: Final = "/sync/node/{node}"
HEARTBEAT: Final = "/heartbeat/node/{node}"
READING: Final = "/reading"
JOINING: Final = "/joining"
TALLYING: Final = "/tallying"

CALLS: Final = (VOTING, YES, NO, COMMIT, SYNC, HEARTBEAT, READING, JOINING, TALLYING)

_CALLS: Final = {
    "poll": VOTING,
    "vote": VOTING,
    "envelope": VOTING,
    "promise": YES,
    "yes": YES,
    "nack": NO,
    "no": NO,
    "commit": COMMIT,
    "spread": COMMIT,
    "have": COMMIT,
    "graft": COMMIT,
    "prune": COMMIT,
    "alarm": COMMIT,
    "restored": COMMIT,
    "beat": HEARTBEAT,
    "probe": HEARTBEAT,
    "probed": HEARTBEAT,
    "read": READING,
    "read-answer": READING,
    "admit": JOINING,
    "tally-request": TALLYING,
    "tally": TALLYING,
}  # the rest is SYNC

_decoder: Final[msgspec.json.Decoder[tuple[Said, ...]]] = msgspec.json.Decoder(
    Annotated[tuple[Said, ...], Meta(max_length=MESSAGES_MAX)]
)


def call_of(message: Struct) -> str:
    """One of CALLS."""
    return _CALLS.get(str(message.__struct_config__.tag), SYNC)


def path_of(call: str, sender: str, receiver: str) -> str:
    return call.replace("{node}", receiver if call in (YES, NO) else sender)


def spell(message: Struct) -> bytes:
    """One message: to several nodes it is spelled once."""
    return encode(message)


def bodies(spelled: Iterable[bytes]) -> Iterator[bytes]:
    """Arrays within the limits; a message that is too large for any is left out."""
    part: list[bytes] = []
    size = 2
    for each in spelled:
        if len(each) + 2 > PARCEL_MAX:
            continue
        if part and (size + len(each) + 1 > PARCEL_MAX or len(part) >= MESSAGES_MAX):
            yield b"[" + b",".join(part) + b"]"
            part, size = [], 2
        part.append(each)
        size += len(each) + 1
    if part:
        yield b"[" + b",".join(part) + b"]"


def body_of(messages: Iterable[Struct]) -> bytes:
    """All of them in one array, which the caller knows to be within the limits."""
    return b"[" + b",".join(map(spell, messages)) + b"]"


def read(body: bytes) -> tuple[Said, ...]:
    """Raises WireError, and nothing else, for bytes that are no such array."""
    if len(body) > PARCEL_MAX:
        raise WireError(f"it has {len(body)} octets, {PARCEL_MAX} at most")
    try:
        messages = _decoder.decode(body)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise WireError(f"the body is no array of messages: {error}") from error
    for message in messages:
        for record in _records_in(message):
            record.require_sound()
    return messages


def _records_in(message: Said) -> Iterable[Record]:
    match message:
        case Spread() | Pulled():
            return (committed.record for committed in message.commits)
        case Envelope():
            return (record for relayed in message.messages for record in records_in(relayed))
        case _:
            return records_in(message)
