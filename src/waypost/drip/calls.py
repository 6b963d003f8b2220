"""The calls of the draft, profile `drip-02`: those of a literal peer read, ours to it written.

    POST /voting                              a vote is asked for
    POST /voting/peernode/ID/response/yes|no  a vote; also /votingphase/node/ID/response/… and /node/ID/response/…
    POST /commit                              a record is to be stored
    PUT or POST /sync/node/ID                 push everything to me
    POST /heartbeat/node/ID                   I am there, in the state that the body says
    POST /node/ID/active|inactive             my state is this one
    GET /state                                what is yours?

ID is the sender's name, and in a vote that of the initiator: whoever began the voting (G3 of the notes).  The body of
a commit of ours is one JSON object, canonical: the fields of the record, and its `certificate`.  In a stream, which has
no headers for each, `headers` has those that the call would have had.

Source: draft-wendt-modern-drip-02; notes on DRiP, 1.2, 1.3 and 1.9.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, cast

import msgspec

from waypost.errors import WireError
from waypost.record import Committed
from waypost.record.wire import encode

State = Literal["active", "sync", "inactive"]

BODY_MAX: Final = 64 << 10  # octets: a roster and its certificate have 61 KiB at most
HEADERS_MAX: Final = 64
DIGITS_MAX: Final = 20  # of a counter
COUNTER_MAX: Final = (1 << 64) - 1

NODE_ID: Final = "DRiP-Node-ID"
COUNTER: Final = "DRiP-Node-Counter"
RESET: Final = "DRiP-Node-Counter-reset"
TYPE: Final = "DRiP-Transaction-Type"
COMPLETE: Final = "DRiP-Sync-Complete"

# As a router wants them; read_call() reads the same.
ROUTES: Final = (
    ("POST", "/voting"),
    ("POST", "/voting/peernode/{node}/response/{response}"),
    ("POST", "/votingphase/node/{node}/response/{response}"),
    ("POST", "/node/{node}/response/{response}"),
    ("POST", "/commit"),
    ("PUT", "/sync/node/{node}"),
    ("POST", "/sync/node/{node}"),
    ("POST", "/heartbeat/node/{node}"),
    ("POST", "/node/{node}/active"),
    ("POST", "/node/{node}/inactive"),
    ("GET", "/state"),
)

_NODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_WORDS: Final[dict[str, State]] = {
    "active": "active",
    "inactive": "inactive",
    "sync": "sync",
    "synchronizing": "sync",  # G18
}

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Origin:
    """What the headers say of a propagation: whose it is, and its number among that node's."""

    node: str
    counter: int
    is_reset: bool
    is_sync: bool
    is_last: bool


@dataclass(frozen=True, slots=True)
class Voting:
    origin: Origin


@dataclass(frozen=True, slots=True)
class Vote:
    """On something that `node` began."""

    node: str
    is_yes: bool


@dataclass(frozen=True, slots=True)
class Commit:
    """`committed` is the body, if that is a record with the votes for it, as ours are and what is passed on of them."""

    origin: Origin
    committed: Committed | None


@dataclass(frozen=True, slots=True)
class SyncRequest:
    node: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    node: str
    state: State


@dataclass(frozen=True, slots=True)
class Declared:
    """A node tells its state; a heartbeat is told again and again."""

    node: str
    state: State


@dataclass(frozen=True, slots=True)
class AskState:
    pass


Call = Voting | Vote | Commit | SyncRequest | Heartbeat | Declared | AskState


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A call of ours."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def line(self) -> bytes:
        """The same of a commit for a stream: the body with the headers in it, and a newline."""
        return b'{"headers":' + encode(dict(self.headers)) + b"," + self.body.removeprefix(b"{") + b"\n"


# theirs


def read_call(method: str, path: str, headers: Headers, body: bytes) -> Call:
    """`path` as it stands in the request line.  Raises WireError, and nothing else, for whatever is no call."""
    if len(body) > BODY_MAX:
        raise WireError(f"a body has {BODY_MAX} octets at most")
    match method, path.split("/")[1:]:
        case "POST", ["voting"]:
            return Voting(_origin(headers, body))
        case "POST", ["commit"]:
            return Commit(_origin(headers, body), _committed(body))
        case (
            ("POST", ["voting", "peernode", node, "response", ("yes" | "no") as response])
            | ("POST", ["votingphase", "node", node, "response", ("yes" | "no") as response])
            | ("POST", ["node", node, "response", ("yes" | "no") as response])
        ):
            return Vote(_node(node), response == "yes")
        case (("PUT" | "POST"), ["sync", "node", node]):
            return SyncRequest(_node(node))
        case "POST", ["heartbeat", "node", node]:
            return Heartbeat(_node(node), _state(body))
        case "POST", ["node", node, ("active" | "inactive") as state]:
            return Declared(_node(node), _WORDS[state])
        case "GET", ["state"]:
            return AskState()
        case _:
            raise WireError("the draft has no such call")


