"""The host, with an engine that does as the test says and a loop whose time jumps from timer to timer."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest

from waypost.drip.parcel import Said
from waypost.engine import Answer, Apply, Ask, Commit, Effect, Endpoint, Path, Put, Rows, Send
from waypost.errors import StateError, StoreError
from waypost.identity import ANONYMOUS
from waypost.rd.questions import Busy
from waypost.record import Change
from waypost.record.change import Kind
from waypost.runtime.host import CLOCK_CHECK, CLOCK_TOLERANCE_MS, Host
from waypost.runtime.writer import PENDING_MAX, Writer

NOWHERE = Endpoint("192.0.2.1", 5683)
CHANGE = Change(1, Kind.PUT, "rd", b"key", 1, b"value", 0, b"")


class JumpingSelector(selectors.SelectSelector):
    """Does not wait for a timer, but says that its time has come; waits for threads."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0:
            self.now += timeout
            timeout = 0
        return super().select(timeout)


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.selector = JumpingSelector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(story())


class Script:
    """An engine: notes each call, and answers a datagram or a question with the effects that the test gave."""

    def __init__(self, *effects: Effect) -> None:
        self.script = list(effects)
        self.calls: list[tuple[object, ...]] = []
        self.deadlines: list[float] = []
        self.on_apply: list[Effect] = []
        self._effects: list[Effect] = []

    def restore(self, rows: Rows, now: float) -> None:
        self.calls.append(("restore", now))

    def receive_datagram(self, data: bytes, path: Path, now: float) -> None:
        self.calls.append(("receive", data, now))
        self._effects += self.script

    def closed(self, path: Path, now: float) -> None:
        self.calls.append(("closed", path.link))

    def hear(self, node: str, messages: Iterable[Said], now: float) -> None:
        self.calls.append(("hear", node))
        self._effects += self.script

    def reached(self, node: str, is_reached: bool, now: float) -> None:
        self.calls.append(("reached", node, is_reached))
        self._effects += self.script

    def ask(self, question: object, now: float) -> int:
        self.calls.append(("ask", question))
        self._effects += self.script
        return 1

    def answered(self, id: int, result: object, now: float) -> None:
        self.calls.append(("answered", id, result))

    def apply(self, change: Change, now: float) -> None:
        self.calls.append(("apply", change))
        self._effects += self.on_apply

    def handle_timer(self, now: float) -> None:
        assert self.deadlines[0] <= now
        self.calls.append(("timer", self.deadlines.pop(0)))

    def handle_clock(self, now: float, wall_ms: int) -> None:
        self.calls.append(("clock", now, wall_ms))

    def next_timer(self) -> float | None:
        return self.deadlines[0] if self.deadlines else None

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def check(self) -> None:
        pass


