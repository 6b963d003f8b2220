"""Who has which value of one attribute name.

Most values have one owner, so a single owner is stored bare.  A value with several has a Posting,
whose `count` is kept current: the cheapest criterion of a lookup is found without adding anything
up.  The values lie sorted in chunks, so a prefix is found by bisection and neither insertion nor
removal gets slower with their number.

prefixed() finds its place anew for each chunk, so a lookup may pause there while values come and
go; what owners() returns must be copied for that.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterator
from typing import Final, Generic, Protocol, TypeVar

CHUNK_MAX: Final = 512  # values of one chunk before it is split


class Owner(Protocol):
    @property
    def weight(self) -> int:
        """How many registrations come with this owner."""
        ...


T = TypeVar("T", bound=Owner)


class Posting(Generic[T]):
    """The owners of one value, in the order they came; `count` is the sum of their weights."""

    __slots__ = ("count", "owners")

    def __init__(self, owners: dict[T, None], count: int) -> None:
        self.owners = owners
        self.count = count


class Values(Generic[T]):
    """value -> owner, or Posting of owners; `total` is the sum of all counts."""

    __slots__ = ("_chunks", "_maxima", "_owners", "total")

    def __init__(self) -> None:
        self._owners: dict[str, T | Posting[T]] = {}
        self._chunks: list[list[str]] = []
        self._maxima: list[str] = []  # the last value of each chunk
        self.total = 0

    def __len__(self) -> int:
        return len(self._owners)

    def __contains__(self, value: str) -> bool:
        return value in self._owners

    def add(self, value: str, owner: T, weight: int) -> None:
        """`owner` has `weight` registrations, and not this value."""
        self.total += weight
        old = self._owners.get(value)
        if old is None:
            self._owners[value] = owner
            self._insert(value)
        elif isinstance(old, Posting):
            old.owners[owner] = None
            old.count += weight
        else:
            self._owners[value] = Posting({old: None, owner: None}, old.weight + weight)

    def remove(self, value: str, owner: T) -> None:
        """`owner` has one registration left."""
        self.total -= 1
        old = self._owners[value]
        if not isinstance(old, Posting):
            del self._owners[value]
            self._delete(value)
            return
        del old.owners[owner]
        old.count -= 1
        if len(old.owners) == 1:
            (self._owners[value],) = old.owners

    def grow(self, value: str, amount: int) -> None:
        """An owner of `value` has `amount` more registrations."""
        self.total += amount
        old = self._owners[value]
        if isinstance(old, Posting):
            old.count += amount

    def owners(self, value: str) -> Collection[T]:
        old = self._owners.get(value)
        if old is None:
            return ()
        return old.owners if isinstance(old, Posting) else (old,)

    def only(self, value: str) -> T | None:
        """The owner of `value`, if there is just one."""
        old = self._owners.get(value)
        return None if isinstance(old, Posting) else old

    def has(self, value: str, owner: T) -> bool:
        old = self._owners.get(value)
        return owner in old.owners if isinstance(old, Posting) else old is owner

    def count(self, value: str) -> int:
        """How many registrations have `value`."""
        old = self._owners.get(value)
        if old is None:
            return 0
        return old.count if isinstance(old, Posting) else old.weight

    def estimate(self, prefix: str) -> int:
        """About how many registrations have a value that starts with `prefix`; at least 1 if any may."""
        if not self._chunks:
            return 0
        low = bisect_left(self._maxima, prefix)
        high = bisect_left(self._maxima, prefix + "\U0010ffff")
        if low == len(self._chunks):
            return 0
        if low == high:
            chunk = self._chunks[low]
            number = bisect_left(chunk, prefix + "\U0010ffff") - bisect_left(chunk, prefix)
        else:
            number = (high - low) * len(self._owners) // len(self._chunks)
        return 1 + number * self.total // len(self._owners)

    def prefixed(self, prefix: str) -> Iterator[str]:
        """The values that start with `prefix`, in order; what is removed meanwhile may still come."""
        start, find = prefix, bisect_left
        while (i := find(self._maxima, start)) < len(self._chunks):
            chunk = self._chunks[i]
            for value in chunk[find(chunk, start) :]:
                if not value.startswith(prefix):
                    return
                yield value
                start = value
            find = bisect_right

    def check(self) -> None:
        """Assert that chunks, maxima and counts agree with the owners."""
        flat = [value for chunk in self._chunks for value in chunk]
        assert flat == sorted(self._owners), "the chunks hold each value once, in order"
        assert self._maxima == [chunk[-1] for chunk in self._chunks]
        assert all(len(chunk) <= CHUNK_MAX for chunk in self._chunks)
        total = 0
        for old in self._owners.values():
            if isinstance(old, Posting):
                assert len(old.owners) > 1, "a single owner is stored bare"
                assert old.count == sum(owner.weight for owner in old.owners)
                total += old.count
            else:
                total += old.weight
        assert total == self.total

    def _insert(self, value: str) -> None:
        if not self._chunks:
            self._chunks.append([value])
            self._maxima.append(value)
            return
        i = min(bisect_left(self._maxima, value), len(self._chunks) - 1)
        chunk = self._chunks[i]
        insort(chunk, value)
        if len(chunk) > CHUNK_MAX:
            half = len(chunk) // 2
            self._chunks.insert(i + 1, chunk[half:])
            self._maxima.insert(i + 1, chunk[-1])
            del chunk[half:]
        self._maxima[i] = chunk[-1]

    def _delete(self, value: str) -> None:
        i = bisect_left(self._maxima, value)
        chunk = self._chunks[i]
        del chunk[bisect_left(chunk, value)]
        if chunk:
            self._maxima[i] = chunk[-1]
        else:
            del self._chunks[i], self._maxima[i]
