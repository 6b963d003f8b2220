"""Watches a mesh from outside: what every node tells, writes and answers, against the invariants of the notes.

I1 agreement, I2 the chain, I3 certificates, I5 one record for a ballot and no vote below a promise, I7 no commit
without a quorum and I14 no vote after a seal are checked with each message and each row, I10 and I11 with the first row
of each version; I4 with each row that is on disk and after each restart; I6, I9 and I13 over the operations of the
clients.

I10, who made a version was entitled by those before it, and a new holder signed as well; and I11, active allocations
are prefix-free, are worked out here from what is committed, and ask no judge.

Source: notes on DRiP, 4.12.
"""

import bisect
from dataclasses import dataclass, field

from people import FOUNDING
from prefixes import BLOCKS, ROOT, listed

from waypost.drip.book import history_key
from waypost.drip.messages import Message, Promise, SealSnapshot, Yes, place_of
from waypost.record import ROSTER, Ballot, Committed, Member, Place, Record, Roster, Verify, roster_in
from waypost.record.vote import require_committed

Slot = tuple[str, int, Place, int]  # voter and incarnation; key and version


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass(slots=True)
class Operation:
    """A client's claim, or read if `record` is None; `state` is the outcome's, once there is one."""

    place: Place
    begin: float
    record: Record | None = None
    hash: str = ""
    end: float | None = None
    state: str = ""
    version: int = 0


