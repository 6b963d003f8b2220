"""The simulated world around a toy: how effects are carried out, and what a crash takes with it."""

from collections.abc import Callable
from random import Random

import pytest

from waypost.engine import Answer, Apply, Ask, Commit, Effect, Endpoint, Path, Put, Rows, Send
from waypost.record import Change, Kind
from waypost.sim import Node, Trace, World

HOST = "2001:db8::a"
BERT = "2001:db8::b"
SERVER = Endpoint(HOST, 5683)


class Keeper:
    """Keeps each word it is sent and acknowledges it once it is on disk; greets every ten seconds after.

    A word that begins with ? is asked of the world, whose answer goes back.
    """

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.words: dict[bytes, int] = {}
        self.wall_ms = 0
        self.calls: list[str] = []
        self.last: Path | None = None
        self._greet_at: float | None = None
        self._asked: dict[int, Path] = {}
        self._effects: list[Effect] = []

    def restore(self, rows: Rows, now: float) -> None:
        self.words = {key: int.from_bytes(value, "big") for key, value in rows.scan("words")}
        self.calls.append("restore")

    def handle_clock(self, now: float, wall_ms: int) -> None:
        self.wall_ms = wall_ms
        self.calls.append("clock")

    def receive_datagram(self, data: bytes, path: Path, now: float) -> None:
        self.last = path
        if data.startswith(b"?"):
            self._asked[len(self._asked)] = path
            self._effects.append(Ask(len(self._asked) - 1, data))
            return
        self._greet_at = now + 10.0
        self._keep(data, Send(path, b"kept " + data))

    def answered(self, id: int, result: object, now: float) -> None:
        self._effects.append(Send(self._asked.pop(id), str(result).encode()))

    def apply(self, change: Change, now: float) -> None:
        self.words[change.key] = change.seq
        self.calls.append(f"apply {change.key.decode()}")

    def handle_timer(self, now: float) -> None:
        assert self._greet_at is not None
        assert now >= self._greet_at
        assert self.last is not None
        self._greet_at = None
        self._effects.append(Send(self.last, b"hello %d" % self.rng.randrange(100)))

    def next_timer(self) -> float | None:
        return self._greet_at

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def check(self) -> None:
        assert b"bad" not in self.words, "a bad word was kept"

    def keep(self, word: bytes, now: float) -> int:
        self._keep(word, Answer(7, "kept"))
        return 7

    def _keep(self, word: bytes, after: Effect) -> None:
        seq = len(self.words) + 1
        change = Change(seq, Kind.PUT, "toy", word, seq, b"", self.wall_ms, b"")
        puts = (Put("words", word, seq.to_bytes(8, "big")),)
        self._effects.append(Commit(puts=puts, then=(Apply(change), after)))


def small(seed: int = 1, trace: Trace | None = None) -> tuple[World, Node[Keeper]]:
    world = World(seed, trace=trace)
    return world, world.node("anna", Keeper, HOST)


def engine(node: Node[Keeper]) -> Keeper:
    assert node.engine is not None
    return node.engine


def test_a_node_is_restored_before_it_is_told_the_time() -> None:
    _, anna = small()
    assert engine(anna).calls == ["restore", "clock"]


def test_what_follows_a_commit_is_carried_out_only_once_it_is_durable() -> None:
    world, anna = small()
    device = world.client(BERT, 4000)
    device.send(b"tree", SERVER)
    anna.disk.slow = 1000.0  # half a second at least
    world.run(until=0.4)
    assert engine(anna).words == {}
    assert device.inbox == []
    world.run(until=6.0)
    assert engine(anna).words == {b"tree": 1}
    assert device.inbox == [(b"kept tree", SERVER)]


def test_commits_of_a_busy_disk_wait_and_go_together_in_their_order() -> None:
    world, anna = small(trace=(trace := Trace(describe=bytes.decode)))
    device = world.client(BERT, 4000, name="bert")
    anna.disk.slow = 1000.0
    for word in (b"oak", b"ash", b"elm"):
        device.send(word, SERVER)
    world.run(until=11.0)
    told = [line.split(maxsplit=1)[1] for line in trace.lines]
    came = [line.split()[-1] for line in told if line.startswith("anna <")]
    assert [line for line in told if "written" in line] == ["anna has written 1", "anna has written 2"]
    assert [line for line in told if line.startswith("anna > bert kept")] == [f"anna > bert kept {w}" for w in came]
    assert engine(anna).calls[2:] == [f"apply {word}" for word in came]


