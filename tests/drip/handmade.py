"""One engine with a disk of rows, and whoever speaks to it by hand.  Keys and signatures are real."""

import itertools
from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

import msgspec
from people import FOUNDING, NETWORK, WALL_MS, key_of, member, public_of, record

from waypost.drip.engine import DripEngine, Setup
from waypost.drip.history import Sources
from waypost.drip.judge import Holders, Judge
from waypost.drip.messages import Message, Promise, VoteCall, Yes
from waypost.drip.outbox import Fetch, Spread, Stored, Tell
from waypost.drip.proposer import Timers
from waypost.drip.rules import Rules
from waypost.drip.voter import Credentials
from waypost.engine import Answer, Ask, Commit, Effect
from waypost.identity.keys import verifies
from waypost.record import ROSTER, Ballot, Certificate, Committed, Matter, Member, Proof, Record, Roster, Vote
from waypost.record.vote import cast

HOME: Final = Ballot(1, 0, "anna")  # records of people.py have their home at anna
VOTERS: Final = ("anna", "berta", "carla")
TIMERS: Final = Timers()


class Rows:
    """A disk that keeps all it was given."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[bytes, bytes]] = {}

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.tables.get(table, {}).get(key)

    def scan(self, table: str, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(row for row in self.tables.get(table, {}).items() if not after or row[0] > after))

    def after(self, table: str, key: bytes, count: int) -> list[tuple[bytes, bytes]]:
        return list(self.scan(table, key))[:count]

    def write(self, commit: Commit) -> None:
        for put in commit.puts:
            table = self.tables.setdefault(put.table, {})
            if put.value is None:
                table.pop(put.key, None)
            else:
                table[put.key] = put.value


class Hand:
    """`told` is what the node has said since it was last asked; `answers` are by id.

    `peers` are asked for older versions.
    """

    def __init__(
        self,
        name: str,
        *,
        rows: Rows | None = None,
        incarnation: int = 1,
        timers: Timers = TIMERS,
        founding: Committed = FOUNDING,
        seed: int = 1,
        judge: Judge | None = None,
    ) -> None:
        self.name = name
        self.now = 100.0
        self.rows = rows or Rows()
        self.told: list[tuple[str, Message]] = []
        self.stored: list[Committed] = []
        self.spread: list[Committed | Proof] = []
        self.answers: dict[int, object] = {}
        self.fetched: list[Fetch] = []
        self.peers: tuple[str, ...] = ()
        key = key_of(f"{name}/{incarnation}")
        network = NETWORK
        credentials = Credentials(network, key.sign, verifies)
        sources = Sources(self.rows.after, lambda: self.peers)
        setup = Setup(name, founding, credentials, judge or Holders(), timers, Rules(), sources)
        self.drip = DripEngine(setup, Random(seed), itertools.count(1))
        self.drip.restore(self.rows, self.now)
        if rows is None:
            self.drip.begin(incarnation, self.now)
        self.drip.handle_clock(self.now, WALL_MS)
        self.settle()

    def hear(self, node: str, *messages: Message) -> list[Message]:
        """What it says to that node in answer."""
        self.told = []
        self.drip.hear(node, messages, self.now)
        self.settle()
        return [message for target, message in self.told if target == node]

    def only(self, node: str, *messages: Message) -> Message:
        (answer,) = self.hear(node, *messages)
        return answer

    def learn(self, *many: Committed) -> None:
        for committed in many:
            self.drip.learn(committed, self.now)
        self.settle()

    def claim(self, new: Record) -> int:
        self.told = []
        id = self.drip.claim(new, self.now)
        self.settle()
        return id

    def read(self, place: tuple[str, str] = ("names", "lamp")) -> int:
        self.told = []
        id = self.drip.read(place, self.now)
        self.settle()
        return id

    def status(self, of: Record) -> int:
        self.told = []
        id = self.drip.status(of.place, of.version, of.txid, self.now)
        self.settle()
        return id

    def wait(self, seconds: float) -> None:
        """Let the timers of so many seconds fire."""
        self.told = []
        until = self.now + seconds
        while (when := self.drip.next_timer()) is not None and when <= until:
            self.now = max(when, self.now)
            self.drip.handle_timer(self.now)
            self.settle()
        self.now = until

    def settle(self) -> None:
        self.carry_out(self.drip.take_effects())
        self.drip.check()

    def carry_out(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Commit():
                    self.rows.write(effect)
                    self.carry_out(effect.then)
                case Ask(body=Tell(node=node, message=message)):
                    self.told.append((node, message))
                case Ask(body=Spread(news=news)):
                    self.spread.append(news)
                case Ask(body=Fetch() as fetch):
                    self.fetched.append(fetch)
                case Ask(body=Stored(committed=committed)):
                    self.stored.append(committed)
                case Answer(id=id, result=result):
                    self.answers[id] = result
                case _:
                    raise AssertionError(effect)

    def restarted(self) -> "Hand":
        """The same disk, and another process."""
        return Hand(self.name, rows=self.rows, seed=2)

    def says(self, kind: type[Message]) -> list[str]:
        """To whom it said such a thing."""
        return [node for node, message in self.told if isinstance(message, kind)]

    def calls(self) -> VoteCall:
        """The one record that it calls a vote on."""
        calls = {message.record.txid: message for _, message in self.told if isinstance(message, VoteCall)}
        (call,) = calls.values()
        return call


def vote(of: Record, ballot: Ballot, voter: str, *, counter: int = 1, incarnation: int = 1) -> Vote:
    matter = Matter.of(of, ballot, NETWORK)
    key = key_of(f"{voter}/{incarnation}")
    return Vote(matter, cast(matter, voter, incarnation, counter, NETWORK, key.sign))


def yes(call: VoteCall, voter: str, *, counter: int = 1) -> Yes:
    return Yes(vote(call.record, call.ballot, voter, counter=counter))


def committed(of: Record, *voters: str, ballot: Ballot = HOME, counter: int = 1) -> Committed:
    marks = tuple(vote(of, ballot, name, counter=counter).mark for name in voters or ("berta", "carla"))
    return Committed(of, Certificate(Matter.of(of, ballot, NETWORK), marks))


def promise(of: Record, ballot: Ballot, counter: int = 1, accepted: object = None) -> Promise:
    return msgspec.convert(
        {**_slot(of), "ballot": ballot, "counter": counter, "accepted": accepted, "type": "promise"},
        Promise,
        from_attributes=True,
    )


def _slot(of: Record) -> dict[str, object]:
    return {"namespace": of.namespace, "key": of.key, "version": of.version}


def next_roster(before: Committed, voters: Sequence[str | Member], learners: Sequence[str | Member] = ()) -> Record:
    """The record of the next epoch, signed by the operator."""
    vote, learn = (
        tuple(member(item) if isinstance(item, str) else item for item in items) for items in (voters, learners)
    )
    old = msgspec.json.decode(before.record.value or "", type=Roster)
    roster = Roster(old.epoch + 1, vote, learn, old.policy)
    return record(roster.encode().decode(), before.record, place=ROSTER)


def epoch_two(*voters: str | Member, learners: Sequence[str] = ()) -> Committed:
    return committed(next_roster(FOUNDING, voters, learners), ballot=Ballot(1, 1, "anna"))


OPERATOR: Final = public_of("operator")
