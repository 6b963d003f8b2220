"""A mesh in the simulator: DRiP engines on machines that crash, their clients, and an observer of it all.

Sentences go over the simulated network by number, so that their size does not matter; in one of WIRED seeds they are
encoded and decoded as well.  Signatures are the fast stand-ins of people.py.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

import msgspec
from observer import Observer, Operation, Violation
from people import Fast, fast, key_of, member, public_of, record

from waypost.drip import parcel
from waypost.drip.book import HISTORY, RECORDS, place_in
from waypost.drip.engine import DripEngine, Setup
from waypost.drip.history import Sources
from waypost.drip.judge import Holders, Judge
from waypost.drip.messages import Alarm, Commit, Message
from waypost.drip.outbox import Fetch, Spread, Stored, Tell
from waypost.drip.outcome import Outcome, Reading
from waypost.drip.proposer import Timers
from waypost.drip.roster import NODE, SELF
from waypost.drip.rules import Rules
from waypost.drip.voter import Credentials
from waypost.engine import Ask, Effect, Endpoint, Path, Rows
from waypost.engine import Commit as Write
from waypost.identity.keys import verifies
from waypost.record import (
    ROSTER,
    Change,
    Cited,
    Committed,
    Member,
    Place,
    Policy,
    Record,
    Roster,
    Sign,
    Verify,
    network_of,
)
from waypost.record.verification import Remembering
from waypost.record.vote import founding
from waypost.sim import Node, Weather, World
from waypost.sim.disk import Disk

NAMES: Final = ("anna", "berta", "carla", "dora", "emma", "frieda", "greta")
PORT: Final = 8481
WIRED: Final = 8
FRESH: Final = "another one each time"
HISTORY_WITHIN: Final = 40  # seconds
TIMERS: Final = Timers(vote_s=0.4, backoff_min_s=0.03, backoff_max_s=0.5, deadline_s=4.0)
ITSELF: Final = Weather(delay_min=0.0001, delay_max=0.0001)


class Machine:
    """A DripEngine as the simulator runs one; `mail` holds the sentences that datagrams stand for."""

    def __init__(self, mesh: "Mesh", name: str, rng: Random) -> None:
        self.name = name
        self.incarnation = mesh.incarnations[name]
        self.ids: Iterator[int] = itertools.count(1)
        credentials = Credentials(mesh.network, mesh.signer(f"{name}/{self.incarnation}"), mesh.verify)
        others = tuple(other for other in mesh.names if other != name)
        sources = Sources(lambda *page: mesh.rows(name, *page), lambda: others)
        setup = Setup(name, mesh.founding, credentials, mesh.judge, TIMERS, mesh.rules, sources)
        self.drip = DripEngine(setup, rng, self.ids)
        self._mesh = mesh
        self._given: list[Effect] = []

    def restore(self, rows: Rows, now: float) -> None:
        self.drip.restore(rows, now)
        if rows.get(NODE, SELF) is None:
            self.drip.begin(self.incarnation, now)
        if self._mesh.is_open:
            self.drip.seek(self._mesh.entry(self.name), (), now)
        held = {place_in(key): 0 for key, _ in rows.scan(RECORDS)}
        versions = {place: committed.record.version for place in held if (committed := self.drip.committed(place))}
        self._mesh.observer.restarted(self.name, versions)

    def receive_datagram(self, data: bytes, path: Path, now: float) -> None:
        node, message = self._mesh.mail[int.from_bytes(data, "big")]
        if isinstance(message, Fetch):
            held = self.drip.committed(message.place)
            self._given += [Ask(next(self.ids), Tell(node, Commit(held)))] if held else []
            return
        if self._mesh.is_wired:
            (read,) = parcel.read(parcel.body_of((message,)))
            assert read == message
        self.drip.hear(node, (message,), now)

    def take_effects(self) -> list[Effect]:
        effects, self._given = self._given + self.drip.take_effects(), []
        for effect in effects:
            if isinstance(effect, Write):
                self._watch(effect)
        return effects

    def _watch(self, effect: Write) -> None:
        for put in effect.puts:
            if put.table == RECORDS and put.value is not None:
                self._mesh.observer.held(self.name, msgspec.json.decode(put.value, type=Committed))

    def answered(self, id: int, result: object, now: float) -> None:
        self.drip.answered(id, result, now)

    def apply(self, change: Change, now: float) -> None:
        raise AssertionError("nothing is applied")

    def handle_timer(self, now: float) -> None:
        self.drip.handle_timer(now)

    def handle_clock(self, now: float, wall_ms: int) -> None:
        self.drip.handle_clock(now, wall_ms)

    def next_timer(self) -> float | None:
        return self.drip.next_timer()

    def check(self) -> None:
        self.drip.check()


class Mesh:
    """`voters` of the first `size` names found the network; the others learn.

    `at_home` of the claims name the claiming node as the key's home; `repair_every` so many seconds, at most, two nodes
    compare what they hold.  A commit is told to all but `quiet` of the others.  With `is_signed` the signatures are
    real.  If it `is_open`, the nodes that do not vote come by themselves.
    """

    def __init__(
        self,
        seed: int,
        *,
        size: int,
        voters: int,
        rules: Rules,
        keys: int = 2,
        at_home: float = 0.2,
        repair_every: float = 1.5,
        quiet: float = 0.0,
        is_signed: bool = False,
        is_open: bool = False,
        judge: Judge | None = None,
    ) -> None:
        self.at_home, self.repair_every, self.quiet = at_home, repair_every, quiet
        self.is_signed, self.is_open = is_signed, is_open
        self.judge = judge or Holders()
        self.verify: Verify = Remembering(verifies) if is_signed else Fast.verify
        self.rng = Random(f"{seed}/mesh")
        self.names = NAMES[:size]
        self.places: tuple[Place, ...] = tuple(("names", f"key {number}") for number in range(keys))
        policy = Policy(public_of("operator"), 0, ())
        learners = () if is_open else self.names[voters:]
        founders = Roster(1, tuple(map(member, self.names[:voters])), tuple(map(member, learners)), policy)
        self.network, self.founding, self.rules = network_of(founders), founding(founders), rules
        self.observer = Observer(self.network, founders, self.verify, self.founding)
        self.incarnations = dict.fromkeys(self.names, 1)
        self.moves = dict.fromkeys(self.names, 0)
        self.mail: list[tuple[str, Message | Fetch]] = []
        self.is_wired = seed % WIRED == 0
        self.epochs = 1
        self.world = World(seed, on_ask=self._on_ask)
        self.working = True
        self.troubles: dict[str, int] = {}
        self._txid = 0
        self.nodes: dict[str, Node[Machine]] = {}
        for name in self.names:
            self.world.network.set_link(host(name), host(name), ITSELF)
            self.nodes[name] = self.world.node(name, Factory(self, name), host(name), (PORT,))

    def public(self, name: str) -> str:
        return public_of(name)

    def signer(self, name: str) -> Sign:
        return key_of(name).sign if self.is_signed else fast(name).sign

    def _on_ask(self, node: Node[Machine], ask: Ask) -> None:
        """Carries sentences; tells the observer what left a node or came to its disk."""
        match ask.body:
            case Tell(node=target, message=message):
                self._post(node, target, message)
            case Spread(news=news):
                message = Commit(news) if isinstance(news, Committed) else Alarm(news)
                for target in self.names:
                    if target != node.name and not (self.quiet and self.rng.random() < self.quiet):
                        self._post(node, target, message)
            case Fetch(node=target):
                for each in (target, self.rng.choice(self.names)):
                    if each != node.name:
                        self._mail(node, each, ask.body)
            case Stored(committed=committed):
                self.observer.written(node.name, committed.record.place, committed.record.version)
            case _:
                raise AssertionError(ask)

    def _post(self, node: Node[Machine], target: str, message: Message) -> None:
        self.observer.told(node.name, self.incarnations[node.name], message)
        self._mail(node, target, message)

    def _mail(self, node: Node[Machine], target: str, message: Message | Fetch) -> None:
        self.mail.append((node.name, message))
        number = len(self.mail) - 1
        self.world.post(node.endpoints[0], Endpoint(host(target), PORT), number.to_bytes(8, "big"))

    # Clients

    def claim_again_and_again(self, name: str, mean: float) -> None:
        """A client of one node: claims and reads, at random, of the keys that all fight for."""
        if not self.working:
            return
        node = self.nodes[name]
        if node.engine is not None:
            place = self.rng.choice(self.places)
            if self.rng.random() < 0.7:
                self.claim(node, place)
            else:
                self.read(node, place)
        self.world.after(self.rng.expovariate(1 / mean), lambda: self.claim_again_and_again(name, mean))

    def claim(
        self,
        node: Node[Machine],
        place: Place,
        *,
        value: str | None = FRESH,
        author: str = "operator",
        holder: str = "operator",
        cites: tuple[Cited, ...] = (),
        is_taken: bool = True,
    ) -> Operation:
        assert node.engine is not None
        self._txid += 1
        held = node.engine.drip.committed(place)
        new = record(
            f"{node.name} {self._txid}" if value == FRESH else value,
            held.record if held else None,
            place=place,
            holder=holder,
            cites=cites,
            is_taken=is_taken,
            taker=self.signer(holder),
            home=node.name if self.rng.random() < self.at_home else self.rng.choice(self.names),
            author=author,
            network=self.network,
            sign=self.signer(author),
            wall_ms=node.wall_ms(),
            txid=self._txid,
        )
        operation = Operation(place, self.world.now, new, new.hash(self.network))
        self.observer.operations.append(operation)
        self.submit(node, operation)
        return operation

    def submit(self, node: Node[Machine], operation: Operation) -> None:
        new = operation.record
        assert new is not None

        def on_outcome(outcome: object) -> None:
            assert isinstance(outcome, Outcome)
            operation.state, operation.end = outcome.state.value, self.world.now
            operation.version = new.version

        node.ask(lambda engine, now: engine.drip.claim(new, now), on_outcome)

    def read(self, node: Node[Machine], place: Place) -> Operation:
        operation = Operation(place, self.world.now)
        self.observer.operations.append(operation)

        def on_reading(reading: object) -> None:
            assert isinstance(reading, Reading)
            if reading.is_known:
                operation.state, operation.end = "read", self.world.now
                operation.version = reading.current.record.version if reading.current else 0

        node.ask(lambda engine, now: engine.drip.read(place, now), on_reading)
        return operation

    def change_roster(self, name: str, voters: tuple[str, ...]) -> None:
        node = self.nodes[name]
        assert node.engine is not None
        drip = node.engine.drip
        old = drip.roster
        named = {name: member(name, incarnation) for name, incarnation in self.incarnations.items()}
        for each in old.voters + old.learners:
            if each.incarnation == self.incarnations[each.name]:
                named[each.name] = each
        learners = tuple(named[other] for other in self.names if other not in voters)
        roster = Roster(old.epoch + 1, tuple(named[voter] for voter in voters), learners, old.policy)
        self.claim(node, ROSTER, value=roster.encode().decode())

    def amend_roster(self, name: str) -> None:
        """A voter moves itself or a learner, or lets in a learner's next installation."""
        node = self.nodes[name]
        assert node.engine is not None
        old = node.engine.drip.roster
        me = old.voter(name)
        if me is None:
            return
        whom = self.rng.choice((me, *old.learners))
        self.moves[whom.name] += 1
        come = self.entry(whom.name)
        if whom is me:
            come = msgspec.structs.replace(me, url=come.url)
        voters, learners = (
            tuple(come if each is whom else each for each in part) for part in (old.voters, old.learners)
        )
        roster = Roster(old.epoch + 1, voters, learners, old.policy)
        self.claim(node, ROSTER, value=roster.encode().decode(), author=f"{name}/{me.incarnation}")

    def amend_rosters_again_and_again(self, mean: float) -> None:
        if not self.working:
            return
        up = [name for name, node in self.nodes.items() if node.engine is not None]
        if up:
            self.amend_roster(self.rng.choice(up))
        self.world.after(self.rng.expovariate(1 / mean), lambda: self.amend_rosters_again_and_again(mean))

    def change_rosters_again_and_again(self, mean: float) -> None:
        if not self.working:
            return
        up = [name for name, node in self.nodes.items() if node.engine is not None]
        if up:
            size = self.rng.choice((3, 3, 4, 5))
            self.change_roster(
                self.rng.choice(up), tuple(sorted(self.rng.sample(self.names, min(size, len(self.names)))))
            )
        self.world.after(self.rng.expovariate(1 / mean), lambda: self.change_rosters_again_and_again(mean))

    def move_again_and_again(self, mean: float) -> None:
        """A node has another URL from now on, and asks for it to be in the roster."""
        if not self.working:
            return
        name = self.rng.choice(self.names)
        self.moves[name] += 1
        if self.nodes[name].engine is not None:
            entry = self.entry(name)
            self.nodes[name].call(lambda engine, now: engine.drip.seek(entry, (), now))
        self.world.after(self.rng.expovariate(1 / mean), lambda: self.move_again_and_again(mean))

    def entry(self, name: str) -> Member:
        """What a node wants to be in the roster."""
        came = member(name, self.incarnations[name])
        return msgspec.structs.replace(came, url=f"https://{name}.example:{8481 + self.moves[name]}")

    def promote_again_and_again(self, mean: float) -> None:
        """The operator looks at a node, and lets its applicants vote again or has others vote."""
        if not self.working:
            return
        up = [name for name, node in self.nodes.items() if node.engine is not None]
        if up:
            self.promote(self.rng.choice(up), is_moody=self.rng.random() < 0.5)
        self.world.after(self.rng.expovariate(1 / mean), lambda: self.promote_again_and_again(mean))

    def promote(self, name: str, *, is_moody: bool) -> None:
        drip = self.drip(name)
        old = drip.roster
        there = {each.name: each for each in (*old.voters, *old.learners, *drip.applicants)}
        voters = {voter.name for voter in old.voters}
        if is_moody:
            voters = set(self.rng.sample(list(there), min(len(there), self.rng.choice((3, 3, 4, 5)))))
        elif not drip.applicants:
            return
        parts = [tuple(each for each in there.values() if (each.name in voters) is is_in) for is_in in (True, False)]
        new = Roster(old.epoch + 1, parts[0], parts[1], old.policy)
        self.claim(self.nodes[name], ROSTER, value=new.encode().decode())

    def lose_disks_again_and_again(self, mean: float) -> None:
        """One at a time."""
        if not self.working:
            return
        self.lose_a_disk(self.rng)
        self.world.after(self.rng.expovariate(1 / mean), lambda: self.lose_disks_again_and_again(mean))

    def lose_a_disk(self, rng: Random) -> None:
        """Unless none can be spared now."""
        if self._is_settled():
            self.lose_disk(rng.choice(self.names))

    def _is_settled(self) -> bool:
        """All are up and in the roster as they are, and all that vote have merged."""
        there = [node.engine.drip for node in self.nodes.values() if node.engine is not None]
        if len(there) < len(self.names):
            return False
        newest = max(there, key=lambda drip: drip.epoch).roster
        known = {each.name: each.incarnation for each in newest.voters + newest.learners}
        voters = [self.drip(voter.name) for voter in newest.voters]
        return known == self.incarnations and all(drip.is_voting and drip.epoch == newest.epoch for drip in voters)

    def let_everybody_in(self) -> None:
        """After the storm: nodes come in by themselves, and voters with new disks once the operator says so."""
        for _ in range(12):
            self.world.run(until=self.world.now + 10)
            newest = max(self.names, key=lambda name: self.drip(name).epoch)
            roster = self.drip(newest).roster
            there = {each.name: each for each in roster.voters + roster.learners}
            if all(there.get(name) == self.entry(name) for name in self.names):
                return
            for name in self.names:
                if self.drip(name).applicants and self.drip(name).epoch == roster.epoch:
                    self.promote(name, is_moody=False)
                    break
        raise Violation(f"somebody is not in long after the storm: {roster}")

    def repair_again_and_again(self) -> None:
        """Two nodes that reach each other compare what they hold: a stand-in for anti-entropy."""
        one, other = self.rng.sample(self.names, 2)
        if self.world.network.passes(host(one), host(other)) and self.world.network.passes(host(other), host(one)):
            self.repair(one, other)
            self.repair(other, one)
        self.world.after(self.repair_every * self.rng.random(), self.repair_again_and_again)

    def repair(self, source: str, target: str) -> None:
        there, here = self.nodes[source], self.nodes[target]
        if there.engine is None or here.engine is None:
            return
        drip = there.engine.drip
        for committed in drip.rosters_after(here.engine.drip.epoch):
            self._learn(here, committed)
        for place in self.places:
            committed_there = drip.committed(place)
            if committed_there is not None:
                self._learn(here, committed_there)

    def _learn(self, node: Node[Machine], committed: Committed) -> None:
        if node.engine is not None:
            node.call(lambda engine, now: engine.drip.learn(committed, now))

    def lose_disk(self, name: str) -> None:
        """And come back as another installation, which no roster names yet."""
        node = self.nodes[name]
        if node.engine is not None:
            node.crash()
        self.incarnations[name] += 1
        node.disk = Disk(Random(f"{self.world.seed}/{name}/disk {self.incarnations[name]}"))
        self.observer.forgotten(name)

    def rows(self, name: str, table: str, after: bytes, count: int) -> list[tuple[bytes, bytes]]:
        """Rows of its disk."""
        return list(itertools.islice(self.nodes[name].disk.scan(table, after), count))

    # The end

    def settle(self, seconds: float) -> None:
        """After the storm: I8, everybody agrees and nothing is open; I13, what is unknown resolves.

        And everybody has every version (R11).
        """
        self.working = False
        self.world.run(until=self.world.now + seconds)
        for one, other in itertools.permutations(self.names, 2):
            self.repair(one, other)
        self.world.run(until=self.world.now + 1)
        for place in self.places:
            held = {name: self.drip(name).committed(place) for name in self.names}
            if len({committed and committed.record for committed in held.values()}) != 1:
                raise Violation(f"I8: {place} is {held} long after the storm")
        for name in self.names:
            drip = self.drip(name)
            if drip.is_voting and any(instance.accepted for instance in drip.votes().values()):
                raise Violation(f"I8: {name} has an open vote long after the storm: {drip.votes()}")
        self.observer.check_history()
        self.require_history()
        self.resolve()

    def require_history(self) -> None:
        """What one node has of the past, all have; and nothing is missing unless the disks that it was on were lost."""
        for _ in range(HISTORY_WITHIN):
            if not any(self.drip(name).history.missing for name in self.names):
                break
            self.world.run(until=self.world.now + 1)
        kept = {name: [key for key, _ in self.nodes[name].disk.scan(HISTORY)] for name in self.names}
        self.observer.check_kept(kept, self.incarnations)

    def resolve(self) -> None:
        """I13: what is unknown is committed or lost, and every node that can tell says the same.

        Who sends the same record again, to any node, learns which.
        """
        unknown = [op for op in self.observer.operations if op.record is not None and op.state in ("", "unknown")]
        for operation in unknown:
            operation.state = operation.state or "unanswered"
            new = operation.record
            assert new is not None
            known = {state for name in self.names if (state := self.status(name, new)) != "unknown"}
            if len(known) > 1:
                raise Violation(f"I13: {operation.place}: version {new.version} is both committed and lost")
            if not known:
                self.submit(self.nodes[self.rng.choice(self.names)], operation)
                self.world.run(until=self.world.now + TIMERS.deadline_s + 0.1)
                known = {operation.state}
            is_there = self.observer.log.get((new.place, new.version)) == operation.hash
            said = known.pop()
            if said not in (("committed",) if is_there else ("lost", "denied")):
                raise Violation(f"I13: {operation.place}: version {new.version} is {said} at last")
            operation.state = f"{said} at last"

    def status(self, name: str, record: Record) -> str:
        answers: list[object] = []
        place, version, txid = record.place, record.version, record.txid
        self.nodes[name].ask(lambda engine, now: engine.drip.status(place, version, txid, now), answers.append)
        self.world.run(until=self.world.now + TIMERS.deadline_s + 0.1)
        (outcome,) = answers
        assert isinstance(outcome, Outcome)
        return outcome.state.value

    def drip(self, name: str) -> DripEngine:
        engine = self.nodes[name].engine
        assert engine is not None
        return engine.drip

    @property
    def versions(self) -> int:
        return sum(place != ROSTER for place, _ in self.observer.log)


@dataclass(frozen=True, slots=True)
class Factory:
    mesh: Mesh
    name: str

    def __call__(self, rng: Random) -> Machine:
        return Machine(self.mesh, self.name, rng)


def host(name: str) -> str:
    return f"2001:db8::{name[0]}"
