"""Watches ledgers from outside: what leaves each node, and what is on its disk, against the invariants of the notes.

It asks no engine anything.  For each log it has a tree of its own, made of the entries that were on the node's disk
when a signed head left it, and only ever adds to it.

Source: notes on the ledger, 5 (invariants).
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from waypost.ledger import entry, evidence
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

Leaf = tuple[str, str, int, str | None]


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
    days: list[dict[str, Any]] = field(default_factory=list)
    day_texts: list[str] = field(default_factory=list)
    voted: dict[str, Leaf] = field(default_factory=dict)  # what its commits come to
    same: dict[str, tuple[str, str]] = field(default_factory=dict)  # by date: what it held, and the root that it told


class Overseer:
    """Of the `honest` nodes of a party of `names`.  `entered` are what clients were told is in a log."""

    def __init__(self, names: Iterable[str], honest: Iterable[str]) -> None:
        self.names = tuple(names)
        self.honest = {origin_of(name): name for name in honest}
        self.logs = {origin: Known() for origin in self.honest}
        self.cosigned: dict[tuple[str, str], Head] = {}  # by witness and origin, the last one
        self.cosignatures = 0
        self.accepted = 0  # heads that a reader would accept
        self.entered: list[tuple[str, int, bytes]] = []
        self._party: Notaries | None = None
        self._pending: list[tuple[str, Head]] = []

    def watch(self, party: Notaries) -> None:
        self._party = party
        for name, head in self._pending:
            self._left(name, head)

    def disk(self, name: str) -> Disk:
        assert self._party is not None
        return self._party.nodes[name].disk

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
        if self._party is None:  # while the party is being made
            self._pending.append((name, head))
            return
        known, disk = self.logs[head.origin], self.disk(name)
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
        rows = [value for _, value in self.disk(name).scan("ledger_witness")]
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
        others = [cosigner_key(name) for name in self.names if origin_of(name) != head.origin]
        needs = quorum_of(len(others))
        policy = Policy.of([log_key(name) for name in self.names], others, needs)
        verdict = policy.check(head, Fast.verify, now_s, age_max_s)
        signed = [key for key in others if _has_signed(head, key, now_s, age_max_s)]
        require(verdict.met == (len(signed) >= needs), "READER-QUORUM", f"{len(signed)} of {needs}: {verdict}")
        self.accepted += verdict.met
        return verdict.met

    # what is on the disks

    def check(self) -> None:
        """At any time: nothing that left a node is missing on its disk, and nobody is accused."""
        for name in self.honest.values():
            known = self.logs[origin_of(name)]
            disk = self.disk(name)
            entries = entries_of(disk)
            require(len(entries) >= known.shown, "ONE-HEAD", f"{name} signed {known.shown} and has {len(entries)}")
            same = _tree_of(entries[: known.tree.size]).root() == known.tree.root()
            require(same, "APPEND-ONLY", f"an entry of {name} has changed")
            self._read(name, known, entries)
            self.check_proofs(name)
            for (witness, _), head in self.cosigned.items():
                if witness == name:
                    self._require_kept(name, head)

    def check_proofs(self, name: str) -> int:
        """How many it holds: each of them proves something, against somebody who is not honest."""
        found = proofs_of(self.disk(name))
        for data in found:
            self._judge(name, data)
        return len(found)

    def _judge(self, name: str, data: bytes) -> None:
        keys = [key(each) for each in self.names for key in (log_key, cosigner_key)]
        found = evidence.check(data, keys, Fast.verify, quorum_of(len(self.names) - 1))
        about = found.origin
        require(bool(about) and about not in self.honest, "SOUND-EVIDENCE", f"{name} holds {found}")

    def _read(self, name: str, known: Known, entries: list[bytes]) -> None:
        """What came since."""
        for index, data in enumerate(entries[known.read :], known.read):
            read = entry.decode(data)
            if read.kind is Kind.EVIDENCE:
                self._judge(name, data)
            if read.kind is Kind.PEER_HEAD:
                self._check_link(name, known, read_head(read.body))
            elif read.kind is Kind.DAY:
                self._check_day(name, known, entries, index, read.body)
            elif read.kind is Kind.COMMIT:
                record = json.loads(read.body)["committed"]["record"]
                value = None if record["value"] is None else sha256(record["value"].encode()).hexdigest()
                place = f"{record['namespace']}\0{record['key']}"
                if place not in known.voted or known.voted[place][2] < record["version"]:
                    known.voted[place] = (record["namespace"], record["key"], record["version"], value)
        known.read = max(known.read, len(entries))

    def _check_link(self, name: str, known: Known, head: Head) -> None:
        before = known.linked.get(head.origin, 0)
        require(head.size > before, "LINK-VERIFIED", f"{name} linked {head.size} of {head.origin} after {before}")
        known.linked[head.origin] = head.size
        if head.origin in self.honest:
            require_signed(head, log_key(self.honest[head.origin]), Fast.verify)
            root = self.logs[head.origin].roots.get(head.size)
            require(root == head.root, "LINK-VERIFIED", f"{name} linked what {head.origin} never signed")

    def _check_day(self, name: str, known: Known, entries: list[bytes], index: int, body: bytes) -> None:
        """All but the state roots can be worked out again from the log."""
        note = Note.decode(body)
        require(bool(signers(note, [log_key(name)], Fast.verify)), "DAY-CHAIN", f"{name} did not sign a day")
        day = json.loads(note.text.split("\n")[1])
        last = known.day_texts[-1] if known.day_texts else None
        before = sha256(last.encode()).hexdigest() if last else ""
        require(day["before"] == before, "DAY-CHAIN", f"{day['date']} of {name} does not follow the day before")
        start = known.days[-1]["stop"] if known.days else 0
        require(day["start"] == start, "DAY-CHAIN", f"{day['date']} of {name} leaves something out")
        kinds = [entry.decode(data).kind for data in entries[start : day["stop"]]]
        names = Counter(kind.name.lower().replace("_", "-") if kind else "other" for kind in kinds)
        require(day["counts"] == names, "DAY-CHAIN", f"{day['date']} of {name} counts {day['counts']}, not {names}")
        root = _tree_of(entries[: day["stop"]]).root().hex()
        require(day["root"] == root, "DAY-CHAIN", f"{day['date']} of {name} has another root")
        known.days.append(day)
        known.day_texts.append(note.text)
        between = [entry.decode(data).kind for data in entries[day["stop"] : index]]
        if Kind.COMMIT not in between:  # else it is not told which of them it held
            held = state_root(known.voted.values())
            known.same[day["date"]] = day["voted"]["root"], day["gossiped"]["root"]
            require(day["voted"]["root"] == held, "SAME-STATE", f"{name} tells another root on {day['date']}")

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

    def have_published(self, date: str) -> bool:
        """Whether all have."""
        return all(date in known.same for known in self.logs.values())

    def check_same(self, date: str) -> None:
        """In fair weather all hold the same at that day's end, and say so."""
        told = {name: self.logs[origin].same.get(date) for origin, name in self.honest.items()}
        require(None not in told.values(), "DAY-CHAIN", f"not all have published {date}: {told}")
        require(len(set(told.values())) == 1, "SAME-STATE", f"{told}")

    def check_entered(self) -> None:
        """What a client was told is in a log is there."""
        for name, index, data in self.entered:
            require(entries_of(self.disk(name))[index] == data, "STORE-FIRST", f"entry {index} of {name} was lost")

    def check_published(self) -> None:
        """In fair weather every node has published a head that a reader accepts."""
        for name in self.honest.values():
            published = self.disk(name).get("ledger_node", b"published")
            require(published is not None, "READER-QUORUM", f"{name} has published nothing")
            assert published is not None
            require(self.read(read_head(published)), "READER-QUORUM", f"no quorum has cosigned what {name} published")


def proofs_of(disk: Disk) -> list[bytes]:
    """Evidence that a node keeps, whatever it says."""
    rows = [value.partition(Kind.EVIDENCE.line) for _, value in disk.scan("ledger_evidence")]
    return [line + body for _, line, body in rows if line]


def state_root(leaves: Iterable[Leaf]) -> str:
    """As dumb as can be."""
    buckets: list[list[tuple[bytes, bytes]]] = [[] for _ in range(256)]
    for leaf in leaves:
        digest = sha256(f"{leaf[0]}\0{leaf[1]}".encode()).digest()
        buckets[digest[0]].append((digest, json.dumps(leaf, separators=(",", ":")).encode()))
    return _root([_root([data for _, data in sorted(bucket)]) for bucket in buckets]).hex()


def _root(leaves: list[bytes]) -> bytes:
    if len(leaves) < 2:
        return sha256(b"\0" + leaves[0]).digest() if leaves else sha256(b"").digest()
    middle = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1" + _root(leaves[:middle]) + _root(leaves[middle:])).digest()


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
