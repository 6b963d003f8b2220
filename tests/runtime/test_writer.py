"""The writer thread, over a store that the test holds up and breaks."""

import asyncio
import threading
from collections.abc import Sequence
from itertools import pairwise

import pytest

from waypost.engine import Answer, Commit
from waypost.errors import StoreError
from waypost.runtime.writer import (
    BATCH_MAX,
    GATHER_LATE_S,
    GATHER_MANY_S,
    GATHER_S,
    PENDING_MAX,
    SLICE,
    Writer,
    gather_s,
)


class SlowStore:
    """Each commit waits for the gate; batch number `breaks_at`, counted from 0, fails."""

    def __init__(self, breaks_at: int | None = None) -> None:
        self.gate = threading.Event()
        self.batches: list[Sequence[Commit]] = []
        self._breaks_at = breaks_at

    def commit(self, batch: Sequence[Commit]) -> None:
        assert self.gate.wait(5)
        if len(self.batches) == self._breaks_at:
            raise StoreError("the disk is full")
        self.batches.append(batch)


class Owner:
    """Keeps what the writer hands back."""

    def __init__(self) -> None:
        self.committed: list[Commit] = []
        self.calls = 0
        self.error: Exception | None = None

    def on_committed(self, batch: Sequence[Commit]) -> None:
        self.calls += 1
        self.committed += batch

    def on_failed(self, error: Exception) -> None:
        assert self.error is None
        self.error = error


def commit(number: int) -> Commit:
    return Commit(then=(Answer(number, None),))


def test_what_gathers_while_the_disk_works_is_one_transaction() -> None:
    async def story() -> None:
        store, owner = SlowStore(), Owner()
        writer = Writer(store)
        writer.start(owner.on_committed, owner.on_failed)
        commits = [commit(number) for number in range(BATCH_MAX + 10)]
        for item in commits:
            writer.submit(item)
        store.gate.set()
        await writer.stop()
        assert owner.committed == commits
        assert [item for batch in store.batches for item in batch] == commits
        assert len(store.batches) <= 2

    asyncio.run(story())


def test_many_commits_are_gathered_longer_than_few_and_never_long() -> None:
    times = [gather_s(size, 0.0, 0.001) for size in range(BATCH_MAX + 1)]
    assert times == sorted(times)
    assert times[0] == times[4] == GATHER_S
    assert gather_s(20, 0.0, 0.001) == 0.005
    assert times[-1] == GATHER_MANY_S


def test_commits_are_gathered_longer_where_the_loop_is_late_and_never_long() -> None:
    assert gather_s(1, 0.0005, 0.001) == GATHER_S, "they come back sooner than that"
    assert gather_s(1, 0.004, 0.0079) == 0.008
    assert gather_s(36, 0.004, 0.001) == pytest.approx(0.009), "as long as their number says, if that is longer"
    assert gather_s(1, 0.01, 0.001) == gather_s(BATCH_MAX, 1.0, 0.001) == GATHER_LATE_S


def test_a_late_loop_is_no_reason_to_wait_where_no_other_commit_is_to_be_expected() -> None:
    assert gather_s(1, 0.004, 0.0081) == GATHER_S
    assert gather_s(1, 1.0, 0.021) == GATHER_S


def test_the_thread_waits_since_the_last_transaction_as_the_loop_is_late_lately() -> None:
    """The thread reads a clock that goes on by 0.5 ms each time, and in the loop's it is always 24 ms later."""
    now = 100.0

    def clock() -> float:
        nonlocal now
        if threading.current_thread() is threading.main_thread():
            return now + 0.024
        now += 0.0005
        return now

    async def story() -> tuple[list[float], list[float]]:
        store, owner, late, slept = SlowStore(), Owner(), list[float](), list[float]()
        writer = Writer(store, clock=clock, sleep=slept.append)
        writer.start(owner.on_committed, owner.on_failed)
        store.gate.set()
        for number in range(1, 13):
            writer.submit(commit(2 * number))
            writer.submit(commit(2 * number + 1))
            while len(owner.committed) < 2 * number:
                await asyncio.sleep(0)
            late.append(writer.late_s)
        await writer.stop()
        assert writer.seconds.total == pytest.approx(0.006)
        return late, slept

    late, slept = asyncio.run(story())
    assert late[:4] == pytest.approx([0.003, 0.005625, 0.007921875, 0.009931640625])
    # 1 ms has passed since it began.  Who came first, alone, did not wait; and it takes some until more are expected.
    assert slept == pytest.approx([GATHER_S - 0.001] * 7 + [GATHER_LATE_S - 0.001] * 4)


def test_the_loop_has_its_turn_between_two_slices_of_a_batch() -> None:
    async def story() -> None:
        store, owner, turns = SlowStore(), Owner(), []
        writer = Writer(store)
        writer.start(owner.on_committed, owner.on_failed)
        store.gate.set()
        for number in range(BATCH_MAX):
            writer.submit(commit(number))
        while len(owner.committed) < BATCH_MAX:
            turns.append(len(owner.committed))
            await asyncio.sleep(0)
        assert max(after - before for before, after in pairwise(turns)) <= SLICE
        await writer.stop()

    asyncio.run(story())


def test_stop_waits_for_commits_that_follow_from_commits() -> None:
    async def story() -> None:
        store, owner = SlowStore(), Owner()
        writer = Writer(store)

        def on_committed(batch: Sequence[Commit]) -> None:
            owner.on_committed(batch)
            if len(owner.committed) < 3:
                writer.submit(commit(len(owner.committed)))

        writer.start(on_committed, owner.on_failed)
        writer.submit(commit(0))
        store.gate.set()
        await writer.stop()
        assert owner.committed == [commit(0), commit(1), commit(2)]

    asyncio.run(story())


def test_after_a_failure_nothing_more_is_committed() -> None:
    async def story() -> None:
        store, owner = SlowStore(breaks_at=0), Owner()
        writer = Writer(store)
        writer.start(owner.on_committed, owner.on_failed)
        store.gate.set()
        writer.submit(commit(0))
        writer.submit(commit(1))
        await writer.stop()
        assert isinstance(owner.error, StoreError)
        assert (owner.committed, store.batches) == ([], [])

    asyncio.run(story())


def test_the_writer_says_when_it_is_full() -> None:
    async def story() -> None:
        store, owner = SlowStore(), Owner()
        writer = Writer(store)
        writer.start(owner.on_committed, owner.on_failed)
        for number in range(PENDING_MAX - 1):
            writer.submit(commit(number))
        assert not writer.full
        writer.submit(commit(PENDING_MAX))
        assert writer.full
        store.gate.set()
        await writer.stop()
        assert not writer.full

    asyncio.run(story())


@pytest.mark.parametrize("started", [False, True])
def test_an_idle_writer_stops_at_once(started: bool) -> None:
    async def story() -> None:
        writer, owner = Writer(SlowStore()), Owner()
        if started:
            writer.start(owner.on_committed, owner.on_failed)
        await writer.stop()
        assert owner.calls == 0

    asyncio.run(story())
