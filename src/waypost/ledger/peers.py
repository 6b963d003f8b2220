"""The logs of the other nodes: with which keys they sign and cosign.

Each node tells its two keys in a note that its node key signed, which the roster vouches for:

    waypost/log-keys@v1 newline
    name of the node newline
    vkey of the log newline                       its name is the origin
    vkey of the cosigner newline

They are pinned when first seen.  A log has one key for ever, so another one that the node names later is refused and
counted: whoever could change it could have two histories.

Source: notes on the ledger, 5; C2SP signed-note.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from waypost.engine import Ask, Commit, Deadlines, Effect, Put, Rows
from waypost.errors import StoreError, WireError
from waypost.ledger import note
from waypost.ledger.note import Algorithm, Key, Note, Verify
from waypost.ledger.questions import Call, Notary, Reply

PATH: Final = "keys"
TABLE: Final = "ledger_peer"  # name of the node -> its note
FIRST_LINE: Final = "waypost/log-keys@v1"
KEYS_MAX: Final = 16 << 10  # octets
RETRY_MIN_S: Final = 1.0
RETRY_MAX_S: Final = 60.0
AGAIN_S: Final = 3600.0  # to see whether a node now says something else


@dataclass(frozen=True, slots=True)
class PeerLog:
    """The log of `node`: `key` signs its heads, `cosigner` those of others."""

    node: str
    origin: str
    key: Key
    cosigner: Key


class Peers:
    """`own` is this node's key, as a key of notes.

    The engine tells set_members() who the others are, and they are asked for their keys; answered() brings them.
    `known` are the logs of members by the node's name; key_of() says whose heads are witnessed, of_origin() whose log
    it is.  keys() is what others are told about this node.
    """

    def __init__(self, rng: Random, ids: Iterator[int], notary: Notary, own: Key) -> None:
        self._rng = rng
        self._ids = ids
        self._notary = notary
        self._own = own
        self.known: dict[str, PeerLog] = {}
        self._members: dict[str, str] = {}
        self._pinned: dict[str, PeerLog] = {}
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
                self._pinned[key.decode()] = read_text(Note.decode(value).text)
            except (UnicodeDecodeError, WireError) as error:
                raise StoreError(f"the pinned keys of {key!r} cannot be read") from error

    def set_members(self, members: Mapping[str, str], now: float) -> None:
        """The other nodes: their node keys in hexadecimal, by name."""
        if members == self._members:
            return
        for name in self._members.keys() - members.keys():
            self._deadlines.clear(name)
            self._misses.pop(name, None)
        for name in sorted(members.keys() - self._members.keys()):
            self._deadlines.set(name, now)
        self._members = dict(members)
        self.known = {name: self._pinned[name] for name in members if name in self._pinned}

    def keys(self) -> Reply:
        return Reply(200, make_keys(self._notary, self._own))

    def of_origin(self, origin: str) -> PeerLog | None:
        """Of a member."""
        return next((log for log in self.known.values() if log.origin == origin), None)

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
        try:
            log = read_keys(data, name, bytes.fromhex(self._members[name]), self._notary.verify)
            self._require_own(log)
        except WireError:
            self._refused += 1
            return False
        if name not in self._pinned:
            self._pinned[name] = self.known[name] = log
            self._effects.append(Commit(puts=(Put(TABLE, name.encode(), data),)))
        elif self._pinned[name] != log:
            self._refused += 1
        return True

    def _require_own(self, log: PeerLog) -> None:
        """No two logs have one origin, and no key signs for two: each witness counts once.  Raises WireError."""
        others = [other for name, other in self._pinned.items() if name != log.node]
        origins = {self._notary.origin, *self._strangers, *(other.origin for other in others)}
        taken = {self._notary.key.public, self._notary.cosigner.public, self._own.public}
        taken.update(outside.key.public for outside in self._notary.outside)
        taken.update(key.public for other in others for key in (other.key, other.cosigner))
        if log.origin in origins or {log.key.public, log.cosigner.public} & taken:
            raise WireError(f"{log.node} names an origin or a key of another node")


def make_keys(notary: Notary, own: Key) -> bytes:
    text = "".join(f"{line}\n" for line in (FIRST_LINE, notary.name, notary.key.encode(), notary.cosigner.encode()))
    return Note(text, (note.sign(text, own, notary.sign_as_node),)).encode()


def read_keys(data: bytes, node: str, public: bytes, verify: Verify) -> PeerLog:
    """What the node of that name and key says.  Raises WireError."""
    if len(data) > KEYS_MAX:
        raise WireError("the note is too large")
    read = Note.decode(data)
    log = read_text(read.text)
    key = Key(node, Algorithm.ED25519, public)
    if log.node != node or not note.signers(read, (key,), verify):
        raise WireError(f"the keys are not signed by {node}")
    if public in (log.key.public, log.cosigner.public):
        raise WireError("the key of a log is not the node's")
    return log


def read_text(text: str) -> PeerLog:
    """Raises WireError."""
    lines = text.split("\n")
    if len(lines) != 5 or lines[0] != FIRST_LINE or lines[4]:
        raise WireError("the note does not tell a log's keys")
    node, key, cosigner = lines[1], Key.decode(lines[2]), Key.decode(lines[3])
    if key.algorithm != Algorithm.ED25519 or cosigner.algorithm != Algorithm.COSIGNATURE:
        raise WireError("a log has a key that signs and one that cosigns")
    if key.public == cosigner.public:
        raise WireError("the log and its cosigner have one key")
    return PeerLog(node, key.name, key, cosigner)
