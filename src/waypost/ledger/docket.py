"""What is known of the heads of one log, held against the copy of its entries: which of them are of another history.

A head that is no larger than the copy is of the mirrored branch, or of a fork.  A fork is shown with a head of the
mirrored branch that is at least as large and signed by the same key, be it the log's or that of a witness that cosigned
both; until there is one, the fork is remembered.  A head that is larger waits for the copy to grow.  Two heads of one
size and two roots need no copy.

Source: notes on the ledger, L3, L4 and 5 (COMPLETE-EVIDENCE; freeze at the last size on which k witnesses agree).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from waypost.ledger.checkpoint import Head
from waypost.ledger.evidence import by_alone, of_heads
from waypost.ledger.exhibit import OfHeads
from waypost.ledger.note import Key, Note
from waypost.ledger.policy import is_own

KNOWN_MAX: Final = 1_024  # heads that need no second look; the oldest is forgotten
WAITING_MAX: Final = 64  # heads larger than the copy; the largest is given up
FORKS_MAX: Final = 16
COUNTED_MAX: Final = 64  # heads whose cosigners are being counted; the oldest is given up
AGREED_MAX: Final = 64  # sizes; older ones get fewer


class Copy(Protocol):
    """As tree.Tree."""

    @property
    def size(self) -> int: ...
    def root(self, size: int | None = None) -> bytes: ...
    def inclusion(self, index: int, size: int | None = None) -> tuple[bytes, ...]: ...
    def consistency(self, old: int, new: int | None = None) -> tuple[bytes, ...]: ...


@dataclass(frozen=True, slots=True)
class Signed:
    """A head with no signature but those of `keys`, each of which was verified; the log's is the first."""

    head: Head
    keys: tuple[Key, ...]

    @property
    def digest(self) -> bytes:
        return sha256(self.head.note.text.encode()).digest()

    def joined(self, other: "Signed") -> "Signed":
        """Of the same text: the signatures of both."""
        new = tuple(key for key in other.keys if key not in self.keys)
        lines = self.head.note.lines + by_alone(other.head, new).note.lines
        return Signed(Head(self.head.checkpoint, Note(self.head.note.text, lines)), self.keys + new)


class Docket:
    """Of the log that signs with `key`.

    `agreed` are sizes that a quorum cosigned, ascending; `last` is the largest head of the mirrored branch by key;
    `link` the index of the entry that shows the latest time, and that time; `dated` pairs of indices, of a link and of
    a statement that is dated too long before it, that no head covers yet.
    """

    def __init__(self, key: Key) -> None:
        self.key = key
        self.agreed: list[int] = []
        self.last: dict[Key, Head] = {}
        self.link: tuple[int, int] | None = None
        self.dated: dict[tuple[int, int], None] = {}
        self.waiting: dict[bytes, Signed] = {}
        self.forks: dict[bytes, Signed] = {}
        self._known: dict[bytes, None] = {}
        self._shown: dict[tuple[bytes, Key], None] = {}  # forks that were proved of a key
        self._counted: dict[tuple[int, bytes], dict[Key, None]] = {}

    def is_known(self, mark: bytes) -> bool:
        """Whether something of that digest was seen before; it is from now on."""
        if mark in self._known:
            return True
        self._known[mark] = None
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]
        return False

    def consider(self, signed: Signed, copy: Copy | None, quorum: int) -> Iterator[OfHeads]:
        """A head with new signatures: what it proves together with those before.

        Raises StoreError, as grown() does, if the copy cannot be read; then nothing was lost that another may prove.
        """
        if copy is None or signed.head.size > copy.size:
            yield from self._wait(signed)
        elif copy.root(signed.head.size) == signed.head.root:
            yield from self._extend(signed, copy, quorum)
        else:
            yield from self._fork(signed, copy)

    def grown(self, copy: Copy, quorum: int) -> Iterator[OfHeads]:
        """The copy has more entries than before."""
        due = [signed for signed in self.waiting.values() if signed.head.size <= copy.size]
        for signed in sorted(due, key=lambda each: each.head.size):
            yield from self.consider(signed, copy, quorum)
            del self.waiting[signed.digest]

    def agreed_below(self, size: int) -> int:
        """The largest size that a quorum cosigned and that is smaller; 0 if there is none."""
        return max((each for each in self.agreed if each < size), default=0)

    def _wait(self, signed: Signed) -> Iterator[OfHeads]:
        before = self.waiting.get(signed.digest)
        self.waiting[signed.digest] = signed = before.joined(signed) if before else signed
        for other in self.waiting.values():
            yield from _of_one_size(signed, other)
        if len(self.waiting) > WAITING_MAX:
            del self.waiting[max(self.waiting, key=lambda digest: self.waiting[digest].head.size)]

    def _extend(self, signed: Signed, copy: Copy, quorum: int) -> Iterator[OfHeads]:
        head = signed.head
        for key in signed.keys:
            if key not in self.last or self.last[key].size < head.size:
                self.last[key] = by_alone(head, (key,))
        for fork in self.forks.values():
            yield from self._against(fork, copy)
        self._count(signed, quorum)

    def _fork(self, signed: Signed, copy: Copy) -> Iterator[OfHeads]:
        before = self.forks.get(signed.digest)
        signed = before.joined(signed) if before else signed
        if before or len(self.forks) < FORKS_MAX:
            self.forks[signed.digest] = signed
        yield from self._against(signed, copy)
        for other in self.forks.values():
            yield from _of_one_size(signed, other)

    def _against(self, fork: Signed, copy: Copy) -> Iterator[OfHeads]:
        for key in fork.keys:
            last, place = self.last.get(key), (fork.digest, key)
            if last is not None and last.size >= fork.head.size and place not in self._shown:
                made = of_heads(key, fork.head, last, copy)
                assert made is not None
                self._shown[place] = None
                yield made

    def _count(self, signed: Signed, quorum: int) -> None:
        place = signed.head.size, signed.head.root
        counted = self._counted.setdefault(place, {})
        counted.update((key, None) for key in signed.keys if not is_own(self.key, key))
        if len(self._counted) > COUNTED_MAX:
            del self._counted[next(iter(self._counted))]
        if len(counted) >= quorum and signed.head.size not in self.agreed:
            self.agreed = sorted((*self.agreed, signed.head.size))
            if len(self.agreed) > AGREED_MAX:
                del self.agreed[1 : AGREED_MAX // 2 : 2]


def _of_one_size(one: Signed, other: Signed) -> Iterator[OfHeads]:
    if one.head.size == other.head.size and one.head.root != other.head.root:
        for key in one.keys:
            if key in other.keys:
                made = of_heads(key, one.head, other.head, None)
                assert made is not None
                yield made