def _origin(headers: Headers, body: bytes) -> Origin:
    """Of a vote or a commit, whose body is key-value data."""
    given = _fields(headers)
    kind = given.get(TYPE.lower(), "update")
    if kind not in ("update", "sync"):
        raise WireError(f"{TYPE} is update or sync")
    counter = given.get(COUNTER.lower(), "")
    if not (counter.isascii() and counter.isdigit() and len(counter) <= DIGITS_MAX and int(counter) <= COUNTER_MAX):
        raise WireError(f"{COUNTER} is a whole number of 64 bits")
    if not isinstance(_json(body), dict):
        raise WireError("the body is a JSON object")
    return Origin(
        _node(given.get(NODE_ID.lower(), "")),
        int(counter),
        _truth(given, RESET),
        kind == "sync",
        _truth(given, COMPLETE),
    )


def _committed(body: bytes) -> Committed | None:
    """Nothing is verified."""
    fields = cast("dict[str, object]", _json(body))
    record = {name: value for name, value in fields.items() if name not in ("certificate", "headers")}
    try:
        committed = msgspec.convert({"certificate": fields.get("certificate"), "record": record}, Committed)
        committed.record.require_sound()
    except (msgspec.ValidationError, WireError):
        return None
    return committed


def _fields(headers: Headers) -> dict[str, str]:
    """The draft's own, by name in lower case."""
    fields: dict[str, str] = {}
    for number, (name, value) in enumerate(headers):
        if number == HEADERS_MAX:
            raise WireError(f"there are {HEADERS_MAX} headers at most")
        if name.lower().startswith("drip-"):
            if name.lower() in fields:
                raise WireError(f"{name} is there once")
            fields[name.lower()] = value.strip()
    return fields


def _truth(given: dict[str, str], name: str) -> bool:
    word = given.get(name.lower(), "false").lower()
    if word not in ("true", "false"):
        raise WireError(f"{name} is true or false")
    return word == "true"


def _node(text: str) -> str:
    if not _NODE.fullmatch(text):
        raise WireError("a node's name has letters, digits, dots, dashes and underscores, 63 at most")
    return text


def _state(body: bytes) -> State:
    """{"state": "active"}, or the word alone: the draft does not say."""
    try:
        text = body.decode().strip()
    except UnicodeDecodeError:
        text = ""
    if text[:1] in ("{", '"'):
        value = _json(body)
        text = str(cast("dict[str, object]", value).get("state") if isinstance(value, dict) else value)
    state = _WORDS.get(text)
    if state is None:
        raise WireError("a state is one of active, sync, synchronizing and inactive")
    return state


def _json(body: bytes) -> object:
    try:
        value: object = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise WireError("the body is not JSON") from error
    return value


# ours


def commit_call(committed: Committed, counter: int, *, is_sync: bool, is_last: bool) -> Outgoing:
    """The initiator is the record's home.

    `counter` is of no other call, and never starts again: so nothing is taken for a repetition (G1), and nothing
    circulates (G5).
    """
    headers = [(NODE_ID, committed.record.home), (COUNTER, str(counter)), (RESET, "false")]
    headers.append((TYPE, "sync" if is_sync else "update"))
    if is_sync:
        headers.append((COMPLETE, "true" if is_last else "false"))
    body = encode({**msgspec.to_builtins(committed.record), "certificate": committed.certificate})
    return Outgoing("POST", "/commit", tuple(headers), body)


def no_call(initiator: str) -> Outgoing:
    """In the second spelling, which is the heading of the draft's section."""
    return Outgoing("POST", f"/votingphase/node/{initiator}/response/no", (), b"")


def heartbeat_call(own: str, state: State) -> Outgoing:
    return Outgoing("POST", f"/heartbeat/node/{own}", (), state_body(state))


def declared_call(own: str, *, is_active: bool) -> Outgoing:
    return Outgoing("POST", f"/node/{own}/{'active' if is_active else 'inactive'}", (), b"")


def state_body(state: State) -> bytes:
    """The answer to GET /state as well."""
    return encode({"state": state})
