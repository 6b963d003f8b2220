"""A witness with its disk, and logs that it sees, for stories by hand."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from keeping import Disk, notary, public_of, sign_as, verify

from waypost.engine import Answer, Apply, Commit
from waypost.ledger.checkpoint import Checkpoint, Head, sign_head
from waypost.ledger.note import Algorithm, Key, Verify
from waypost.ledger.questions import Reply
from waypost.ledger.submission import Submission
from waypost.ledger.tree import Tree
from waypost.ledger.witness import Witness

POSIX = 1_790_000_000


@dataclass(frozen=True)
class Ice:
    size: int
    digest: str


class Scribe:
    """A log that signs what it is told to: `entries` are its leaves."""

    def __init__(self, name: str) -> None:
        origin = f"waypost/{name}"
        self.key = Key(origin, Algorithm.ED25519, public_of(origin))
        self.tree = Tree()

    def grow(self, count: int, what: str = "entry") -> "Scribe":
        self.tree.extend([f"{what} {self.tree.size + number}".encode() for number in range(count)])
        return self

    def fork(self, size: int) -> "Scribe":
        """One more with this key, whose first `size` entries are the same."""
        other = Scribe(self.key.name.removeprefix("waypost/"))
        return other.grow(size)

    def head(self, size: int | None = None) -> Head:
        size = self.tree.size if size is None else size
        return self.sign(Checkpoint(self.key.name, size, self.tree.root(size)))

    def sign(self, checkpoint: Checkpoint) -> Head:
        return sign_head(checkpoint, self.key, lambda message: sign_as(self.key.public, message))

    def submission(self, old: int, size: int | None = None) -> Submission:
        head = self.head(size)
        proof = self.tree.consistency(old, head.size) if 0 < old < head.size else ()
        return Submission(old, proof, head)


class Eye:
    """A witness whose commits are carried out at once, but when they are held back."""

    def __init__(
        self,
        keys: Mapping[str, Key],
        *,
        disk: Disk | None = None,
        verify: Verify = verify,
        ice: Mapping[str, Ice] | None = None,
        mirrored: Mapping[str, Tree] | None = None,
    ) -> None:
        self.keys = keys
        self.disk = disk or Disk()
        self.verify = verify
        self.verified = 0
        self.now = 100.0
        self.time_s = POSIX
        self.answers: dict[int, object] = {}
        self.held: list[Commit] = []
        self.ice = dict(ice or {})
        self.mirrored = trees = mirrored or {}
        self._number = 0

        def root_at(origin: str, size: int) -> bytes | None:
            tree = trees.get(origin)
            return tree.root(size) if tree is not None and size <= tree.size else None

        wanda = replace(notary(self.disk.read, "wanda"), verify=self._counting)
        self.cosigner = wanda.cosigner
        self.witness = Witness(
            wanda,
            key_of=keys.get,
            frozen=self.ice.get,
            root_at=root_at,
        )
        self.witness.restore(self.disk, self.now)

    def again(self) -> "Eye":
        """After a restart: what was held back is lost."""
        disk = Disk()
        disk.tables = {table: dict(rows) for table, rows in self.disk.tables.items()}
        return Eye(self.keys, disk=disk, verify=self.verify, ice=self.ice, mirrored=self.mirrored)

    def links(self) -> list[Head]:
        """What is due, as it is entered in the log."""
        heads = self.witness.take_links(self.now)
        for head in heads:
            self.disk.write(Commit(puts=self.witness.linking(head)))
        return heads

    def submit(self, body: bytes | Submission, source: str = "") -> Reply:
        id = self.ask(body, source)
        self.settle()
        reply = self.answers.pop(id)
        assert isinstance(reply, Reply)
        return reply

    def submit_alone(self, body: bytes | Submission) -> Reply:
        """One that is answered at once, whatever else is held back."""
        reply = self.answers.pop(self.ask(body))
        assert isinstance(reply, Reply)
        return reply

    def ask(self, body: bytes | Submission, source: str = "") -> int:
        """What it has to write is held back until settle()."""
        self._number += 1
        octets = body.encode() if isinstance(body, Submission) else body
        self.witness.add_checkpoint(self._number, octets, self.now, self.time_s, source)
        for effect in self.witness.take_effects():
            if isinstance(effect, Commit):
                self.held.append(effect)
            else:
                assert isinstance(effect, Answer)
                self.answers[effect.id] = effect.result
        self.witness.check()
        return self._number

    def settle(self) -> None:
        held, self.held = self.held, []
        for commit in held:
            self.disk.write(commit)
            for effect in commit.then:
                if isinstance(effect, Apply):
                    assert self.witness.applied(effect.change, self.now)
                else:
                    assert isinstance(effect, Answer)
                    self.answers[effect.id] = effect.result
        self.witness.check()

    def _counting(self, public: bytes, signature: bytes, message: bytes) -> bool:
        self.verified += 1
        return self.verify(public, signature, message)
