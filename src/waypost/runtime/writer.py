"""One thread that makes commits durable, many with one fsync.

The thread takes everything that waits, up to BATCH_MAX, as one batch: while the disk works on one
batch the next one gathers, so a slow disk means larger batches.  A commit that comes alone waits for
a single fsync; those that come one after the other share one each GATHER_S.  They gather longer where
many come, and where more are to be expected while the loop is late: what would be durable sooner would
only wait for its turn there, and each transaction takes of the processor that the loop has too little
of.  Batches come back to the event loop in the order they were submitted, a slice at a time.

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
GATHER_MANY_S: Final = 0.01  # seconds at most for their number
GATHER_LATE: Final = 2.0  # times as long as the loop is late, if that is more
GATHER_LATE_S: Final = 0.02  # seconds at most for that
GAP_MAX_S: Final = 0.05  # seconds: commits that come at longer intervals count as if at these
LATELY: Final = 0.125  # share of the last batch in how late the loop is, and in how often commits come
SLICE: Final = 8  # commits whose effects the loop carries out in one go: under 2 ms

SIZES: Final = (1, 2, 4, 8, 16, 32, 64, BATCH_MAX)  # commits
SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Store(Protocol):
    def commit(self, batch: Sequence[Commit]) -> None:
        """Make the batch durable as one transaction.  Raises StoreError."""
        ...


class Writer:
    """`sizes` of the durable batches in commits, and `seconds` that each took.

    `late_s` is how long durable batches waited for the loop, lately.  Both threads read `clock`.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._queue: SimpleQueue[list[Commit] | None] = SimpleQueue()
        self._gathered: list[Commit] = []
        self._durable: deque[Commit] = deque()  # and not handed back yet
        self._pending = 0
        self.late_s = 0.0
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

    def _hand_back(self, batch: Sequence[Commit], start: float, end: float) -> None:
        self.late_s += LATELY * (self._clock() - end - self.late_s)
        self.sizes.add(len(batch))
        self.seconds.add(end - start)
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
        start, size, every_s = 0.0, 0, GAP_MAX_S
        while (batch := self._take(start, size, every_s)) is not None:
            before, start, size = start, self._clock(), len(batch)
            every_s += LATELY * (min(start - before, GAP_MAX_S) / size - every_s)
            try:
                self._store.commit(batch)
            except Exception as error:  # a StoreError, or a bug of the store: either way nothing more is promised
                loop.call_soon_threadsafe(self._give_up, error)
                return
            loop.call_soon_threadsafe(self._hand_back, batch, start, self._clock())

    def _take(self, start: float, size: int, every_s: float) -> list[Commit] | None:
        """Wait for commits, and for what gathers since a transaction of `size` commits began; None once stopped."""
        first = self._queue.get()
        if first is None:
            return None
        batch = first
        wait = start + gather_s(size, self.late_s, every_s) - self._clock()
        if wait > 0:
            self._sleep(wait)
        try:
            while len(batch) < BATCH_MAX and (more := self._queue.get_nowait()) is not None:
                batch += more
        except Empty:
            pass
        return batch


def gather_s(size: int, late_s: float, every_s: float) -> float:
    """Seconds from the beginning of a transaction of `size` commits to that of the next.

    `every_s` is how far commits are from one another lately: where none is to be expected, none is waited for.
    """
    many_s = min(size * GATHER_EACH_S, GATHER_MANY_S)
    wait_s = min(late_s * GATHER_LATE, GATHER_LATE_S)
    return max(GATHER_S, many_s, wait_s if wait_s > every_s else 0.0)