class Disk:
    """Rows and Store in one; fails when told."""

    def __init__(self) -> None:
        self.puts: list[Put] = []
        self.broken = False

    def get(self, table: str, key: bytes) -> bytes | None:
        return None

    def scan(self, table: str, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return iter(())

    def commit(self, batch: Sequence[Commit]) -> None:
        if self.broken:
            raise StoreError("the disk is full")
        self.puts += [put for commit in batch for put in commit.puts]


class World:
    """A started host on a script, with one link that keeps what is sent."""

    def __init__(self, *effects: Effect) -> None:
        self.engine = Script(*effects)
        self.disk = Disk()
        self.writer = Writer(self.disk)
        self.wall_ms = 1_700_000_000_000
        self.loop = asyncio.get_running_loop()
        self.host = Host(self.engine, self.writer, wall_ms=lambda: self.wall_ms + int(self.loop.time() * 1000))
        self.sent: list[bytes] = []
        self.link = self.host.link(lambda _path, data: self.sent.append(data))

    async def __aenter__(self) -> "World":
        await self.host.start(self.disk)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.host.stop()

    def path(self) -> Path:
        return Path("udp", NOWHERE, NOWHERE, self.link, ANONYMOUS, validated=False)

    def send(self, data: bytes) -> Send:
        return Send(self.path(), data)

    def receive(self, *datagrams: bytes) -> None:
        self.host.receive([(data, self.path()) for data in datagrams])


def test_what_the_engine_sends_leaves_in_order() -> None:
    async def story() -> None:
        async with World() as world:
            world.engine.script = [world.send(b"first"), world.send(b"second")]
            world.receive(b"a", b"b")
            assert world.sent == [b"first", b"second", b"first", b"second"]

    run(story)


def test_what_follows_a_commit_waits_for_the_disk() -> None:
    async def story() -> None:
        async with World() as world:
            put = Put("feed", b"1", b"value")
            world.engine.script = [Commit(puts=(put,), then=(world.send(b"stored"),)), world.send(b"at once")]
            world.receive(b"a")
            assert world.sent == [b"at once"]
            await world.host.stop()
            assert world.disk.puts == [put]
            assert world.sent == [b"at once", b"stored"]

    run(story)


def test_what_a_change_brings_about_comes_before_the_next_effect() -> None:
    async def story() -> None:
        async with World() as world:
            world.engine.script = [Commit(then=(Apply(CHANGE), world.send(b"answer")))]
            world.engine.on_apply = [world.send(b"notification")]
            world.receive(b"a")
            await world.host.stop()
            assert world.engine.calls[-1] == ("apply", CHANGE)
            assert world.sent == [b"notification", b"answer"]

    run(story)


def test_a_message_for_a_closed_link_is_counted() -> None:
    async def story() -> None:
        async with World() as world:
            world.engine.script = [world.send(b"lost")]
            world.host.unlink(world.link)
            world.receive(b"a")
            assert world.host.unsent == 1

    run(story)


@pytest.mark.parametrize("effect", [Answer(1, "fine"), Commit(then=(Answer(1, "fine"),))])
def test_a_question_gets_its_answer_at_once_or_after_a_commit(effect: Effect) -> None:
    async def story() -> None:
        async with World(effect) as world:
            assert await world.host.ask("how are you?") == "fine"
            assert world.engine.calls[-1] == ("ask", "how are you?")

    run(story)


def test_an_answer_that_nobody_waits_for_any_more_is_dropped() -> None:
    async def story() -> None:
        async with World() as world:
            asker = asyncio.create_task(world.host.ask("how are you?"))
            await asyncio.sleep(0)
            asker.cancel()
            world.engine.script = [Answer(1, "fine"), world.send(b"next")]
            world.receive(b"a")
            assert world.sent == [b"next"]

    run(story)


def test_questions_open_at_the_end_fail() -> None:
    async def story() -> None:
        async with World() as world:
            asker = asyncio.create_task(world.host.ask("how are you?"))
            await asyncio.sleep(0)
            await world.host.stop()
            with pytest.raises(StateError):
                await asker
            with pytest.raises(StateError):
                await world.host.ask("and now?")
            await world.host.wait()

    run(story)


def test_new_work_is_refused_while_the_disk_is_behind() -> None:
    async def story() -> None:
        async with World() as world:
            world.engine.script = [Commit()] * PENDING_MAX
            world.receive(b"a")
            world.receive(b"b", b"c")
            assert world.host.overflowed == 2
            assert isinstance(await world.host.ask("how are you?"), Busy)

    run(story)


def test_the_timer_fires_at_its_deadline() -> None:
    async def story() -> None:
        async with World() as world:
            world.engine.deadlines = [105.0]
            world.receive(b"arm")
            world.engine.deadlines = [101.0, 102.5, 105.0]  # an earlier one moves the timer
            world.receive(b"arm")
            await asyncio.sleep(6)
            assert [call for call in world.engine.calls if call[0] == "timer"] == [
                ("timer", 101.0),
                ("timer", 102.5),
                ("timer", 105.0),
            ]

    run(story)


def test_a_deadline_that_moved_later_is_not_early() -> None:
    async def story() -> None:
        async with World() as world:
            world.engine.deadlines = [101.0]
            world.receive(b"arm")
            world.engine.deadlines = [103.0]
            await asyncio.sleep(2)
            assert world.engine.deadlines == [103.0]
            await asyncio.sleep(2)
            assert world.engine.deadlines == []

    run(story)


def test_overdue_timers_take_turns_with_everything_else() -> None:
    async def story() -> None:
        async with World() as world:
            world.engine.deadlines = [100.0] * 10
            world.receive(b"arm")
            rounds = [len(world.engine.deadlines)]
            while world.engine.deadlines:
                await asyncio.sleep(0)
                rounds.append(len(world.engine.deadlines))
            assert max(before - after for before, after in pairwise(rounds)) == 1

    run(story)


def test_the_engine_is_told_the_time_at_start_and_when_the_clock_steps() -> None:
    async def story() -> None:
        async with World() as world:
            assert world.engine.calls == [("restore", 100.0), ("clock", 100.0, 1_700_000_100_000)]
            world.wall_ms += CLOCK_TOLERANCE_MS
            await asyncio.sleep(2 * CLOCK_CHECK)
            assert len(world.engine.calls) == 2
            world.wall_ms += 1
            await asyncio.sleep(CLOCK_CHECK)
            assert [call[0] for call in world.engine.calls] == ["restore", "clock", "clock"]

    run(story)


def test_an_exception_of_the_engine_ends_the_host(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with World(Ask(1, "nobody answers this")) as world:
            world.receive(b"a")
            with pytest.raises(AssertionError):
                await world.host.wait()
            world.receive(b"b")
            assert ("receive", b"b", 100.0) not in world.engine.calls
            with pytest.raises(StateError):
                await world.host.ask("how are you?")

    run(story)
    assert "the node stops" in caplog.text


def test_an_asker_whose_question_breaks_the_engine_is_told() -> None:
    async def story() -> None:
        async with World(Ask(1, "nobody answers this")) as world:
            with pytest.raises(StateError):
                await world.host.ask("how are you?")

    run(story)


def test_a_failing_disk_ends_the_host_and_nothing_is_promised() -> None:
    async def story() -> None:
        async with World() as world:
            world.disk.broken = True
            world.engine.script = [Commit(then=(world.send(b"stored"),))]
            world.receive(b"a")
            with pytest.raises(StoreError):
                await world.host.wait()
            assert world.sent == []

    run(story)


def test_what_is_asked_of_the_world_goes_outside_and_what_nodes_say_comes_in() -> None:
    async def story() -> None:
        asked: list[object] = []
        async with World(Ask(1, "tell anna")) as world:
            world.host.outside = asked.append
            assert world.host.hear("anna", ())
            assert ("hear", "anna") in world.engine.calls
            assert asked == [Ask(1, "tell anna")]
            world.host.answered(1, "she knows")
            assert world.engine.calls[-1] == ("answered", 1, "she knows")
        world.host.answered(1, "too late")
        assert world.engine.calls[-1] == ("answered", 1, "she knows")

    run(story)
