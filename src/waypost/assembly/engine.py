"""The node as one engine.

Datagrams go to the CoAP server, its requests to the directory's interface, the directory's
announcements to the carrier, and every change, once durable, back to the directory.  The same
questions come from outside by ask(), and their outcomes leave as Answer.

Source: design, "The picture" and Contracts.
"""

import itertools
from collections.abc import Hashable, Iterable
from dataclasses import replace
from random import Random
from typing import Final, cast

from waypost.assembly.carrier import ROOM, Carrier
from waypost.assembly.installation import Installation, Introduce, LetIn
from waypost.assembly.network import VOTED, Network
from waypost.assembly.questions import Follow, Followed, Report, Review, Status
from waypost.coap.links import filter_links
from waypost.coap.numbers import LINK_FORMAT, Code
from waypost.coap.peer import Peer
from waypost.coap.request import Request, Response, diagnostic
from waypost.coap.server import DISCOVERY
from waypost.drip.literal import Heard, Leave, ShowLiteral, Take
from waypost.drip.parcel import Said
from waypost.drip.questions import Cancel, Claim, Consult, Force, Settle, ShowPeers, ShowVotes
from waypost.engine import Answer, Ask, Commit, Effect, Path, Rows
from waypost.identity.admission import Gate
from waypost.identity.policy import THE_NODE, Action, Decide
from waypost.identity.token import TokenQuestion
from waypost.identity.tokens import Tokens
from waypost.ledger import questions as ledger
from waypost.ledger.engine import LedgerEngine
from waypost.rd import interface
from waypost.rd.access import ANYTHING, decide_range, may_observe
from waypost.rd.engine import Directory, Settings
from waypost.rd.evictions import ROOM as EVICTED
from waypost.rd.observation import Query
from waypost.rd.questions import Announce, Announced, Exclude, Fetch, Found, Lookup, Outcome, Question, Read, Refused
from waypost.record import Change
from waypost.record.feed import Feed
from waypost.record.gossiped import VALUE_MAX

POLICY_RETRY: Final = 1  # seconds
OF_VOTES: Final = (Cancel, Claim, Consult, Force, Settle, ShowPeers, ShowVotes)
OF_NETWORK: Final = (*OF_VOTES, Introduce, LetIn, Heard, Take, Leave, ShowLiteral)
IDEMPOTENT: Final = frozenset({("rd",), ("rd", "")})  # RFC 9176, 5: registering again is registering once


