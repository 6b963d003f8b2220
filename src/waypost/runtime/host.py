"""One engine on asyncio: its effects carried out in order, its one timer, its wall clock.

Drivers bring datagrams to receive(), programs bring questions to ask().  Effects are carried out
once for what a driver read in one wake-up, not once for each datagram: that keeps datagrams cheap.

An exception out of the engine is a bug of ours, and an error of the store means that promises cannot
be kept any more.  Either ends the host at once: it is logged, wait() raises it, and the engine is
not called again.

Source: design, Contracts, 1.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, TypeVarTuple, assert_never

from waypost.drip.parcel import Said
from waypost.engine import Answer, Apply, Ask, Commit, Effect, Engine, Path, Rows, Send
from waypost.errors import StateError
from waypost.rd.questions import Busy
from waypost.runtime.writer import Writer

CLOCK_CHECK: Final = 10.0  # seconds between two looks at the wall clock
CLOCK_TOLERANCE_MS: Final = 500  # a smaller step is not told: lifetimes count in seconds
BUSY_RETRY_S: Final = 2

log = logging.getLogger(__name__)

Sender = Callable[[Path, bytes], None]
Outside = Callable[[Ask], None]  # what is asked of the world: the network's transport
Arguments = TypeVarTuple("Arguments")


class AskableEngine(Engine, Protocol):
    """An engine that takes questions from outside, and messages of connections."""

    def closed(self, path: Path, now: float) -> None:
        """The connection is no more."""
        ...

    def hear(self, node: str, messages: Iterable[Said], now: float) -> None:
        """From a node of the network, whom the transport has identified."""
        ...

    def reached(self, node: str, is_reached: bool, now: float) -> None:
        """The transport could bring something to a node of the network, or could not."""
        ...

    def ask(self, question: object, now: float) -> int:
        """The effect Answer with the returned id follows, at once or after a commit."""
        ...


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class Host:
    """`overflowed` counts datagrams dropped because the disk was behind; `unsent` those for a closed link."""

    def __init__(self, engine: AskableEngine, writer: Writer, *, wall_ms: Callable[[], int] = wall_clock_ms) -> None:
        self._engine = engine
        self._writer = writer
        self._wall_ms = wall_ms
        self._loop = asyncio.get_running_loop()
        self.outside: Outside = _nobody  # set it before start()
        self._links: dict[int, Sender] = {}
        self._last_link = 0
        self._waiting: dict[int, asyncio.Future[object]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._clock_timer: asyncio.TimerHandle | None = None
        self._clock_offset_ms: int | None = None  # wall clock less loop time, as the engine was last told
        self._running = False
        self._failure: Exception | None = None
        self._ended = asyncio.Event()
        self.overflowed = 0
        self.unsent = 0

    async def start(self, rows: Rows) -> None:
        """Restore the engine from `rows`, tell it the time, carry out what it wants."""
        self._running = True
        self._writer.start(self._on_committed, self._fail)
        self._run(self._engine.restore, rows, self._loop.time())
        self._check_clock()

    async def stop(self) -> None:
        """Take nothing more, make durable and answer what was taken, then end.  Keep the links open until then."""
        self._running = False
        await self._writer.stop()
        self._end()

    async def wait(self) -> None:
        """Until the host has ended; raises what made it fail."""
        await self._ended.wait()
        if self._failure is not None:
            raise self._failure

    @property
    def running(self) -> bool:
        """Between start() and stop(), and not failed."""
        return self._running

    def link(self, send: Sender) -> int:
        """Add a way out; returns the number for Path.link."""
        self._last_link += 1
        self._links[self._last_link] = send
        return self._last_link

    def unlink(self, number: int) -> None:
        del self._links[number]

    def closed(self, path: Path) -> None:
        """The connection is no more, and its link neither."""
        self.unlink(path.link)
        if self._running:
            self._run(self._closed, path)

    def receive(self, datagrams: Sequence[tuple[bytes, Path]]) -> bool:
        """What a driver read in one wake-up; False if all of it is dropped."""
        if not self._running:
            return False
        if self._writer.full:
            # The engine refuses politely long before; this is the wall behind it.
            self.overflowed += len(datagrams)
            return False
        self._run(self._receive, datagrams)
        return True

    def hear(self, node: str, messages: Sequence[Said]) -> bool:
        """From a node of the network; False if it is dropped: the disk is behind, or the host is not running."""
        if not self._running or self._writer.full:
            return False
        self._run(self._hear, node, messages)
        return True

    def reached(self, node: str, is_reached: bool) -> None:
        """The transport could bring something to a node of the network, or could not."""
        if self._running:
            self._run(self._is_reached, node, is_reached)

    def answered(self, id: int, result: object) -> None:
        """What the world says to an Ask of that id."""
        if self._running:
            self._run(self._answered, id, result)

    async def ask(self, question: object) -> object:
        """The outcome of `question`.  Raises StateError if the host is not running, or ends before the answer."""
        if not self._running:
            raise StateError("the node is not running")
        if self._writer.full:
            return Busy(BUSY_RETRY_S, "the disk is behind")
        answer: asyncio.Future[object] = self._loop.create_future()
        self._run(self._ask, question, answer)
        if self._failure is not None:
            raise StateError("the node has failed") from self._failure
        return await answer

    def _run(self, call: Callable[[*Arguments], None], *arguments: *Arguments) -> None:
        """Call into the engine, carry out its effects, arm its timer."""
        if self._failure is not None:
            return
        try:
            call(*arguments)
            self._carry_out(self._engine.take_effects())
            self._arm()
        except Exception as error:  # whatever it is, going on would be guessing
            self._fail(error)

    def _receive(self, datagrams: Iterable[tuple[bytes, Path]]) -> None:
        receive, now = self._engine.receive_datagram, self._loop.time()
        for data, path in datagrams:
            receive(data, path, now)

    def _hear(self, node: str, messages: Sequence[Said]) -> None:
        self._engine.hear(node, messages, self._loop.time())

    def _is_reached(self, node: str, is_reached: bool) -> None:
        self._engine.reached(node, is_reached, self._loop.time())

    def _answered(self, id: int, result: object) -> None:
        self._engine.answered(id, result, self._loop.time())

    def _closed(self, path: Path) -> None:
        self._engine.closed(path, self._loop.time())

    def _ask(self, question: object, answer: "asyncio.Future[object]") -> None:
        self._waiting[self._engine.ask(question, self._loop.time())] = answer

    def _on_committed(self, batch: Sequence[Commit]) -> None:
        self._run(self._carry_out, [effect for commit in batch for effect in commit.then])

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    send = self._links.get(effect.path.link)
                    if send is None:
                        self.unsent += 1
                    else:
                        send(effect.path, effect.data)
                case Commit():
                    self._writer.submit(effect)
                case Apply():
                    self._engine.apply(effect.change, self._loop.time())
                    self._carry_out(self._engine.take_effects())
                case Answer():
                    answer = self._waiting.pop(effect.id)
                    if not answer.done():  # whoever asked may have left
                        answer.set_result(effect.result)
                case Ask():
                    self.outside(effect)
                case _:
                    assert_never(effect)

    def _arm(self) -> None:
        """An earlier deadline moves the timer; a later one is seen when the timer fires."""
        when = self._engine.next_timer()
        if when is None or not self._running:
            return
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        # A deadline that has passed already still waits for one round of input and output.
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._run(self._handle_timer)

    def _handle_timer(self) -> None:
        when, now = self._engine.next_timer(), self._loop.time()
        if when is not None and when <= max(self._timer_at, now):
            # The loop may call a hair early: never hand the engine a time before its deadline.
            self._engine.handle_timer(max(when, now))

    def _check_clock(self) -> None:
        now, wall_ms = self._loop.time(), self._wall_ms()
        offset_ms = wall_ms - int(now * 1000)
        if self._clock_offset_ms is None or abs(offset_ms - self._clock_offset_ms) > CLOCK_TOLERANCE_MS:
            self._clock_offset_ms = offset_ms
            self._run(self._engine.handle_clock, now, wall_ms)
        if self._running:
            self._clock_timer = self._loop.call_later(CLOCK_CHECK, self._check_clock)

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
            log.critical("the node stops: %s", error, exc_info=error)
            self._running = False
            self._end()

    def _end(self) -> None:
        for timer in (self._timer, self._clock_timer):
            if timer is not None:
                timer.cancel()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(StateError("the node has stopped"))
        self._waiting.clear()
        self._ended.set()


def _nobody(ask: Ask) -> None:
    raise AssertionError(f"nobody in this node answers {ask.body!r}")
