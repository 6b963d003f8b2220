"""The node's part in its network: votes and gossip over one feed, and the directory's carrier if it is to be.

A node without a network founds one, in which it alone votes.  Whatever it commits or learns becomes a change of the
feed, in the commit that makes it durable: Change(VOTED, namespace NUL key, version, Committed); what is gossiped, one
of its namespace's room.  With `carries` the directory's records are gossiped, and stand in its table all the same, so
that whoever reads them there need not know.

What is to go to other nodes leaves as Ask(Tell), Ask(Whisper) and Ask(Reach), and comes from them by hear().  Votes
for a node that cannot be reached go by way of others.

Source: design, Contracts, 1 to 5 and 7; notes on DRiP, 4.3, 4.9 to 4.11.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from random import Random
from typing import Final, get_args

from waypost.assembly.carrier import RECORDS, ROOM
from waypost.assembly.carrying import Carrying, takes
from waypost.assembly.founders import first_roster
from waypost.assembly.installation import Installation, Introduce, Introduced, LetIn, Reach
from waypost.assembly.showing import counted, measured, open_votes, peers_seen, tellers
from waypost.drip import mesh
from waypost.drip.book import HISTORY, history_key
from waypost.drip.engine import DripEngine, Setup
from waypost.drip.envelope import Envelope
from waypost.drip.gossip import Author
from waypost.drip.guard import STRANGERS, Guard
from waypost.drip.hearing import Hearing
from waypost.drip.history import CAPABILITY, Sources
from waypost.drip.intents import Intents, Transaction
from waypost.drip.judge import Holders
from waypost.drip.literal import Literal, LiteralQuestion
from waypost.drip.merkle import Merkle
from waypost.drip.messages import Admit, Alarm, Message
from waypost.drip.outbox import Fetch, Spread, Stored
from waypost.drip.outcome import Outcome, State
from waypost.drip.parcel import Said
from waypost.drip.questions import Cancel, Claim, Consult, Force, Settle, ShowPeers, ShowVotes
from waypost.drip.relay import Relay
from waypost.drip.rules import Rules
from waypost.drip.rumours import Beat, Probed, Rumour
from waypost.drip.voter import Credentials
from waypost.engine import Answer, Apply, Ask, Commit, Effect, Put, Rows
from waypost.rd.evictions import ROOM as EVICTED
from waypost.rd.questions import Announce, Busy, Exclude
from waypost.record import (
    Change,
    Committed,
    Member,
    Place,
    Proof,
    Record,
    network_of,
)
from waypost.record.feed import Feed
from waypost.record.gossiped import Gossiped
from waypost.record.roster import roster_in

VOTED: Final = "voted"  # the room of what was voted on
NO_QUORUM: Final = "no quorum of voters can be reached"
QUORUM_RETRY_S: Final = 1
GUESTS_MAX: Final = 64  # nodes of no roster yet, whose URLs are known from what they asked
RUMOURS: Final = frozenset(get_args(Rumour))


class Network:
    """`ids` numbers what is asked and answered; `feed` is restored before, by its owner."""

    def __init__(self, rng: Random, ids: Iterator[int], feed: Feed, installation: Installation) -> None:
        self._rng = rng
        self._ids = ids
        self._feed = feed
        self._me = installation
        self._guard = Guard(installation.verify)
        self._now = 0.0
        self._is_timed = False
        self._timer: float | None = None  # as it was when that was worked out
        self._is_idle = True  # since the effects were taken: every datagram asks for them, and most concern nobody here
        self._epoch = 0  # the last one that the mesh was told of
        self.keeps: Callable[[Change], bool] = lambda change: False  # whether the directory's row stays as it is
        self.others: Mapping[str, str] | None = None  # the node keys of the other members, once they are known
        self._guests: dict[str, str] = {}
        self._missed: dict[str, float] = {}  # when a node could last not be reached
        self._reach: Reach | None = None  # as was told
        self._has_moved = True  # somebody may be elsewhere than was told
        self._to_spread: dict[int, Committed] = {}  # changes that this node made: everybody should know, once durable
        self._effects: list[Effect] = []

    def restore(self, rows: Rows, now: float) -> None:
        """Raises StoreError if the disk knows of another network than it should."""
        self._begin(now)
        first, puts = first_roster(rows, self._me)
        self._founding = first
        self._effects += [Commit(puts=puts)] if puts else []
        roster = roster_in(first.record)
        self.id = network_of(roster)
        me = self._me
        credentials, judge = Credentials(self.id, me.sign, self._guard.verify), Holders()
        sources = Sources(me.read, lambda: self._mesh.members.capable(CAPABILITY))
        setup = Setup(me.name, first, credentials, judge, me.timers, Rules(), sources)
        self._votes = DripEngine(setup, self._rng, self._ids)
        self._votes.restore(rows, now)
        self._intents = Intents(
            self._rng, self._ids, self._votes, credentials, judge, me.intent_life_s, self._has_quorum
        )
        self._intents.restore(rows, now)
        if self._votes.incarnation is None:
            own = roster.voter(me.name)
            founds = me.founding is None and own is not None
            self._votes.begin(own.incarnation if founds and own else me.incarnation, now)
        assert self._votes.incarnation is not None
        author = Author(self.id, me.name, self._votes.incarnation, me.sign)
        spaces = (ROOM, EVICTED) if me.carries else ()
        self._mesh = mesh.Mesh(self._rng, self._ids, author, me.verify, self._feed, spaces, is_sound=takes, voted=self)
        self._mesh.restore(rows, now)
        self._carrying = Carrying(self._ids, self._feed, self._mesh)
        relay = Relay(self._rng, self._ids, author, self._guard.verify, lambda: self._mesh.members.alive)
        self._hearing = Hearing(me.name, self._votes, self._guard, relay)
        self._literal = Literal(
            me.name, me.literal, self._votes, self._mesh.state, self._rng, self._ids, self._learn_from_afar
        )
        self._literal.restore(rows, now)

    def handle_clock(self, now: float, wall_ms: int) -> None:
        self._begin(now)
        self._votes.handle_clock(now, wall_ms)
        self._intents.handle_clock(now, wall_ms)
        self._mesh.handle_clock(now, wall_ms)
        self._follow_rosters()  # those that were restored: a node that has nothing to say is to know the others, too

    def handle_timer(self, now: float) -> None:
        self._begin(now)
        for part in (self._votes, self._intents, self._mesh, self._carrying, self._literal):
            part.handle_timer(now)

    def next_timer(self) -> float | None:
        if not self._is_timed:
            self._is_timed = True
            parts = self._votes, self._intents, self._mesh, self._carrying, self._literal
            timers = [part.next_timer() for part in parts]
            self._timer = min((when for when in timers if when is not None), default=None)
        return self._timer

    def hear(self, node: str, messages: Iterable[Said], now: float) -> None:
        """From a node whom the transport has identified."""
        self._begin(now)
        voted: list[Message | Envelope] = []
        rumours: list[Rumour] = []
        for message in messages:
            if isinstance(message, Admit):
                self._welcome(node, message.member)
            (rumours if type(message) in RUMOURS else voted).append(message)  # type: ignore[arg-type]
        self._hearing.hear(node, voted, now, self._mesh.store.wall_ms(now))
        self._mesh.receive(node, rumours, now)
        for rumour in rumours:
            if isinstance(rumour, Beat):
                self._votes.speaks(node, rumour.wire, now)
            if isinstance(rumour, Probed) and self._mesh.is_heard(rumour.target, now):
                self._votes.hear(rumour.target, (), now)

    def reached(self, node: str, is_reached: bool, now: float) -> None:
        """The transport could bring something to the node, or could not."""
        self._begin(now)
        self._hearing.relay.reached(node, is_reached, now)
        if not is_reached:
            self._missed[node] = now
            self._mesh.missed(node, now)

    def check(self) -> None:
        for part in (self._votes, self._intents, self._mesh, self._hearing, self._literal):
            part.check()

    def counters(self) -> dict[str, int]:
        figures = self._literal.counters() | self._intents.counters()
        return figures | counted(self._votes, self._hearing, self._mesh)

    def gauges(self, now: float) -> dict[str, int]:
        measures = measured(self._votes, self._hearing, self._mesh, self._has_quorum(now), now)
        return self._literal.gauges() | self._intents.gauges(now) | measures

    # the directory's carrier

    def announce(self, id: int, announce: Announce | Exclude, now: float) -> Busy | None:
        """Busy at once, or None: applied() will name the question once the change is durable and applied."""
        self._begin(now)
        return self._carrying.announce(id, announce, now)

    def overruled(self, rows: Rows) -> list[tuple[bytes, bytes | None, int]]:
        return list(self._carrying.overruled(rows)) if self._me.carries else []

    def is_told(self, key: bytes) -> bool:
        """Whether all nodes are told of an eviction, or will be."""
        return not self._me.carries or self._carrying.is_told(key)

    def uncarried(self, rows: Rows) -> list[bytes]:
        """What the directory's table has and the mesh does not: it was the embedded carrier's, or is of this node."""
        return self._carrying.uncarried(rows) if self._me.carries else []

    def applied(self, change: Change, now: float) -> int | None:
        """It is durable and its readers have it; the question of announce() that it answers, if there is one."""
        if change.room != VOTED:
            self._begin(now)
            return self._carrying.applied(change, now)
        committed = self._to_spread.pop(change.seq, None)
        if committed is not None:
            self._begin(now)
            self._mesh.publish(committed, now)
        if self._me.literal:
            self._begin(now)
            namespace, key = change.key.decode().split("\0")
            self._literal.changed((namespace, key), now)
        return None

    # questions

    def ask(self, question: object, now: float) -> int:
        """Answer(id, …) follows, as questions.py says."""
        self._begin(now)
        match question:
            case Claim(record, keeps=True):
                return self._intents.claim(record, now)
            case Cancel(place, version, txid):
                return self._intents.cancel((place, version, txid), now)
            case Claim() if self._may_commit(question.record, now):
                return self._votes.claim(question.record, now)
            case Consult() if question.quorum and self._has_quorum(now):
                return self._votes.read(question.place, now)
            case ShowVotes(asks=True):
                return self._tally(now)
            case Force():
                return self._votes.force(question.roster, now)
            case Settle(place, version, txid) if self._may_settle((place, version, txid), now):
                return self._votes.status(place, version, txid, now)
            case _:
                pass
        id = next(self._ids)
        if isinstance(question, LiteralQuestion):
            self._literal.ask(id, question, now)
        elif isinstance(question, Settle):  # what is over is on disk before anybody is told, or it might be open again
            self._effects.append(Commit(then=(Answer(id, self._told(question, now)),)))
        else:
            self._effects.append(Answer(id, self._told(question, now)))
        return id

    def _tally(self, now: float) -> int:
        id, local = next(self._ids), open_votes(self.id, self._votes, self._intents)
        self._votes.tally.ask(id, local, tellers(self._votes, self._mesh), now)
        return id

    def _may_commit(self, record: Record, now: float) -> bool:
        """Whether so many voters seem to be there; what became of a version that is known they need not say."""
        held = self._votes.committed(record.place)
        is_known = held is not None and held.record.version >= record.version
        return is_known or self._has_quorum(now)

    def _may_settle(self, transaction: Transaction, now: float) -> bool:
        """Whether the votes are to say what became of it.

        What waits or waited here is known without them.  If it was never sent from here, that another was committed
        since says nothing new; that it was itself, as it can be if its client sent it elsewhere, does.
        """
        known, kept = self._votes.outcome(*transaction), self._intents.outcome(transaction)
        if kept is None:
            return known is not None or self._has_quorum(now)
        is_open = kept.state in (State.PENDING, State.UNKNOWN)
        return known is not None and (is_open or known.state is State.COMMITTED)

    def _has_quorum(self, now: float) -> bool:
        relay = self._hearing.relay
        missed = {name: when for name, when in self._missed.items() if not relay.has_way(name, now)}
        return self._votes.heard(now, missed) >= self._votes.roster.quorum

    def _told(self, question: object, now: float) -> object:
        match question:
            case Claim():
                return Busy(QUORUM_RETRY_S, f"{NO_QUORUM}: nothing was sent")
            case Consult():
                local = self._votes.local(question.place, now)
                return replace(local, is_known=local.is_known and not question.quorum)
            case Settle(place, version, txid):
                unknown = Outcome(State.UNKNOWN, self._votes.committed(place), NO_QUORUM)
                return self._intents.outcome((place, version, txid)) or unknown
            case ShowPeers():
                return peers_seen(self.id, self._me, self._votes, self._mesh, self._has_quorum(now), now)
            case ShowVotes():
                return open_votes(self.id, self._votes, self._intents)
            case LetIn():
                return self._votes.admit(question.member, now, question.signature, is_vouched=question.is_vouched)
            case Introduce():
                self._introduce(question, now)
                return Introduced(self.id, self._founding)
            case _:
                raise AssertionError(f"nobody answers {question!r}")

    # what the mesh spreads and repairs of the voted class: mesh.Voted

    def trees(self) -> dict[str, Merkle]:
        return self._votes.shelf.trees()

    def give(self, namespace: str, digests: Iterable[bytes], octets_max: int) -> list[Committed]:
        return self._votes.shelf.give(namespace, digests, octets_max)

    def learn(self, news: Committed | Proof, source: str, now: float) -> bool:
        if isinstance(news, Proof):
            alarms = len(self._votes.alarms)
            self._votes.hear(source, (Alarm(news),), now)
            return len(self._votes.alarms) > alarms
        before = self._votes.committed(news.record.place)
        self._votes.learn(news, now, source)
        return self._votes.committed(news.record.place) is not before

    def _learn_from_afar(self, committed: Committed, now: float) -> bool:
        """What a peer of the draft passes on: whether it is proved, and new; all strangers have one allowance."""
        if not self._guard.admits(STRANGERS, 1, now):
            return False
        forged, before = self._guard.counts["forged"], self._votes.committed(committed.record.place)
        self._votes.learn(committed, now)
        self._guard.charge(STRANGERS, self._guard.counts["forged"] - forged, now)
        is_new = self._votes.committed(committed.record.place) is not before
        if is_new:
            self._mesh.publish(committed, now)
        return is_new

    # what it holds: ledger's Held

    def voted(self) -> list[Committed]:
        return [held for place in self._votes.places if (held := self._votes.committed(place)) is not None]

    def gossiped(self) -> list[Gossiped]:
        return self._mesh.store.records()

    # effects

    def take_effects(self) -> list[Effect]:
        if self._is_idle:
            return []
        self._is_idle, self._is_timed = True, False
        while (
            effects := self._carrying.take_effects() + self._intents.take_effects() + self._votes.take_effects()
        ):  # what is numbered first goes first
            for effect in effects:
                self._place(effect)
            self._follow_rosters()
        effects, self._effects = self._effects, []
        effects = self._hearing.routed(effects, self._now, self._mesh.store.wall_ms(self._now))
        return effects + self._literal.take_effects()

    def _begin(self, now: float) -> None:
        self._now, self._is_idle, self._is_timed = now, False, False

    def _place(self, effect: Effect) -> None:
        """Commits get the changes of the feed that they make; what is for the other half goes there."""
        match effect:
            case Commit():
                self._effects.append(self._noted(effect))
            case Ask(body=Spread(news)):
                self._mesh.publish(news, self._now)
            case Ask(body=Fetch(node, place)):
                self._mesh.fetch(node, place, self._now)
            case _:
                self._effects.append(effect)

    def _noted(self, commit: Commit) -> Commit:
        puts, then = list(commit.puts), list[Effect]()
        news: dict[Place, Committed] = {}
        made: list[Change] = []
        for effect in commit.then:
            match effect:
                case Ask(body=Stored(committed)):
                    change, rows = self._change(committed)
                    puts += rows
                    made.append(change)
                    then.append(Apply(change))
                case Ask(body=Spread(Committed() as committed)):
                    news[committed.record.place] = committed
                case Ask(body=Spread(proof)):
                    self._mesh.publish(proof, self._now)
                case Answer(id, Outcome() as outcome) if self._intents.expects(id):
                    self._intents.answered(id, outcome, self._now)
                case Apply(change) if change.room == ROOM:
                    puts += [] if self.keeps(change) else [Put(RECORDS, change.key, change.value)]
                    then.append(effect)
                case _:
                    then.append(effect)
        for change in made:
            namespace, key = change.key.decode().split("\0")
            committed_here = news.pop((namespace, key), None)
            if committed_here is not None:
                self._to_spread[change.seq] = committed_here
        for committed in news.values():
            self._mesh.publish(committed, self._now)
        return Commit(commit.files, tuple(puts), tuple(then))

    def _change(self, committed: Committed) -> tuple[Change, tuple[Put, ...]]:
        record = committed.record
        key = "\0".join(record.place).encode()
        wall_ms = self._mesh.store.wall_ms(self._now)
        kept = HISTORY, history_key(record.place, record.version)
        return self._feed.add(VOTED, key, record.version, committed.encode(), wall_ms, kept)

    # who is there

    def _follow_rosters(self) -> None:
        while self._epoch < self._votes.epoch:
            self._epoch += 1
            roster = self._votes.known(self._epoch)
            assert roster is not None
            self._mesh.set_roster(roster, self._now)
            self._hearing.set_roster(roster)
            self._has_moved = True
        if not self._has_moved:
            return
        self._has_moved = False
        members = self._votes.roster.members
        urls = dict(self._me.contacts) | self._guests | {member.name: member.url for member in members if member.url}
        keys, pins = (
            {member.name: member.key for member in members},
            {each.name: each.tls for each in members if each.tls},
        )
        reach = Reach(self.id, urls, keys, pins)
        self.others = {name: key for name, key in reach.keys.items() if name != self._me.name}
        if reach != self._reach:
            self._reach = reach
            self._missed = {name: when for name, when in self._missed.items() if name in urls}
            self._effects.append(Ask(next(self._ids), reach))

    def _introduce(self, question: Introduce, now: float) -> None:
        """A node that nobody can reach is not of the roster's business, but for the one that founds a network."""
        assert self._votes.incarnation is not None
        if question.url:
            member = self._me.member(self._votes.incarnation, question.url, question.tls)
            self._votes.seek(member, self._me.contacts, now)

    def _welcome(self, node: str, member: Member) -> None:
        """It asks to be let in, and is to be answered where it says that it is."""
        if node == member.name and node not in self._votes.roster.nodes:
            self._guests.pop(node, None)
            if len(self._guests) >= GUESTS_MAX:
                del self._guests[next(iter(self._guests))]
            self._guests[node] = member.url
            self._has_moved = True