@dataclass
class Observer:
    network: str
    founders: Roster
    verify: Verify
    founding: Committed = FOUNDING
    log: dict[tuple[Place, int], str] = field(default_factory=dict)  # every version that anybody holds
    operations: list[Operation] = field(default_factory=list)
    rosters: dict[int, Roster] = field(default_factory=dict)
    on_disk: dict[tuple[str, Place], int] = field(default_factory=dict)
    promises: dict[Slot, list[tuple[int, Ballot]]] = field(default_factory=dict)
    votes: dict[tuple[Slot, Ballot], str] = field(default_factory=dict)
    calls: dict[tuple[Place, int, Ballot], str] = field(default_factory=dict)
    sealed: dict[str, int] = field(default_factory=dict)
    certified: set[Committed] = field(default_factory=set)
    records: dict[tuple[Place, int], Record] = field(default_factory=dict)
    blocks: dict[str, Record] = field(default_factory=dict)  # the newest version of each

    def __post_init__(self) -> None:
        self.rosters[1] = self.founders

    def told(self, name: str, incarnation: int, message: Message) -> None:
        """A sentence left its node, so what it reveals is on the disk."""
        match message:
            case Promise():
                slot = (name, incarnation, place_of(message), message.version)
                self.promises.setdefault(slot, []).append((message.counter, message.ballot))
                self._unsealed(name, message.ballot)
            case Yes():
                self._voted(name, message)
            case SealSnapshot():
                self.sealed[name] = max(self.sealed.get(name, 0), message.epoch)
            case _:
                pass

    def _voted(self, name: str, yes: Yes) -> None:
        matter, mark = yes.vote.matter, yes.vote.mark
        slot = (name, mark.incarnation, matter.place, matter.version)
        before = self.votes.setdefault((slot, matter.ballot), matter.hash)
        require(before == matter.hash, "I5", f"{name} voted for two records at {matter.ballot}")
        called = self.calls.setdefault((matter.place, matter.version, matter.ballot), matter.hash)
        require(called == matter.hash, "I5", f"{name} voted for another record at {matter.ballot} than others did")
        for counter, ballot in self.promises.get(slot, ()):
            kept = mark.counter < counter or matter.ballot >= ballot
            require(kept, "I5", f"{name} voted at {matter.ballot} after it had promised {ballot}")
        self._unsealed(name, matter.ballot)

    def _unsealed(self, name: str, ballot: Ballot) -> None:
        require(ballot.epoch > self.sealed.get(name, 0), "I14", f"{name} voted in epoch {ballot.epoch}, sealed")

    def held(self, name: str, committed: Committed) -> None:
        """A node takes a record for committed, and will write it."""
        record = committed.record
        place, version, hash = record.place, record.version, record.hash(self.network)
        known = self.log.setdefault((place, version), hash)
        require(known == hash, "I1", f"{name} holds another version {version} of {place} than others do")
        before = self.log.get((place, version - 1))
        if place == ROSTER and version == 2:
            before = self.founding.record.hash(self.network)
        require(before is None or record.prev == before, "I2", f"{name}: version {version} of {place} does not follow")
        after = committed.certificate
        assert after is not None
        roster = self.rosters.get(after.matter.ballot.epoch)
        require(roster is not None, "I3", f"{name} holds a certificate of an epoch that never was")
        assert roster is not None
        if committed not in self.certified:
            try:
                require_committed(committed, roster, self.network, self.verify, roster.quorum)
            except Exception as error:
                raise Violation(f"I3, I7: {name} holds {place} version {version}: {error}") from error
            self.certified.add(committed)
        if place == ROSTER:
            self.rosters[version] = roster_in(record)
        if (place, version) not in self.records:
            self.records[place, version] = record
            self._entitled(record)
            if place[0] == BLOCKS:
                self._prefix_free(record)

    def _entitled(self, record: Record) -> None:
        """I10."""
        place, version, author = record.place, record.version, record.author
        operator = self.founders.policy.operator
        sign = bytes.fromhex(author), bytes.fromhex(record.signature), record.to_sign(self.network)
        require(self.verify(*sign), "I10", f"version {version} of {place} is not signed by its author")
        before = self.records.get((place, version - 1))
        if place == ROSTER:
            old, new = self.rosters[version - 1], self.rosters[version]
            is_amended = old.policy == new.policy and {_whose(one) for one in old.voters} == {
                _whose(one) for one in new.voters
            }
            may = author == operator or (is_amended and author in {voter.key for voter in old.voters})
        elif place[0] == BLOCKS and place != ROOT and (before is None or before.value is None):
            above = (self.records.get(((cite.namespace, cite.key), cite.version)) for cite in record.cites)
            makers = (each for each in above if each is not None and listed(each).get(record.key) == version - 1)
            may = any(each.holder == author and record.key.startswith(each.key) for each in makers)
            before = None  # it is made anew, for whom its maker likes
        elif version == 1:
            may = author == operator
        else:
            may = before is not None and author == before.holder
        require(may, "I10", f"version {version} of {place} is by somebody who may not")
        if before is not None and before.holder != record.holder:
            agreed = record.transfer(before.holder).to_sign(self.network)
            is_taken = self.verify(bytes.fromhex(record.holder), bytes.fromhex(record.taken), agreed)
            require(is_taken, "I10", f"version {version} of {place} goes to who did not take it")

    def _prefix_free(self, record: Record) -> None:
        """I11: of two active blocks, one in the other, the one was given on by way of what lists the other."""
        if record.version < (self.blocks[record.key].version if record.key in self.blocks else 1):
            return
        self.blocks[record.key] = record
        active = {key for key, each in self.blocks.items() if each.value is not None}
        for outer in active:
            for inner in active:
                if inner != outer and inner.startswith(outer) and record.key in (inner, outer):
                    self._given_on(outer, inner, active)

    def _given_on(self, outer: str, inner: str, active: set[str]) -> None:
        at = outer
        while at != inner:
            within = [key for key in listed(self.blocks[at]) if inner.startswith(key)]
            require(len(within) == 1 and within[0] in active, "I11", f"{inner} and {outer} are allocated at once")
            at = within[0]

    def written(self, name: str, place: Place, version: int) -> None:
        require(version >= self.on_disk.get((name, place), 0), "I4", f"{name}: {place} went back to {version}")
        self.on_disk[name, place] = version

    def restarted(self, name: str, held: dict[Place, int]) -> None:
        for (node, place), version in self.on_disk.items():
            if node == name:
                require(held.get(place, 0) >= version, "I4", f"{name} forgot version {version} of {place}")

    def forgotten(self, name: str) -> None:
        """Its disk was lost; it will begin as another installation."""
        self.on_disk = {key: version for key, version in self.on_disk.items() if key[0] != name}
        self.sealed.pop(name, None)

    def check_history(self) -> None:
        """I6: real-time order respects versions.  I9 and the certain half of I13: answers are true."""
        for place in {operation.place for operation in self.operations}:
            done = [op for op in self.operations if op.place == place and op.state in ("committed", "read")]
            done.sort(key=lambda op: op.end or 0.0)
            ends, highest = [op.end or 0.0 for op in done], [0]
            for operation in done:
                highest.append(max(highest[-1], operation.version))
            for op in done:
                seen = highest[bisect.bisect_left(ends, op.begin)]
                stale = seen > op.version or (op.record is not None and seen >= op.version)
                require(not stale, "I6", f"{op} ended after version {seen} of {place} had been seen")
        for op in self.operations:
            if op.record is None:
                continue
            there = self.log.get((op.place, op.record.version))
            if op.state == "committed":
                require(there == op.hash, "I9", f"{op.place}: version {op.record.version} was acknowledged and is not")
            if op.state in ("lost", "denied"):
                require(there != op.hash, "I13", f"{op.place}: version {op.record.version} was {op.state} and is there")

    def check_kept(self, kept: dict[str, list[bytes]], incarnations: dict[str, int]) -> None:
        """R11: all disks have the same versions, and where none was lost, all that ever were."""
        (first, keys), *others = kept.items()
        for name, theirs in others:
            require(theirs == keys, "R11", f"{first} and {name} have other versions: {set(keys) ^ set(theirs)}")
        if all(incarnation == 1 for incarnation in incarnations.values()):
            lost = {history_key(*slot) for slot in self.log} - set(keys)
            require(not lost, "R11", f"nobody has {lost}")


def _whose(voter: Member) -> tuple[str, int, str]:
    return voter.name, voter.incarnation, voter.key


def require(holds: bool, invariant: str, text: str) -> None:
    if not holds:
        raise Violation(f"{invariant}: {text}")
