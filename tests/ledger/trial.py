"""A court with its disk, the logs that its node mirrors, and the nodes that it tells, for stories by hand."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from forking import Branch, Signer, cosigner, log_key
from keeping import Disk, notary, verify

from waypost.engine import Answer, Apply, Ask, Commit, Effect
from waypost.ledger.checkpoint import Head
from waypost.ledger.court import Court
from waypost.ledger.exhibit import Evidence, decode
from waypost.ledger.note import Key
from waypost.ledger.pieces import Piece
from waypost.ledger.questions import Call, Notary, Reply
from waypost.ledger.tree import Tree

OWN = "wanda"
OTHERS = ("anna", "ben", "carl", "dora")
WANDA, *COSIGNERS = (cosigner(name) for name in (OWN, *OTHERS))


@dataclass(frozen=True)
class Peer:
    node: str
    origin: str
    key: Key
    cosigner: Key


@dataclass
class Logs:
    known: dict[str, Peer] = field(default_factory=dict)
    strangers: dict[str, Key] = field(default_factory=dict)

    def meet(self, *names: str) -> None:
        for name in names:
            origin = f"waypost/{name}"
            self.known[name] = Peer(name, origin, log_key(origin).key, cosigner(name).key)

    def of_origin(self, origin: str) -> Peer | None:
        return next((peer for peer in self.known.values() if peer.origin == origin), None)

    def key_of(self, origin: str) -> Key | None:
        peer = self.of_origin(origin)
        return peer.key if peer else self.strangers.get(origin)


class Trial:
    """Wanda's court.  `answer` is what a node says to a call, None that it is silent."""

    def __init__(self, *others: str, disk: Disk | None = None, noted: Callable[[Notary], Notary] = lambda n: n) -> None:
        self.disk = disk or Disk()
        self.logs = Logs()
        self.logs.meet(*(others or OTHERS))
        self.now = 100.0
        self.verified = 0
        self.copies: dict[str, Branch] = {}
        self.asked: list[tuple[int, Call]] = []
        self.answers: dict[int, Reply] = {}
        self.held: list[Commit] = []
        self.damaged: list[str] = []  # origins whose trees could not be read
        self._numbers = itertools.count(1)
        self.court = Court(
            itertools.count(1_000),
            noted(replace(notary(self.disk.read, OWN), verify=self._verify)),
            self.logs,
            copy=self._copy,
            entry_at=self._entry_at,
            is_damaged=lambda origin, _: self.damaged.append(origin),
        )
        self.court.restore(self.disk, self.now)

    def _verify(self, public: bytes, signature: bytes, message: bytes) -> bool:
        self.verified += 1
        return verify(public, signature, message)

    def _copy(self, origin: str) -> Tree | None:
        branch = self.copies.get(origin)
        return branch.tree if branch else None

    def _entry_at(self, origin: str, index: int) -> bytes | None:
        branch = self.copies.get(origin)
        return branch.entries[index] if branch and index < len(branch.entries) else None

    def is_frozen(self, origin: str, size: int) -> bool:
        """Whether a head of that size counts for nothing."""
        frozen = self.court.frozen.get(origin)
        return frozen is not None and size > frozen.size

    def again(self, noted: Callable[[Notary], Notary] = lambda n: n) -> "Trial":
        """After a restart: what was held back is lost."""
        disk = Disk()
        disk.tables = {table: dict(rows) for table, rows in self.disk.tables.items()}
        new = Trial(*self.logs.known, disk=disk, noted=noted)
        new.copies = self.copies
        return new

    def mirror(self, branch: Branch) -> "Trial":
        """All of it, as the mirror tells; what was mirrored before is read no more."""
        origin = branch.log.key.name
        before = self.copies.get(origin)
        first = len(before.entries) if before else 0
        assert before is None or before.entries == branch.entries[:first]
        self.copies[origin] = branch
        self.court.read(origin, enumerate(branch.entries[first:], first), self.now)
        return self.settle()

    def see(self, *heads: Head, source: str = "ben") -> "Trial":
        for head in heads:
            self.court.consider(head, source, self.now)
        return self.settle()

    def ask(self, data: bytes, node: str = "ben") -> int:
        id = next(self._numbers)
        self.court.hear(id, data, node, self.now)
        return id

    def tell(self, data: bytes, node: str = "ben") -> Reply:
        id = self.ask(data, node)
        self.settle()
        return self.answers.pop(id)

    def hold(self) -> list[Effect]:
        """What leaves at once; what has to be written first is held back."""
        left: list[Effect] = []
        for effect in self.court.take_effects():
            if isinstance(effect, Commit):
                self.held.append(effect)
            else:
                left.append(effect)
        return left

    def settle(self) -> "Trial":
        left = self.hold()
        while left or self.held:
            left += self._write()
            for effect in left:
                if isinstance(effect, Ask):
                    assert isinstance(effect.body, Call)
                    self.asked.append((effect.id, effect.body))
                else:
                    assert isinstance(effect, Answer)
                    assert isinstance(effect.result, Reply)
                    self.answers[effect.id] = effect.result
            left = self.hold()
        self.court.check()
        return self

    def _write(self) -> list[Effect]:
        left: list[Effect] = []
        for commit in self.held:
            self.disk.write(commit)
            for effect in commit.then:
                if isinstance(effect, Apply):
                    assert self.court.applied(effect.change, self.now)
                else:
                    left.append(effect)
        self.held = []
        return left

    def reply(self, status: int | None, *, to: str | None = None) -> "Trial":
        """What the nodes say to the calls that are under way."""
        asked, self.asked = self.asked, []
        for id, call in asked:
            if to is None or call.node == to:
                answered = self.court.answered(id, Reply(status) if status is not None else None, self.now)
                assert answered
            else:
                self.asked.append((id, call))
        return self.settle()

    def pass_time(self, seconds: float) -> "Trial":
        self.now += seconds
        self.court.handle_timer(self.now)
        return self.settle()

    def told(self) -> list[str]:
        """Which nodes are being told something."""
        return [call.node for _, call in self.asked]

    def pieces(self) -> list[Piece]:
        return list(self.court.pieces.values())

    def evidence(self) -> list[Evidence]:
        return [decode(piece.data) for piece in self.pieces()]

    def faults(self) -> list[tuple[str, str]]:
        """Each with the name of the key that is accused."""
        return [(piece.found.fault.value, piece.found.accused.partition("+")[0]) for piece in self.pieces()]


def cosigners(*names: str) -> list[Signer]:
    return [cosigner(name) for name in names]
