"""The logs of the other nodes: with which keys they sign and cosign.

Each node tells its two keys in a note:

    waypost/log-keys@v1 newline
    name of the node newline
    vkey of the log newline                       its name is the origin
    vkey of the cosigner newline

Its node key has signed that, which the roster vouches for, and so have both keys, the cosigner's as of the time 0:
nobody can take another's for its own.

They are pinned when first seen.  An origin has one key for ever, so another one that is named later is refused and
counted: whoever could change it could have two histories.  A node begins another log, of another origin, only after
there is evidence against the one before, or once the network has voted another key for the node.

Source: notes on the ledger, 5; C2SP signed-note.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from waypost.engine import Ask, Commit, Deadlines, Effect, Put, Rows
from waypost.errors import StoreError, WireError
from waypost.ledger import note
from waypost.ledger.checkpoint import cosigner_of
from waypost.ledger.note import Algorithm, Key, Line, Note, Verify
from waypost.ledger.questions import Call, Notary, Reply

PATH: Final = "keys"
TABLE: Final = "ledger_peer"  # name of the node -> its note; of a log before, name NUL origin
FIRST_LINE: Final = "waypost/log-keys@v1"
KEYS_MAX: Final = 16 << 10  # octets
RETRY_MIN_S: Final = 1.0
RETRY_MAX_S: Final = 60.0
AGAIN_S: Final = 3600.0  # to see whether a node now says something else
FORMER_MAX: Final = 8  # logs that a node had before
_AT: Final = bytes(8)  # the time 0


@dataclass(frozen=True, slots=True)
class PeerLog:
    """The log of `node`: `key` signs its heads, `cosigner` those of others."""

    node: str
    origin: str
    key: Key
    cosigner: Key


class Peers:
    """`own` is this node's key, as a key of notes; `frozen` says of an origin whether there is evidence against it.

    The engine tells set_members() who the others are, and they are asked for their keys; answered() brings them.
    `known` are the logs of members by the node's name, and `revision` counts its changes; key_of() says whose heads are
    witnessed, of_origin() whose log it is.  keys() is what others are told about this node.
    """

    def __init__(
        self,
        rng: Random,
        ids: Iterator[int],
        notary: Notary,
        own: Key,
        frozen: Callable[[str], object | None] = lambda origin: None,
    ) -> None:
        self._rng = rng
        self._ids = ids
        self._notary = notary
        self._own = own
        self._frozen = frozen
        self.known: dict[str, PeerLog] = {}
        self.revision = 0
        self._members: dict[str, str] = {}
        self._pinned: dict[str, PeerLog] = {}
        self._notes: dict[str, Note] = {}  # that they were pinned from
        self._former: list[PeerLog] = []
        self._origins: dict[str, PeerLog] = {}  # of members
        self._strangers = {key.name: key for key in notary.witnessed}
        self._asked: dict[int, str] = {}
        self._misses: dict[str, int] = {}
        self._deadlines: Deadlines[str] = Deadlines()
        self._effects: list[Effect] = []
        self._refused = 0

    def restore(self, rows: Rows, now: float) -> None:
        """Raises StoreError."""
        for key, value in rows.scan(TABLE):
            try:
                name, _, former = key.decode().partition("\0")
                read = Note.decode(value)
                log = read_text(read.text)
            except (UnicodeDecodeError, WireError) as error:
                raise StoreError(f"the pinned keys of {key!r} cannot be read") from error
            if former:
                self._former.append(log)
            else:
                self._pinned[name], self._notes[name] = log, read

    def set_members(self, members: Mapping[str, str], now: float) -> None:
        """The other nodes: their node keys in hexadecimal, by name."""
        if members == self._members:
            return
        for name in self._members:
            if name not in members:
                self._deadlines.clear(name)
                self._misses.pop(name, None)
        for name, key in members.items():
            if self._members.get(name) != key:
                self._deadlines.set(name, now)
        self._members = dict(members)
        self._index()

    def keys(self) -> Reply:
        return Reply(200, make_keys(self._notary, self._own))

    def of_origin(self, origin: str) -> PeerLog | None:
        """Of a member, also one that it has no more."""
        return self._origins.get(origin)

    def key_of(self, origin: str) -> Key | None:
        """Of a log that is witnessed here: of a member, or of a stranger that the configuration names."""
        log = self.of_origin(origin)
        return log.key if log else self._strangers.get(origin)

    def answered(self, id: int, result: object, now: float) -> bool:
        name = self._asked.pop(id, None)
        if name is None:
            return False
        if name in self._members:
            is_answer = isinstance(result, Reply) and result.status == 200
            if is_answer and isinstance(result, Reply) and self._learn(name, result.body):
                self._misses.pop(name, None)
                self._deadlines.set(name, now + self._rng.uniform(0.5, 1.0) * AGAIN_S)
            else:
                misses = self._misses[name] = self._misses.get(name, 0) + 1
                wait = min(RETRY_MIN_S * 2 ** min(misses - 1, 16), RETRY_MAX_S)
                self._deadlines.set(name, now + self._rng.uniform(0.5, 1.0) * wait)
        return True

    def handle_timer(self, now: float) -> None:
        for name in self._deadlines.pop_due(now):
            id = next(self._ids)
            self._asked[id] = name
            self._effects.append(Ask(id, Call(name, "GET", PATH, octets_max=KEYS_MAX)))

    def next_timer(self) -> float | None:
        return self._deadlines.next()

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def counters(self) -> dict[str, int]:
        return {"ledger_keys_refused": self._refused}

    def gauges(self, now: float) -> dict[str, int]:
        return {"ledger_peers_known": len(self.known)}

    def _learn(self, name: str, data: bytes) -> bool:
        """Whether the answer is of use."""
        public = bytes.fromhex(self._members[name])
        pinned = self._pinned.get(name)
        try:
            log = read_keys(data, name, public, self._notary.verify)
            if pinned != log:
                self._require_own(log)
                self._require_free(log, pinned, public)
        except WireError:
            self._refused += 1
            return False
        if pinned == log and self._is_vouched(name, public):
            return True
        read = Note.decode(data)
        puts = [Put(TABLE, name.encode(), data)]
        if pinned is not None and pinned != log:
            self._former.append(pinned)
            puts.append(Put(TABLE, f"{name}\0{pinned.origin}".encode(), self._notes[name].encode()))
        self._pinned[name], self._notes[name] = log, read
        self._effects.append(Commit(puts=tuple(puts)))
        self._index()
        return True

    def _require_free(self, log: PeerLog, pinned: PeerLog | None, public: bytes) -> None:
        """Raises WireError if the node is bound to the log that it has."""
        if pinned is None:
            return
        may_change = self._frozen(pinned.origin) is not None or not self._is_vouched(log.node, public)
        before = sum(former.node == log.node for former in self._former)
        if log.origin == pinned.origin or not may_change or before >= FORMER_MAX:
            raise WireError(f"{log.node} has another log already")

    def _is_vouched(self, name: str, public: bytes) -> bool:
        """Whether this key of the node has signed what is pinned."""
        return self._notes[name].by(Key(name, Algorithm.ED25519, public)) is not None

    def _index(self) -> None:
        self.revision += 1
        self.known = {name: self._pinned[name] for name in self._members if name in self._pinned}
        former = (log for log in self._former if log.node in self._members)
        self._origins = {log.origin: log for log in (*former, *self.known.values())}

    def _require_own(self, log: PeerLog) -> None:
        """No two logs have one origin, and no key signs for two: each witness counts once.  Raises WireError."""
        others = [*self._former, *(other for name, other in self._pinned.items() if name != log.node)]
        origins = {self._notary.origin, *self._strangers, *(other.origin for other in others)}
        origins.update(f"waypost/{name}" for name in self._members if name != log.node)  # what they have by default
        taken = {self._notary.key.public, self._notary.cosigner.public, self._own.public}
        taken.update(outside.key.public for outside in self._notary.outside)
        taken.update(key.public for other in others for key in (other.key, other.cosigner))
        if log.origin in origins or {log.key.public, log.cosigner.public} & taken:
            raise WireError(f"{log.node} names an origin or a key of another node")


def make_keys(notary: Notary, own: Key) -> bytes:
    text = "".join(f"{line}\n" for line in (FIRST_LINE, notary.name, notary.key.encode(), notary.cosigner.encode()))
    cosigned = Line(notary.cosigner.name, notary.cosigner.id, _AT + notary.cosign(_to_cosign(text)))
    signed = note.sign(text, own, notary.sign_as_node), note.sign(text, notary.key, notary.sign)
    return Note(text, (*signed, cosigned)).encode()


def read_keys(data: bytes, node: str, public: bytes, verify: Verify) -> PeerLog:
    """What the node of that name and key says.  Raises WireError."""
    if len(data) > KEYS_MAX:
        raise WireError("the note is too large")
    read = Note.decode(data)
    log = read_text(read.text)
    if log.node != node or public in (log.key.public, log.cosigner.public):
        raise WireError(f"these are not the keys of a log of {node}")
    keys = (Key(node, Algorithm.ED25519, public), log.key)
    cosigned = read.by(log.cosigner)
    if cosigned is None or note.signers(read, keys, verify) != keys:
        raise WireError(f"the keys are not signed by {node} and by themselves")
    if cosigned.signature[:8] != _AT or not verify(log.cosigner.public, cosigned.signature[8:], _to_cosign(read.text)):
        raise WireError(f"the signature of {log.cosigner.name} is wrong")
    return log


def read_text(text: str) -> PeerLog:
    """Raises WireError."""
    lines = text.split("\n")
    if len(lines) != 5 or lines[0] != FIRST_LINE or lines[4]:
        raise WireError("the note does not tell a log's keys")
    node, key, cosigner = lines[1], Key.decode(lines[2]), Key.decode(lines[3])
    if key.algorithm != Algorithm.ED25519 or cosigner.algorithm != Algorithm.COSIGNATURE:
        raise WireError("a log has a key that signs and one that cosigns")
    if key.public == cosigner.public or cosigner.name != cosigner_of(key.name):
        raise WireError("the cosigner has the log's key, or another name than its own")
    return PeerLog(node, key.name, key, cosigner)


def _to_cosign(text: str) -> bytes:
    """No checkpoint is so written: its second line is a number, and its third a hash."""
    return f"cosignature/v1\ntime 0\n{text}".encode()
