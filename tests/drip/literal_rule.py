"""How often the draft's rule leaves replicas different, and how often ours does: the table of docs/literal-rule.md.

Eight nodes, five of which vote by our rule; sixty updates of two keys, from any node; a hop takes 1 to 6 seconds, and a
vote timer 40.  Where nodes are not next to each other, what our rule sends straight to a voter takes as many hops.
With a fault, the links between two halves are cut for a while, and healed well before the end.

    literal_rule.py [SEEDS]                   the table, into the page
    literal_rule.py --seeds SEEDS [MESH...]   and only shown

Source: notes on DRiP, 4.1.
"""

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path as File
from random import Random
from typing import Final

from draft import PORT, VOTE_S, DraftNode, host
from people import Fast, fast, member, public_of, record

from waypost.drip.engine import DripEngine, Setup
from waypost.drip.judge import Holders
from waypost.drip.messages import Commit, Message
from waypost.drip.outbox import Spread, Stored, Tell
from waypost.drip.outcome import Outcome, State
from waypost.drip.proposer import Timers
from waypost.drip.rules import Rules
from waypost.drip.voter import Credentials
from waypost.engine import Ask, Effect, Endpoint, Path, Rows
from waypost.record import Change, Committed, Place, Policy, Record, Roster, network_of
from waypost.record.vote import founding
from waypost.sim import Node, Weather, World

NAMES: Final = ("1", "2", "3", "4", "5", "6", "7", "8")
HALVES: Final = (NAMES[:4], NAMES[4:])
KEYS: Final = ("one", "two")
UPDATES: Final = 60
GAP_S: Final = 12.0  # between two updates, on average
HOP: Final = (1.0, 6.0)  # seconds
CUT: Final = (200.0, 450.0)
END_S: Final = 1_200.0
LATE_S: Final = 2_000.0  # who still differs at the end is looked at again then: votes in doubt take long on a line
REPAIR_S: Final = 15.0  # between two comparisons of two nodes
SOUND: Final = Rules()
TIMERS: Final = Timers(vote_s=VOTE_S, backoff_min_s=2.0, backoff_max_s=20.0, deadline_s=200.0)

PAGE: Final = File(__file__).parents[2] / "docs" / "literal-rule.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def ring(*chords: int) -> Callable[[int, int], bool]:
    return lambda one, other: (one - other) % 8 in (1, 7, *chords)


MESHES: Final[dict[str, Callable[[int, int], bool]]] = {
    "full": lambda one, other: True,
    "ring plus chords": ring(4),
    "ring": ring(),
    "line": lambda one, other: abs(one - other) == 1,
}


def neighbours(mesh: str, name: str) -> tuple[str, ...]:
    linked = MESHES[mesh]
    return tuple(other for other in NAMES if other != name and linked(int(name), int(other)))


def hops(mesh: str, start: str) -> dict[str, int]:
    far = {start: 0}
    queue = [start]
    for name in queue:
        for other in neighbours(mesh, name):
            if other not in far:
                far[other] = far[name] + 1
                queue.append(other)
    return far


def updates(seed: int) -> Iterator[tuple[float, str, str, int]]:
    """When, at which node, of which key, and a value of its own."""
    rng = Random(f"{seed}/updates")
    when = 1.0
    for value in range(1, UPDATES + 1):
        yield when, rng.choice(NAMES), rng.choice(KEYS), value
        when += rng.expovariate(1 / GAP_S)


def fault(world: World) -> None:
    start, end = CUT
    world.after(start, lambda: world.network.partition(*([host(name) for name in half] for half in HALVES)))
    world.after(end, world.network.heal)


# the draft's


def literal(seed: int, mesh: str, *, cut: bool) -> Counter[str]:
    world = World(seed, weather=Weather(*HOP), check_each=0)
    nodes: dict[str, Node[DraftNode]] = {}
    for name in NAMES:
        factory = partial(_draft, name, neighbours(mesh, name), cut)
        nodes[name] = world.node(name, factory, host(name), (PORT,))
    for when, name, key, value in updates(seed):
        world.at(when, lambda update: update[0].call(partial(_begin, *update[1:])), (nodes[name], key, value))
    if cut:
        fault(world)
    engines = [node.engine for node in nodes.values() if node.engine is not None]
    differ = differs_at_last(world, lambda: [sorted(engine.store.items()) for engine in engines])
    acknowledged = {update for engine in engines for update in engine.acknowledged}
    return counted(
        differ=differ,
        missing=any(acknowledged - set(engine.applied) for engine in engines),
        reordered=differs_in_order([engine.applied for engine in engines]),
        acknowledged=len(acknowledged),
    )


def _draft(name: str, peers: tuple[str, ...], beats: bool, _: Random) -> DraftNode:
    return DraftNode(name, peers, beats=beats)


