"""One thread that makes commits durable, many with one fsync.

The thread takes everything that waits, up to BATCH_MAX, as one batch: while the disk works on one
batch the next one gathers, so a slow disk means larger batches.  A commit that comes alone waits for
a single fsync; those that come one after the other share one each GATHER_S, or a little later when many
come.  Batches come back to the event loop in the order they were submitted, a slice at a time.

All methods belong to the event loop's thread.  A store that raises ends the writer: nothing is
committed after a failure, because commits are first in, first out.

Source: design, Contracts, 1.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from waypost.engine import Commit
from waypost.runtime.figures import Distribution

PENDING_MAX: Final = 4096  # commits submitted and not yet durable; past it `full` says so
BATCH_MAX: Final = 128  # commits of a transaction, past which no more join it; those of one turn of the loop do
GATHER_S: Final = 0.002  # seconds at least between the beginnings of two transactions: under load they gather commits
GATHER_EACH_S: Final = 0.00025  # seconds for each commit of the first, if that is more: from 4,000 a second on
GATHER_MAX_S: Final = 0.01  # seconds at most
SLICE: Final = 8  # commits whose effects the loop carries out in one go: under 2 ms

SIZES: Final = (1, 2, 4, 8, 16, 32, 64, BATCH_MAX)  # commits
SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Store(Protocol):
    def commit(self, batch: Sequence[Commit]) -> None:
        """Make the batch durable as one transaction.  Raises StoreError."""
        ...


class Writer:
    """`sizes` of the durable batches in commits, and `seconds` that each took."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue: SimpleQueue[list[Commit] | None] = SimpleQueue()
        self._gathered: list[Commit] = []
        self._durable: deque[Commit] = deque()  # and not handed back yet
        self._pending = 0
        self.sizes = Distribution(SIZES)
        self.seconds = Distribution(SECONDS)
        self._idle = asyncio.Event()
        self._thread: threading.Thread | None = None

    def start(self, committed: Callable[[Sequence[Commit]], None], failed: Callable[[Exception], None]) -> None:
        """Begin.  `committed` gets each durable batch; `failed` gets the one error, and then comes nothing more."""
        self._loop = asyncio.get_running_loop()
        self._committed = committed
        self._failed = failed
        # A daemon: what it has not written by the end of the process was never acknowledged.
        self._thread = threading.Thread(target=self._write, args=(self._loop,), name="waypost-writer", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Commits submitted and not yet durable."""
        return self._pending

    @property
    def full(self) -> bool:
        """The disk is behind: take no new work that ends in a commit."""
        return self._pending >= PENDING_MAX

    def submit(self, commit: Commit) -> None:
        """Each wakes the thread, so those of one turn of the loop go there together."""
        self._pending += 1
        if not self._gathered:
            self._loop.call_soon(self._put)
        self._gathered.append(commit)

    def _put(self) -> None:
        self._queue.put(self._gathered)
        self._gathered = []

    async def stop(self) -> None:
        """End the thread, after everything submitted is durable and handed back, or has failed."""
        if self._thread is None:
            return
        while self._pending:
            self._idle.clear()
            await self._idle.wait()
        self._queue.put(None)
        self._thread.join()
        self._thread = None

    def _hand_back(self, batch: Sequence[Commit], seconds: float) -> None:
        self.sizes.add(len(batch))
        self.seconds.add(seconds)
        idle = not self._durable
        self._durable += batch
        if idle:
            self._hand_back_slice()

    def _hand_back_slice(self) -> None:
        """In its own turn of the loop: lookups are answered between two slices."""
        durable = self._durable
        batch = [durable.popleft() for _ in range(min(len(durable), SLICE))]
        self._pending -= len(batch)
        self._committed(batch)  # may submit more
        if durable:
            self._loop.call_soon(self._hand_back_slice)
        elif not self._pending:
            self._idle.set()

    def _give_up(self, error: Exception) -> None:
        self._pending = 0
        self._durable.clear()  # the host carries out nothing more
        self._idle.set()
        self._failed(error)

    def _write(self, loop: asyncio.AbstractEventLoop) -> None:
        """The thread."""
        start, size = 0.0, 0
        while (batch := self._take(start + gather_s(size))) is not None:
            start, size = time.perf_counter(), len(batch)
            try:
                self._store.commit(batch)
            except Exception as error:  # a StoreError, or a bug of the store: either way nothing more is promised
                loop.call_soon_threadsafe(self._give_up, error)
                return
            loop.call_soon_threadsafe(self._hand_back, batch, time.perf_counter() - start)

    def _take(self, earliest: float) -> list[Commit] | None:
        """Wait for commits and until `earliest`, then add what else is there; None once stopped."""
        first = self._queue.get()
        if first is None:
            return None
        batch = first
        wait = earliest - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        try:
            while len(batch) < BATCH_MAX and (more := self._queue.get_nowait()) is not None:
                batch += more
        except Empty:
            pass
        return batch


def gather_s(size: int) -> float:
    """Seconds from the beginning of a transaction of `size` commits to that of the next."""
    return min(max(GATHER_S, size * GATHER_EACH_S), GATHER_MAX_S)