class Assembly:
    """`decide` is the policy: every question from outside is put to it, here or in the room it is for.

    `gate` limits what one asker may send; None, nobody is limited.  Without an `installation` there is no network.
    """

    def __init__(
        self,
        rng: Random,
        settings: Settings,
        decide: Decide,
        gate: Gate | None = None,
        installation: Installation | None = None,
    ) -> None:
        # One for all rooms: an answer finds its asker by its number.  What other nodes answer is of this run alone.
        ids = itertools.count(1 if installation is None else rng.getrandbits(48))
        self._ids = ids
        self._feed = Feed(rng)
        self._durable = 0  # the last change that is on disk
        self._decide = decide
        self._wants_echo = settings.freshness == "echo"
        self._gate = Gate(0, 1) if gate is None else gate
        self._coap = Peer(rng, self._serve, ids, idempotent=IDEMPOTENT, admit=self._admit, shares=self._shares)
        if installation is not None and installation.carries:
            settings = replace(settings, node=installation.name, record_octets_max=VALUE_MAX)
        self._directory = Directory(rng, ids, settings, decide)
        self._network = Network(rng, ids, self._feed, installation) if installation else None
        self._ledger = None
        if installation is not None and installation.notary is not None and self._network is not None:
            key = bytes.fromhex(installation.key)
            self._ledger = LedgerEngine(rng, ids, installation.notary, key, self._network)
        self._embedded = Carrier(self._feed)
        carries = self._network is not None and installation is not None and installation.carries
        self._carrier = self._network if carries and self._network is not None else self._embedded
        self._tokens = Tokens(rng, decide)
        self._fetching: dict[int, int] = {}  # the client's number -> the directory's
        self._observers: dict[int, Lookup] = {}  # requests to observe whose first answer comes later
        self._has_stirred = (
            True  # CoAP or the directory since next_timer() asked them: what nodes say is no affair of theirs
        )
        self._stirs_at: tuple[float | None, float | None] = None, None
        self._followers: dict[int, int] = {}  # questions that wait for a change -> the last one they know
        self._effects: list[Effect] = []

    @property
    def name(self) -> str:
        """Of this node, from its first start on."""
        return self._feed.id.hex()

    # the engine's calls

    def restore(self, rows: Rows, now: float) -> None:
        puts, last = self._feed.restore(rows)
        self._durable = self._feed.seq
        if puts:
            self._effects.append(Commit(puts=puts))
        self._embedded.restore(last)
        self._directory.restore(rows, now)
        if self._network is not None:
            self._network.restore(rows, now)
            self._directory.say(self._network.uncarried(rows), self._network.overruled(rows), self._network.is_told)
            self._network.keeps = self._directory.keeps
        if self._ledger is not None and self._network is not None:
            self._ledger.restore(rows, self._network.id, now)
            for change in self._feed.since(rows, VOTED, self._ledger.cursor):
                self._ledger.apply(change, now)
        self._tokens.restore(rows)

    def handle_clock(self, now: float, wall_ms: int) -> None:
        self._embedded.handle_clock(now, wall_ms)
        if self._network is not None:
            self._network.handle_clock(now, wall_ms)
        if self._ledger is not None:
            self._ledger.handle_clock(now, wall_ms)
        self._directory.handle_clock(now, wall_ms)
        self._has_stirred = True
        self._tokens.handle_clock(now, wall_ms)

    def receive_datagram(self, data: bytes, path: Path, now: float) -> None:
        self._has_stirred = True
        if self._coap.receive_datagram(data, path, now):
            self._join(now)

    def hear(self, node: str, messages: Iterable[Said], now: float) -> None:
        """From a node of the network, whom the transport has identified."""
        assert self._network is not None
        self._network.hear(node, messages, now)

    def reached(self, node: str, is_reached: bool, now: float) -> None:
        """The transport could bring something to a node of the network, or could not."""
        assert self._network is not None
        self._network.reached(node, is_reached, now)

    def closed(self, path: Path, now: float) -> None:
        """The connection is no more."""
        self._coap.closed(path, now)
        self._join(now)

    def ask(self, question: object, now: float) -> int:
        """Answer(id, …) follows: a Report to Status, a Followed to Follow, an Outcome to a Question.

        What is asked of tokens is answered as token.py says, of the network as drip/questions.py and
        drip/literal.py do.
        """
        if isinstance(question, OF_NETWORK):
            assert self._network is not None, f"nobody answers {question!r}"
            return self._network.ask(question, now)
        if isinstance(question, ledger.LedgerQuestion):
            assert self._ledger is not None, f"nobody answers {question!r}"
            return self._ledger.ask(question, now)
        id = next(self._ids)
        result: object = None
        if isinstance(question, TokenQuestion):
            self._tokens.ask(id, question, now)
        elif isinstance(question, Status):
            result = self._report(now)
        elif isinstance(question, Review):
            result = self._review(now)
        elif isinstance(question, Follow):
            result = self._follow(id, question)
        else:
            assert isinstance(question, Question), f"nobody answers {question!r}"
            result = self._directory.ask(id, question, now)
        if result is not None:
            self._effects.append(Answer(id, result))
        self._join(now)
        return id

    def answered(self, id: int, result: object, now: float) -> None:
        """Of what is asked of the world, only the ledger's calls are answered."""
        assert self._ledger is not None, f"nobody asked {id}"
        self._ledger.answered(id, result, now)

    def apply(self, change: Change, now: float) -> None:
        if self._ledger is not None and change.room in (VOTED, ledger.ROOM):
            self._ledger.apply(change, now)
        if change.room == ledger.ROOM:  # not of the feed
            return
        self._durable = change.seq
        carrier: Carrier | Network = self._carrier
        if change.room == ROOM:
            self._directory.apply(change, now)
        elif self._network is not None:
            carrier = self._network
            if change.room == EVICTED:
                self._directory.excluded(change, now)
        answered = carrier.applied(change, now)
        if answered is not None:
            self._directory.answered(answered, Announced(), now)
        self._tell_followers()
        if change.room != VOTED:  # what was voted on concerns neither the directory nor its clients
            self._join(now)

    def handle_timer(self, now: float) -> None:
        self._coap.handle_timer(now)
        self._directory.handle_timer(now)
        if self._network is not None:
            self._network.handle_timer(now)
        if self._ledger is not None:
            self._ledger.handle_timer(now)
        self._join(now)

    def next_timer(self) -> float | None:
        if self._has_stirred:
            self._has_stirred = False
            self._stirs_at = self._coap.next_timer(), self._directory.next_timer()
        timers = [*self._stirs_at]
        if self._network is not None:
            timers.append(self._network.next_timer())
        if self._ledger is not None:
            timers.append(self._ledger.next_timer())
        return min((when for when in timers if when is not None), default=None)

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        effects += self._tokens.take_effects() + self._embedded.take_effects() + self._coap.take_effects()
        if self._network is not None:
            effects += self._network.take_effects()
            if self._ledger is not None:
                if self._network.others is not None:
                    self._ledger.set_members(self._network.others)
                effects += self._ledger.take_effects()
        return effects

    def check(self) -> None:
        self._coap.check()
        self._directory.check()
        self._tokens.check()
        if self._network is not None:
            self._network.check()
        if self._ledger is not None:
            self._ledger.check()

    def _admit(self, path: Path, now: float) -> int:
        return self._gate.take(path.who, path.peer.host, now)

    # joining

    def _serve(self, request: Request, path: Path, now: float) -> Response | None:
        if request.path == DISCOVERY and request.method != Code.POST:
            decision = self._decide(path.who, Action.DISCOVER, THE_NODE)
            return _well_known(request) if decision.allowed else diagnostic(Code.FORBIDDEN, decision.reason)
        question = interface.question(request, path)
        if isinstance(question, Response):
            return question
        if self._wants_echo and not (request.verified or path.validated) and not isinstance(question, Lookup | Read):
            return Response(Code.UNAUTHORIZED)  # RFC 9176, 5.3.4: the server adds an Echo value
        observed = question if request.observe == 0 and isinstance(question, Lookup) else None
        outcome = self._directory.ask(request.id, question, now)
        if outcome is not None:
            return self._response(outcome, observed)
        if observed is not None:
            self._observers[request.id] = observed
        return None

    def _shares(self, path: Path) -> bool:
        """An answer that is kept is for those who may see all; the policy is asked each time."""
        decision = self._decide(path.who, Action.LOOK_UP, ANYTHING)
        return decision.allowed and decision.view is None

    def _response(self, outcome: Outcome, observed: Lookup | None) -> Response:
        response = interface.response(outcome)
        if observed is not None and isinstance(outcome, Found) and may_observe(self._decide, observed):
            response.observe = self._directory.plans.observable(observed, outcome)
        return response

    def _join(self, now: float) -> None:
        """Hand questions and answers on between the rooms until they have no more."""
        self._has_stirred = True
        while self._hand_on(now) or self._tell_observers(now):
            pass

    def _hand_on(self, now: float) -> bool:
        effects = self._directory.take_effects() or self._coap.client.take_answers()
        for effect in effects:
            if isinstance(effect, Ask):  # not by patterns, which take several times as long
                self._put(effect.id, effect.body, now)
            elif not isinstance(effect, Answer):
                self._effects.append(effect)
            elif self._coap.server.waits_for(effect.id):
                response = self._response(cast(Outcome, effect.result), self._observers.pop(effect.id, None))
                self._coap.server.respond(effect.id, response, now)
            elif effect.id in self._fetching:
                self._directory.answered(self._fetching.pop(effect.id), effect.result, now)
            else:
                self._effects.append(effect)
        return bool(effects)

    def _put(self, id: int, question: object, now: float) -> None:
        """A question of the directory to whoever answers it."""
        if isinstance(question, Announce | Exclude):
            busy = self._carrier.announce(id, question, now)
            if busy is not None:
                self._directory.answered(id, busy, now)
            return
        assert isinstance(question, Fetch), f"nobody answers {question!r}"
        number = self._coap.fetch(question.call, question.path, question.id, question.octets_max, now)
        self._fetching[number] = id

    def _tell_observers(self, now: float) -> bool:
        """RFC 9176, 6.2: what is observed goes to the directory, what has changed to its observers."""
        observed = self._coap.server.take_observed()
        for query, begins in observed:
            assert isinstance(query, Query)
            if begins:
                self._directory.plans.begin(query, now)
            else:
                self._directory.plans.end(query)
        changed = self._directory.plans.take_changed()
        for query, outcome in changed:
            self._coap.server.changed(query, interface.response(outcome), now)
        return bool(observed or changed)

    def _follow(self, id: int, question: Follow) -> Followed | None:
        if self._durable > question.after:
            return self._followed()
        self._followers[id] = question.after
        return None

    def _followed(self) -> Followed:
        return Followed(self._feed.id, self._durable)

    def _tell_followers(self) -> None:
        """Those who do not know the last change."""
        if self._followers:
            self._answer_followers([id for id, after in self._followers.items() if self._durable > after])

    def _answer_followers(self, ids: list[int]) -> None:
        for id in ids:
            del self._followers[id]
            self._effects.append(Answer(id, self._followed()))

    def _review(self, now: float) -> Report:
        """Whoever follows the feed wakes, and asks the policy itself."""
        self._directory.review()
        self._coap.server.review(self._judge, now)
        self._answer_followers(list(self._followers))
        return self._report(now)

    def _judge(self, path: Path, query: Hashable) -> Response | None:
        assert isinstance(query, Query)
        lookup = query.lookup
        lookup.who = path.who
        if may_observe(self._decide, lookup):
            return None
        refused = decide_range(self._decide, lookup)
        if isinstance(refused, Refused):
            return interface.response(refused)
        return diagnostic(Code.SERVICE_UNAVAILABLE, "the policy has changed: ask again", POLICY_RETRY)

    def _report(self, now: float) -> Report:
        gauges = {
            "askers": len(self._gate),
            "changes_waiting": self._feed.seq - self._durable,
            "changes": self._feed.seq,
        }
        network = self._network
        return Report(
            {
                **self._coap.counters(),
                **self._directory.counters(),
                **self._tokens.counters(),
                **(network.counters() if network else {}),
                **(self._ledger.counters() if self._ledger else {}),
            },
            {
                **gauges,
                **self._coap.gauges(),
                **self._directory.gauges(),
                **self._tokens.gauges(),
                **(network.gauges(now) if network else {}),
                **(self._ledger.gauges(now) if self._ledger else {}),
            },
        )


def _well_known(request: Request) -> Response:
    """RFC 6690, 4: what this server has, filtered."""
    if request.method != Code.GET:
        return diagnostic(Code.METHOD_NOT_ALLOWED, "ask with GET")
    if request.accept not in (None, LINK_FORMAT):
        return diagnostic(Code.NOT_ACCEPTABLE, "application/link-format (40) is what there is")
    return Response(Code.CONTENT, filter_links(interface.RESOURCES, request.query), LINK_FORMAT)
