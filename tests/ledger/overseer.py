"""Watches ledgers from outside: what leaves each node, and what is on its disk, against the invariants of the notes.

It asks no engine anything.  For each log it has a tree of its own, made of the entries that were on the node's disk
when a signed head left it, and only ever adds to it.

Source: notes on the ledger, 5 (invariants).
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from waypost.ledger import entry
from waypost.ledger.checkpoint import Head, cosigned_at, read_head, require_signed
from waypost.ledger.entry import Kind
from waypost.ledger.log import FOLDER
from waypost.ledger.note import Key, Note, signers
from waypost.ledger.policy import Policy, quorum_of
from waypost.ledger.questions import Call, Reply, Serve
from waypost.ledger.submission import Submission
from waypost.ledger.tiles import WIDTH, bundles, tiles
from waypost.ledger.tree import Tree
from waypost.sim.disk import Disk
from waypost.sim.notaries import Notaries, cosigner_key, entries_of, log_key, origin_of
from waypost.sim.people import Fast


class Violation(AssertionError):
    """An invariant does not hold."""


def require(holds: bool, invariant: str, text: str) -> None:
    if not holds:
        raise Violation(f"{invariant}: {text}")


@dataclass
class Known:
    """A log: a tree of what was on the disk, the size that left it last, and the heads that left it."""

    tree: Tree = field(default_factory=Tree)
    shown: int = 0
    roots: dict[int, bytes] = field(default_factory=dict)
    linked: dict[str, int] = field(default_factory=dict)  # what it holds of others: origin, size
    read: int = 0  # entries that were looked at


class Overseer:
    """Of the `honest` nodes of a party.  `entered` are what clients were told is in a log."""

    def __init__(self, honest: Iterable[str]) -> None:
        self.honest = {origin_of(name): name for name in honest}
        self.logs = {origin: Known() for origin in self.honest}
        self.cosigned: dict[tuple[str, str], Head] = {}  # by witness and origin, the last one
        self.cosignatures = 0
        self.accepted = 0  # heads that a reader would accept
        self.entered: list[tuple[str, int, bytes]] = []
        self._disks: dict[str, Disk] = {}
        self._pending: list[tuple[str, Head]] = []

    def watch(self, party: Notaries) -> None:
        self._disks = {name: party.nodes[name].disk for name in self.honest.values()}
        for name, head in self._pending:
            self._left(name, head)

    # what leaves a node

    def called(self, name: str, call: Call) -> None:
        for head in _told(call.path, call.body):
            self._left(name, head)

    def replied(self, name: str, question: Serve, reply: Reply) -> None:
        if reply.status != 200 or name not in self.honest.values():
            return
        if question.path == "add-checkpoint":
            self._has_cosigned(name, Submission.decode(question.body).head, reply.body)
        elif question.path.endswith("checkpoint"):
            self._left(name, read_head(reply.body))
            if question.path == "checkpoint":
                self.read(read_head(reply.body))

    def _left(self, name: str, head: Head) -> None:
        """A head of this node's own log, or one that it passes on."""
        if origin_of(name) != head.origin or name not in self.honest.values():
            return
        if name not in self._disks:  # while the party is being made
            self._pending.append((name, head))
            return
        known, disk = self.logs[head.origin], self._disks[name]
        require(bool(signers(head.note, [log_key(name)], Fast.verify)), "ONE-HEAD", f"{head.origin} did not sign it")
        known.shown = max(known.shown, head.size)
        before = known.roots.setdefault(head.size, head.root)
        require(before == head.root, "ONE-HEAD", f"{head.origin} has two roots at {head.size}")
        if head.size > known.tree.size:
            entries = entries_of(disk)
            require(len(entries) >= head.size, "STORE-FIRST", f"{name} signed {head.size} and has {len(entries)}")
            _require_tiles(name, disk, known.tree.size, head.size)
            known.tree.extend(entries[known.tree.size : head.size])
        root = known.tree.root(head.size)
        require(root == head.root, "APPEND-ONLY", f"{head.origin} at {head.size} is not what was on its disk")

    def _has_cosigned(self, name: str, head: Head, lines: bytes) -> None:
        """Its answer to add-checkpoint."""
        key = cosigner_key(name)
        note = Note.decode(head.note.text.encode() + b"\n" + lines)
        time_s = cosigned_at(Head(head.checkpoint, note), key, Fast.verify)
        require(time_s is not None, "MONOTONE-WITNESS", f"{name} answered with no cosignature")
        self.cosignatures += 1
        before = self.cosigned.get((name, head.origin))
        if before is not None:
            require(head.size >= before.size, "MONOTONE-WITNESS", f"{name} cosigned {head.size} after {before.size}")
            same = head.size > before.size or head.root == before.root
            require(same, "MONOTONE-WITNESS", f"{name} cosigned two roots of {head.origin} at {head.size}")
        known = self.logs.get(head.origin)
        if known is not None:
            require(known.roots.get(head.size) == head.root, "LINK-VERIFIED", f"{name} cosigned what was not signed")
        self.cosigned[name, head.origin] = head
        self._require_kept(name, head)

    def _require_kept(self, name: str, head: Head) -> None:
        """The whole checkpoint is on the disk, or one that came after it."""
        rows = [value for _, value in self._disks[name].scan("ledger_witness")]
        kept = [read_head(value) for value in rows if value.startswith(head.origin.encode() + b"\n")]
        found = max(kept, key=lambda each: each.size, default=None)
        require(found is not None, "EVIDENCE-KEPT", f"{name} keeps nothing of {head.origin}")
        assert found is not None
        holds = found.size > head.size or found.note.text == head.note.text
        require(holds, "EVIDENCE-KEPT", f"{name} cosigned {head.size} of {head.origin} and keeps {found.size}")
        if head.origin in self.honest:
            require_signed(found, log_key(self.honest[head.origin]), Fast.verify)
        require(cosigned_at(found, cosigner_key(name), Fast.verify) is not None, "EVIDENCE-KEPT", "without its line")

    # what a reader accepts

    def read(self, head: Head, now_s: int = 0, age_max_s: int | None = None) -> bool:
        """Whether a reader accepts it, who knows the keys of all."""
        others = [cosigner_key(name) for origin, name in self.honest.items() if origin != head.origin]
        needs = quorum_of(len(others))
        policy = Policy.of([log_key(name) for name in self.honest.values()], others, needs)
        verdict = policy.check(head, Fast.verify, now_s, age_max_s)
        signed = [key for key in others if _has_signed(head, key, now_s, age_max_s)]
        require(verdict.met == (len(signed) >= needs), "READER-QUORUM", f"{len(signed)} of {needs}: {verdict}")
        self.accepted += verdict.met
        return verdict.met

    # what is on the disks

    def check(self) -> None:
        """At any time: nothing that left a node is missing on its disk, and nobody is accused."""
        for name, disk in self._disks.items():
            known = self.logs[origin_of(name)]
            entries = entries_of(disk)
            require(len(entries) >= known.shown, "ONE-HEAD", f"{name} signed {known.shown} and has {len(entries)}")
            same = _tree_of(entries[: known.tree.size]).root() == known.tree.root()
            require(same, "APPEND-ONLY", f"an entry of {name} has changed")
            self._check_links(name, known, entries)
            require(not proofs_of(disk), "SOUND-EVIDENCE", f"{name} holds evidence")
            for (witness, _), head in self.cosigned.items():
                if witness == name:
                    self._require_kept(name, head)

    def _check_links(self, name: str, known: Known, entries: list[bytes]) -> None:
        for data in entries[known.read :]:
            read = entry.decode(data)
            require(read.kind is not Kind.EVIDENCE, "SOUND-EVIDENCE", f"the log of {name} holds evidence")
            if read.kind is not Kind.PEER_HEAD:
                continue
            head = read_head(read.body)
            before = known.linked.get(head.origin, 0)
            require(head.size > before, "LINK-VERIFIED", f"{name} linked {head.size} of {head.origin} after {before}")
            known.linked[head.origin] = head.size
            if head.origin in self.honest:
                require_signed(head, log_key(self.honest[head.origin]), Fast.verify)
                root = self.logs[head.origin].roots.get(head.size)
                require(root == head.root, "LINK-VERIFIED", f"{name} linked what {head.origin} never signed")
        known.read = max(known.read, len(entries))

    def sizes(self) -> dict[str, int]:
        """Of the heads that left each node."""
        return {origin: known.shown for origin, known in self.logs.items()}

    def check_fresh(self, sizes: dict[str, int]) -> None:
        """Every log links every other at the size that it had then, or a larger one."""
        self.check()
        for origin, known in self.logs.items():
            for other, size in sizes.items():
                if other != origin:
                    linked = known.linked.get(other, 0)
                    require(linked >= size, "LINK-FRESH", f"{origin} links {linked} of {other}, which had {size}")

    def check_entered(self) -> None:
        """What a client was told is in a log is there."""
        for name, index, data in self.entered:
            require(entries_of(self._disks[name])[index] == data, "STORE-FIRST", f"entry {index} of {name} was lost")

    def check_published(self) -> None:
        """In fair weather every node has published a head that a reader accepts."""
        for name, disk in self._disks.items():
            published = disk.get("ledger_node", b"published")
            require(published is not None, "READER-QUORUM", f"{name} has published nothing")
            assert published is not None
            require(self.read(read_head(published)), "READER-QUORUM", f"no quorum has cosigned what {name} published")