def _begin(key: str, value: int, engine: DraftNode, now: float) -> None:
    engine.update(key, value, now)


# ours


class Voting:
    """A DripEngine; `mail` holds the sentences that datagrams stand for, `applied` what its disk got, in order."""

    def __init__(self, name: str, rules: Rules, mail: list[tuple[str, Message]], rng: Random) -> None:
        credentials = Credentials(NETWORK, fast(f"{name}/1").sign, Fast.verify)
        setup = Setup(name, FOUNDING, credentials, Holders(), TIMERS, rules)
        self.drip = DripEngine(setup, rng, itertools.count(1))
        self.applied: list[tuple[str, int]] = []
        self.stored: dict[tuple[Place, int], int] = {}
        self._mail = mail

    def restore(self, rows: Rows, now: float) -> None:
        self.drip.restore(rows, now)
        self.drip.begin(1, now)

    def receive_datagram(self, data: bytes, path: Path, now: float) -> None:
        node, message = self._mail[int.from_bytes(data, "big")]
        self.drip.hear(node, (message,), now)

    def handle_timer(self, now: float) -> None:
        self.drip.handle_timer(now)

    def handle_clock(self, now: float, wall_ms: int) -> None:
        self.drip.handle_clock(now, wall_ms)

    def next_timer(self) -> float | None:
        return self.drip.next_timer()

    def take_effects(self) -> list[Effect]:
        return self.drip.take_effects()

    def answered(self, id: int, result: object, now: float) -> None: ...
    def apply(self, change: Change, now: float) -> None: ...
    def check(self) -> None:
        self.drip.check()


VOTERS: Final = ("1", "2", "3", "5", "6")  # three in one half, two in the other
LEARNERS: Final = ("4", "7", "8")
FOUNDERS: Final = Roster(
    1, tuple(map(member, VOTERS)), tuple(map(member, LEARNERS)), Policy(public_of("operator"), 0, ())
)
NETWORK: Final = network_of(FOUNDERS)
FOUNDING: Final = founding(FOUNDERS)


class Ballots:
    """The network of one run by our rule."""

    def __init__(self, seed: int, mesh: str, rules: Rules) -> None:
        self.world = World(seed, check_each=0, on_ask=self._on_ask)
        self.rng = Random(f"{seed}/ballots")
        self.acknowledged: dict[tuple[Place, int], int] = {}  # the value of a version
        self._mail: list[tuple[str, Message]] = []
        self.nodes: dict[str, Node[Voting]] = {}
        for name in NAMES:
            for other, far in hops(mesh, name).items():
                weather = Weather(0.001, 0.001) if far == 0 else Weather(far * HOP[0], far * HOP[1])
                self.world.network.set_link(host(name), host(other), weather)
            self.nodes[name] = self.world.node(name, partial(Voting, name, rules, self._mail), host(name), (PORT,))
        self.world.after(REPAIR_S, self._repair)

    def update(self, name: str, key: str, value: int) -> None:
        node = self.nodes[name]
        assert node.engine is not None
        place = ("names", key)
        held = node.engine.drip.committed(place)
        new = record(
            str(value),
            held.record if held else None,
            place=place,
            home=name,
            network=NETWORK,
            sign=fast("operator").sign,
            wall_ms=node.wall_ms(),
            txid=value,
        )

        def on_outcome(outcome: object) -> None:
            assert isinstance(outcome, Outcome)
            if outcome.state is State.COMMITTED:
                self.acknowledged[place, new.version] = value

        node.ask(lambda engine, now: engine.drip.claim(new, now), on_outcome)

    def _on_ask(self, node: Node[Voting], ask: Ask) -> None:
        match ask.body:
            case Tell(node=target, message=message):
                self._post(node, target, message)
            case Spread(news=Committed() as news):
                for target in NAMES:
                    self._post(node, target, Commit(news))
            case Spread():
                pass  # proof that somebody signed two records, which none does by our rule
            case Stored(committed=committed):
                assert node.engine is not None
                value = int(committed.record.value or 0)
                node.engine.applied.append((committed.record.key, value))
                node.engine.stored[committed.record.place, committed.record.version] = value
            case _:
                raise AssertionError(ask)

    def _post(self, node: Node[Voting], target: str, message: Message) -> None:
        self._mail.append((node.name, message))
        number = (len(self._mail) - 1).to_bytes(8, "big")
        self.world.post(node.endpoints[0], Endpoint(host(target), PORT), number)

    def _repair(self) -> None:
        """Two nodes that reach each other tell each other what they hold: a stand-in for Merkle repair."""
        one, other = self.rng.sample(NAMES, 2)
        if self.world.network.passes(host(one), host(other)):
            for source, target in ((one, other), (other, one)):
                there = self.nodes[source].engine
                assert there is not None
                for committed in filter(None, [there.drip.committed(("names", key)) for key in KEYS]):
                    self.nodes[target].call(partial(_learn, committed))
        self.world.after(REPAIR_S, self._repair)