def test_nothing_of_a_crashed_life_is_carried_out_afterwards() -> None:
    world, anna = small()
    device = world.client(BERT, 4000)
    device.send(b"tree", SERVER)
    anna.disk.slow = 1000.0
    world.run(until=0.3)
    anna.crash()
    anna.start()
    world.run(until=60.0)
    assert device.inbox == []
    assert engine(anna).calls[:2] == ["restore", "clock"]
    assert "apply tree" not in engine(anna).calls


def test_what_was_acknowledged_is_there_after_a_power_cut() -> None:
    world, anna = small()
    device = world.client(BERT, 4000)
    device.send(b"tree", SERVER)
    world.run(until=1.0)
    anna.crash()
    device.send(b"lost", SERVER)
    world.run(until=2.0)
    assert anna.unheard == 1
    anna.start()
    assert engine(anna).words == {b"tree": 1}


@pytest.mark.parametrize("happened", [False, True])
def test_a_commit_that_fails_stops_the_node(happened: bool) -> None:
    """Design, Contracts, 1: whether it happened is seen only after the restart."""
    world, anna = small()
    device = world.client(BERT, 4000)
    anna.disk.fail(happened=happened)
    device.send(b"tree", SERVER)
    world.run(until=1.0)
    assert (anna.engine, anna.stops, device.inbox) == (None, 1, [])
    anna.start()
    assert engine(anna).words == ({b"tree": 1} if happened else {})


def test_power_can_go_between_two_effects_of_one_call() -> None:
    world, anna = small()
    device = world.client(BERT, 4000)
    device.send(b"tree", SERVER)
    anna.crash_after(2)  # the commit and the apply, but not the answer
    world.run(until=1.0)
    assert anna.engine is None
    assert device.inbox == []
    anna.start()
    assert engine(anna).words == {b"tree": 1}


def test_a_timer_is_never_handled_before_its_deadline_and_not_long_after() -> None:
    world, _ = small(trace=(trace := Trace(describe=bytes.decode)))
    world.client(BERT, 4000, name="bert").send(b"tree", SERVER)
    world.run(until=20.0)
    received, greeted = (line for line in trace.lines if "anna < bert" in line or "anna > bert hello" in line)
    assert float(greeted.split()[0]) == pytest.approx(float(received.split()[0]) + 10.0)


def test_a_node_may_handle_any_number_of_timers_each_at_its_own_time() -> None:
    world, _ = small()
    bert = world.client(BERT, 4000)
    for number in range(10_100):
        bert.send(b"tree", SERVER)
        world.run(until=11.0 * (number + 1))
    assert len(bert.inbox) > 20_000


def test_a_paused_node_handles_everything_late_and_in_order() -> None:
    world, anna = small()
    device = world.client(BERT, 4000)
    device.send(b"oak", SERVER)
    anna.pause(30.0)
    world.run(until=29.9)
    assert engine(anna).last is None
    world.run(until=31.0)
    assert [data for data, _ in device.inbox] == [b"kept oak"]


def test_a_step_of_the_wall_clock_is_told_and_outlives_a_restart() -> None:
    _, anna = small()
    before = engine(anna).wall_ms
    anna.step_clock(-5000)
    assert engine(anna).wall_ms == before - 5000
    anna.crash()
    anna.start()
    assert engine(anna).wall_ms == before - 5000


def test_the_monotonic_clock_starts_anew_after_a_power_cut_only() -> None:
    world, anna = small()
    world.run(until=5000.0)
    now = anna.call(lambda _, now: now)
    anna.crash(power_cut=False)
    anna.start()
    assert anna.call(lambda _, now: now) == now
    anna.crash()
    anna.start()
    assert anna.call(lambda _, now: now) < 1000.0


