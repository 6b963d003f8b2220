"""One simulated machine: an engine, its disk, its two clocks, and what befalls them.

Effects are carried out as `runtime` does it: in order, commits first in, first out and gathered into
batches, `then` only once the batch is durable.  A crash drops the engine and whatever it had under
way; start() makes a new one with a random stream of its own.
"""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final, Generic, TypeVar, assert_never

from waypost.engine import Answer, Apply, Ask, Commit, Effect, Endpoint, Engine, Path, Send
from waypost.errors import StoreError
from waypost.identity import ANONYMOUS
from waypost.sim.disk import Disk

if TYPE_CHECKING:
    from waypost.sim.world import World

E = TypeVar("E", bound=Engine)
R = TypeVar("R")

BATCH_MAX: Final = 128  # commits in one transaction, as in runtime's writer
SPIN_MAX: Final = 10_000  # timers at one instant before we say that the engine is stuck
BOOT_MAX: Final = 1000.0  # seconds the monotonic clock has counted, at most, when the node starts


class Node(Generic[E]):
    """Made by World.node().  `engine` is None while the node is down.

    Its monotonic clock starts anew whenever the power was cut, so no time of an earlier life is good.
    """

    def __init__(
        self,
        world: "World",
        name: str,
        factory: Callable[[Random], E],
        endpoints: tuple[Endpoint, ...],
        disk: Disk,
        clock_offset_ms: int,
    ) -> None:
        self.name = name
        self.endpoints = endpoints
        self.disk = disk
        self.clock_offset_ms = clock_offset_ms  # the wall clock less the world's
        self.engine: E | None = None
        self.incarnation = 0
        self.stops = 0  # the disk failed a batch
        self.unheard = 0  # datagrams that came while the node was down
        self._world = world
        self._factory = factory
        self._rng = Random(f"{world.seed}/{name}/0")
        self._clock_base: float | None = None  # the monotonic clock less the world's; None: power was cut
        self._clock_last = 0.0  # it never runs backwards, not even by a rounding
        self._paused_until = 0.0
        self._fuse: int | None = None
        self._armed: float | None = None  # world time of the earliest timer event on its way
        self._spins = 0
        self._steps = 0
        self._queue: deque[Commit] = deque()
        self._writing: tuple[Commit, ...] = ()
        self._waiting: dict[int, Callable[[object], None]] = {}
        self._paths: dict[tuple[int, Endpoint], Path] = {}
        self.receivers = [(local, partial(self._receive, link)) for link, local in enumerate(endpoints, 1)]

    # What befalls it

    def start(self) -> None:
        """A new engine: restored from the disk, told the time."""
        assert self.engine is None, f"{self.name} is up already"
        self.incarnation += 1
        self._rng = Random(f"{self._world.seed}/{self.name}/{self.incarnation}")
        if self._clock_base is None:
            self._clock_base = int(self._rng.random() * BOOT_MAX) - self._world.now
            self._clock_last = 0.0
        self._note("starts")
        self.disk.recover()
        engine = self._factory(self._rng)
        self.engine = engine
        engine.restore(self.disk, self._now())
        engine.handle_clock(self._now(), self.wall_ms())
        self._settle()

    def crash(self, *, power_cut: bool = True) -> None:
        """Gone between two effects.  Without `power_cut` only the process dies: what it wrote is kept."""
        assert self.engine is not None, f"{self.name} is down already"
        self._note("loses power" if power_cut else "dies")
        if power_cut:
            self.disk.cut_power()
            self._clock_base = None
        else:
            self.disk.kill()
        self.engine = None
        self._fuse = self._armed = None
        self._paused_until = 0.0
        self._queue.clear()
        self._writing = ()
        self._waiting.clear()

    def crash_after(self, effects: int | None) -> None:
        """Lose power between two effects: when so many more are carried out; None: not at all."""
        self._fuse = effects

    def pause(self, seconds: float) -> None:
        """The process is not run: datagrams, timers and finished writes wait.  What a test calls does not."""
        self._note(f"pauses for {seconds:.3f}")
        self._paused_until = self._world.now + seconds

    def step_clock(self, ms: int) -> None:
        """The wall clock jumps by `ms`; it stays so over restarts."""
        self.clock_offset_ms += ms
        self._note(f"steps its clock by {ms}")
        if self.engine is not None:
            self.engine.handle_clock(self._now(), self.wall_ms())
            self._settle()

    # What a test asks of it

    def call(self, command: Callable[[E, float], R]) -> R:
        """command(engine, now), then carry out the effects."""
        assert self.engine is not None, f"{self.name} is down"
        result = command(self.engine, self._now())
        self._settle()
        return result

    def ask(self, question: Callable[[E, float], int], on_answer: Callable[[object], None]) -> None:
        """question(engine, now) returns the id that its Answer will have.  A crash forgets the question."""
        assert self.engine is not None, f"{self.name} is down"
        id = question(self.engine, self._now())
        self._waiting[id] = on_answer
        self._settle()

    def answer(self, id: int, result: object, after: float = 0.0) -> None:
        """The world's answer to an Ask of this incarnation, in `after` seconds."""
        self._world.at(self._world.now + after, self._answered, (self.incarnation, id, result))

    def wall_ms(self) -> int:
        return self._world.wall_ms() + self.clock_offset_ms

    def unseed(self) -> int:
        return self._rng.getrandbits(64)

    # Events

    def _receive(self, link: int, data: bytes, peer: Endpoint) -> None:
        world = self._world
        engine = self.engine
        if engine is None:
            self.unheard += 1
            return
        if world.now < self._paused_until:
            world.at(self._paused_until, self._receive_late, (link, data, peer))
            return
        path = self._paths.get((link, peer))
        if path is None:
            path = Path("udp", peer, self.endpoints[link - 1], link, ANONYMOUS, validated=False)
            self._paths[link, peer] = path
        engine.receive_datagram(data, path, self._now())
        self._settle()

    def _receive_late(self, datagram: tuple[int, bytes, Endpoint]) -> None:
        self._receive(*datagram)

    def _on_timer(self, event: tuple[int, float]) -> None:
        incarnation, when = event
        world = self._world
        engine = self.engine
        if incarnation != self.incarnation or self._armed != when or engine is None:
            return
        if world.now < self._paused_until:
            self._armed = self._paused_until
            world.at(self._armed, self._on_timer, (incarnation, self._armed))
            return
        self._armed = None
        last = self._clock_last
        due, now = engine.next_timer(), self._now()
        assert self._clock_base is not None
        if due is not None and due - self._clock_base <= world.now:
            self._spins = self._spins + 1 if now == last else 0
            assert self._spins < SPIN_MAX, f"{self.name} handles its timer at {now} again and again"
            # The same arithmetic can come out a hair early: never a time before the deadline.
            self._clock_last = max(due, now)
            engine.handle_timer(self._clock_last)
        self._settle()

    def _on_written(self, incarnation: int) -> None:
        world = self._world
        if incarnation != self.incarnation or self.engine is None:
            return
        if world.now < self._paused_until:
            world.at(self._paused_until, self._on_written, incarnation)
            return
        batch, self._writing = self._writing, ()
        try:
            self.disk.finish()
        except StoreError as error:  # the node stops (design, Contracts, 1)
            self.stops += 1
            self._note(f"stops: {error}")
            self.crash(power_cut=False)
            return
        self._note("has written", len(batch))
        self._carry_out(effect for commit in batch for effect in commit.then)
        self._settle()

    def _answered(self, answer: tuple[int, int, object]) -> None:
        incarnation, id, result = answer
        if incarnation != self.incarnation or self.engine is None:
            return
        if self._world.now < self._paused_until:
            self._world.at(self._paused_until, self._answered, answer)
            return
        self.engine.answered(id, result, self._now())
        self._settle()

    # Effects

    def _settle(self) -> None:
        """After each call: carry out the effects, give the disk its work, arm the timer, check."""
        engine = self.engine
        if engine is None:
            return
        self._carry_out(engine.take_effects())
        if self.engine is None:  # the power was cut between two effects
            return
        if self._queue and not self._writing:
            self._writing = tuple(self._queue.popleft() for _ in range(min(BATCH_MAX, len(self._queue))))
            seconds = self.disk.begin(self._writing)
            self._world.at(self._world.now + seconds, self._on_written, self.incarnation)
        when = engine.next_timer()
        if when is not None:
            assert self._clock_base is not None
            when = max(when - self._clock_base, self._world.now)
            if self._armed is None or when < self._armed:
                self._armed = when
                self._world.at(when, self._on_timer, (self.incarnation, when))
        self._steps += 1
        if self._world.check_each and self._steps % self._world.check_each == 0:
            engine.check()

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if self._fuse is not None:
                self._fuse -= 1
                if self._fuse < 0:
                    self.crash()
            engine = self.engine
            if engine is None:
                return
            match effect:
                case Send():
                    self._world.post(self.endpoints[effect.path.link - 1], effect.path.peer, effect.data)
                case Commit():
                    self._queue.append(effect)
                case Apply():
                    engine.apply(effect.change, self._now())
                    self._carry_out(engine.take_effects())
                case Answer():
                    # An event of its own: the test may call the engine, and effects come in between no calls.
                    self._world.at(self._world.now, self._waiting.pop(effect.id), effect.result)
                case Ask():
                    on_ask = self._world.on_ask
                    assert on_ask is not None, f"nobody in this world answers {effect.body!r}"
                    on_ask(self, effect)
                case _:
                    assert_never(effect)

    def _now(self) -> float:
        assert self._clock_base is not None
        now = self._world.now + self._clock_base
        if now > self._clock_last:
            self._clock_last = now
        return self._clock_last

    def _note(self, text: str, number: int | None = None) -> None:
        trace = self._world.trace
        if trace is not None:
            trace.add(self._world.now, f"{self.name} {text}" if number is None else f"{self.name} {text} {number}")