def _learn(committed: Committed, engine: Voting, now: float) -> None:
    engine.drip.learn(committed, now)


def ballot(seed: int, mesh: str, *, cut: bool, rules: Rules = SOUND) -> Counter[str]:
    run = Ballots(seed, mesh, rules)
    for when, name, key, value in updates(seed):
        run.world.at(when, lambda update: run.update(*update), (name, key, value))
    if cut:
        fault(run.world)
    engines = [node.engine for node in run.nodes.values() if node.engine is not None]
    differ = differs_at_last(run.world, lambda: [[_record(engine, key) for key in KEYS] for engine in engines])
    return counted(
        differ=differ,
        missing=not all(is_there(run, place, version, value) for (place, version), value in run.acknowledged.items()),
        reordered=differs_in_order([engine.applied for engine in engines]),
        acknowledged=len(run.acknowledged),
    )


def _record(engine: Voting, key: str) -> Record | None:
    """Two nodes may know of two majorities for one record: whoever finishes a vote in doubt makes another."""
    held = engine.drip.committed(("names", key))
    return held.record if held else None


def is_there(run: Ballots, place: Place, version: int, value: int) -> bool:
    """Every node holds the version or a later one, and whoever stored that version stored this value."""
    for node in run.nodes.values():
        assert node.engine is not None
        held = node.engine.drip.committed(place)
        if held is None or held.record.version < version:
            return False
        if node.engine.stored.get((place, version), value) != value:
            return False
    return True


# both


def counted(*, differ: bool, missing: bool, reordered: bool, acknowledged: int) -> Counter[str]:
    return Counter(runs=1, differ=differ, missing=missing, reordered=reordered, acknowledged=acknowledged)


def differs_at_last(world: World, stores: Callable[[], Sequence[object]]) -> bool:
    """Runs the world to its end."""
    for end in (END_S, LATE_S):
        world.run(until=end)
        first, *others = stores()
        if all(store == first for store in others):
            return False
    return True


def differs_in_order(applied: Iterable[list[tuple[str, int]]]) -> bool:
    """Whether two nodes stored two updates of one key in different orders."""
    before: set[tuple[int, int]] = set()
    for log in applied:
        for key in KEYS:
            values = [value for of, value in log if of == key]
            before.update(itertools.combinations(values, 2))
    return any((later, earlier) in before for earlier, later in before if earlier != later)


RULES: Final = {"the draft's": literal, "ballot": ballot}


def run_one(job: tuple[str, str, bool, int]) -> Counter[str]:
    rule, mesh, cut, seed = job
    return RULES[rule](seed, mesh, cut=cut)


def sums(seeds: range, meshes: Iterable[str] = MESHES) -> dict[tuple[str, str, bool], Counter[str]]:
    kinds = [(rule, mesh, cut) for rule in RULES for mesh in meshes for cut in (False, True)]
    jobs = [(*kind, seed) for kind in kinds for seed in seeds]
    total: dict[tuple[str, str, bool], Counter[str]] = {kind: Counter() for kind in kinds}
    with ProcessPoolExecutor(2) as pool:
        for job, counts in zip(jobs, pool.map(run_one, jobs, chunksize=8), strict=True):
            total[job[:3]].update(counts)
    return total


def table(total: dict[tuple[str, str, bool], Counter[str]]) -> str:
    lines = [
        "| rule | mesh | stores differ at the end | an acknowledged update is missing | the same, with a partition "
        "| applied in different orders | acknowledged, of 60 | the same, with a partition |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (rule, mesh, cut), calm in total.items():
        if not cut:
            split = total[rule, mesh, True]
            cells = (
                share(calm, "differ"),
                share(calm, "missing"),
                share(split, "missing"),
                share(calm, "reordered"),
                f"{calm['acknowledged'] / calm['runs']:.0f}",
                f"{split['acknowledged'] / split['runs']:.0f}",
            )
            lines.append(f"| {rule} | {mesh} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def share(counts: Counter[str], what: str) -> str:
    return f"{100 * counts[what] / counts['runs']:.1f} %"


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--seeds"]:
        print(table(sums(range(int(arguments[1])), arguments[2:] or MESHES)))
        return
    seeds = int(arguments[0]) if arguments else 500
    text = PAGE.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    figures = f"{table(sums(range(seeds)))}\n\nEach figure is of {seeds:,} runs."
    PAGE.write_text(f"{head}{BEGIN}\n{figures}\n{END}{tail}")
    print(figures)


if __name__ == "__main__":
    main(sys.argv[1:])