def test_an_answer_goes_to_whoever_asked() -> None:
    world, anna = small()
    answers: list[object] = []
    anna.ask(lambda keeper, now: keeper.keep(b"tree", now), answers.append)
    assert answers == []
    world.run(until=1.0)
    assert answers == ["kept"]


def test_a_crash_forgets_who_asked() -> None:
    world, anna = small()
    answers: list[object] = []
    anna.ask(lambda keeper, now: keeper.keep(b"tree", now), answers.append)
    anna.crash()
    world.run(until=1.0)
    assert answers == []


def test_the_world_answers_what_an_engine_asks() -> None:
    world = World(1, on_ask=lambda node, ask: node.answer(ask.id, f"{node.name} asked", after=2.0))
    world.node("anna", Keeper, HOST)
    device = world.client(BERT, 4000)
    device.send(b"?", SERVER)
    world.run(until=1.9)
    assert device.inbox == []
    world.run(until=3.0)
    assert device.inbox == [(b"anna asked", SERVER)]


def test_an_engine_hears_which_of_its_ports_was_asked_and_answers_from_it() -> None:
    world = World(1)
    anna = world.node("anna", Keeper, HOST, ports=(5683, 5684))
    device = world.client(BERT, 4000)
    device.send(b"tree", Endpoint(HOST, 5684))
    world.run(until=1.0)
    path = engine(anna).last
    assert path is not None
    assert (path.local, path.link, path.peer) == (Endpoint(HOST, 5684), 2, Endpoint(BERT, 4000))
    assert device.inbox == [(b"kept tree", Endpoint(HOST, 5684))]


def test_a_cut_takes_what_is_on_its_way() -> None:
    world, anna = small()
    world.client(BERT, 4000).send(b"tree", SERVER)
    world.network.cut(BERT, HOST)
    world.run(until=1.0)
    assert engine(anna).last is None
    assert world.network.counts["cut"] == 1


def test_an_invariant_that_breaks_names_seed_time_and_event() -> None:
    world, _ = small(seed=17)
    world.client(BERT, 4000).send(b"bad", SERVER)
    with pytest.raises(AssertionError, match="bad word") as caught:
        world.run(until=1.0)
    (note,) = caught.value.__notes__
    assert note.startswith("seed 17: at 0.")


def test_one_more_node_changes_no_other() -> None:
    def run(crowd: int) -> list[tuple[bytes, Endpoint]]:
        world, _ = small()
        for number in range(crowd):
            world.node(f"other {number}", Keeper, f"2001:db8::c{number}")
            world.client(f"2001:db8::d{number}", 4000).send(b"noise", Endpoint(f"2001:db8::c{number}", 5683))
        device = world.client(BERT, 4000)
        device.send(b"tree", SERVER)
        world.run(until=60.0)
        return device.inbox

    assert run(crowd=0) == run(crowd=5)


def test_two_runs_of_one_seed_end_in_one_unseed() -> None:
    def run(seed: int, words: int) -> int:
        world, _ = small(seed)
        device = world.client(BERT, 4000)
        for _ in range(words):
            device.send(b"tree", SERVER)
        world.run(until=60.0)
        return world.unseed()

    assert run(1, 3) == run(1, 3)
    assert run(1, 3) != run(2, 3)
    assert run(1, 3) != run(1, 4)


def test_a_word_is_kept_through_a_power_cut_and_a_failing_disk(golden: Callable[[str], None]) -> None:
    world, anna = small(trace=(trace := Trace(describe=bytes.decode)))
    device = world.client(BERT, 4000, name="bert")
    device.send(b"oak", SERVER)
    world.run(until=1.0)
    anna.crash()
    device.send(b"ash", SERVER)
    world.run(until=2.0)
    anna.start()
    anna.disk.fail(happened=True)
    device.send(b"elm", SERVER)
    world.run(until=3.0)
    anna.start()
    world.network.cut(HOST, BERT)
    device.send(b"fir", SERVER)
    world.run(until=20.0)
    assert engine(anna).words == {b"oak": 1, b"elm": 2, b"fir": 3}
    golden("\n".join(trace.lines) + "\n")