def proofs_of(disk: Disk) -> list[bytes]:
    """Evidence that a node keeps, whatever it says."""
    rows = [value.partition(Kind.EVIDENCE.line) for _, value in disk.scan("ledger_evidence")]
    return [line + body for _, line, body in rows if line]


def _told(path: str, body: bytes) -> Iterator[Head]:
    """Heads in what one node says to another."""
    if path == "add-checkpoint":
        yield Submission.decode(body).head
    elif path == "heads":
        yield from (read_head(note.encode()) for note in json.loads(body))


def _require_tiles(name: str, disk: Disk, old: int, new: int) -> None:
    for tile in (*bundles(old, new), *tiles(old, new)):
        there = tile.width < WIDTH or f"{FOLDER}/{tile.path}" in disk.files
        require(there, "STORE-FIRST", f"{name} signed {new} and has no {tile.path}")


def _has_signed(head: Head, key: Key, now_s: int, age_max_s: int | None) -> bool:
    """By our own reading of the note."""
    for line in head.note.lines:
        if line.name == key.name and line.id == key.id:
            time_s = int.from_bytes(line.signature[:8], "big")
            message = f"cosignature/v1\ntime {time_s}\n{head.note.text}".encode()
            if Fast.verify(key.public, line.signature[8:], message):
                return age_max_s is None or time_s >= now_s - age_max_s
    return False


def _tree_of(entries: list[bytes]) -> Tree:
    tree = Tree()
    tree.extend(entries)
    return tree
