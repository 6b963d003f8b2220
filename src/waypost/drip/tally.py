"""Who voted what on the votes under way: every voter knows its own part, and whoever calls for votes who refused it.

A node that is asked answers with what it has, up to a limit; one that asks puts the answers together, as many as come
in time.  A voter's mark is shown where it verifies, so that nobody can say for another that it voted.  None of this
changes anything of any vote.

Times are seconds of the caller's monotonic clock.

Source: notes on DRiP, 4.3 (READ, which goes the same ways) and 4.8.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from itertools import islice
from random import Random
from typing import Final

from waypost.drip.book import Book
from waypost.drip.messages import CALLS_MAX, PARTS_MAX, Called, Part, TallyAnswer, TallyRequest
from waypost.drip.outbox import Outbox
from waypost.drip.proposer import Proposer
from waypost.drip.questions import OPEN_MAX, Open, VoterSaid, Votes
from waypost.drip.roster import Electorate
from waypost.drip.voter import Credentials
from waypost.engine import Deadlines
from waypost.record import NEVER, Ballot, Mark, Matter, Place, Vote
from waypost.record.vote import is_marked

ASKING_MAX: Final = 16  # questions under way
ASKED_MAX: Final = 64  # nodes, for one of them

Version = tuple[Place, int]


@dataclass(slots=True)
class Asking:
    """`local` is what this node knows by itself; `able` may be asked; `left` have not answered."""

    id: int
    local: Votes
    able: Collection[str]
    silent: dict[str, None]
    left: dict[str, None] = field(default_factory=dict)
    answers: dict[str, TallyAnswer] = field(default_factory=dict)


class Tally:
    """`patience_s` is how long an answer is waited for."""

    def __init__(
        self,
        book: Book,
        electorate: Electorate,
        credentials: Credentials,
        proposer: Proposer,
        patience_s: float,
        rng: Random,
        outbox: Outbox,
    ) -> None:
        self._book = book
        self._electorate = electorate
        self._credentials = credentials
        self._proposer = proposer
        self._patience_s = patience_s
        self._rng = rng
        self._outbox = outbox
        self._asking: dict[int, Asking] = {}  # by a nonce: an answer may come after a restart
        self._deadlines: Deadlines[int] = Deadlines()

    def ask(self, id: int, local: Votes, able: Collection[str], now: float) -> None:
        """Of the voters, and of who calls for the votes known here: answered under `id` with Votes."""
        asking = Asking(id, local, able, {})
        if len(self._asking) >= ASKING_MAX:
            asking.silent = dict.fromkeys(self._voters())
            self._answer(asking)
            return
        nonce = self._rng.getrandbits(52)
        self._asking[nonce] = asking
        self._deadlines.set(nonce, now + self._patience_s)
        for name in self._voters():
            self._ask(nonce, name)
        for vote in local.open:
            self._ask(nonce, vote.promised.node)
        self._conclude(nonce)

    def receive(self, node: str, message: TallyRequest | TallyAnswer) -> None:
        if isinstance(message, TallyRequest):
            if self._electorate.is_node(node):
                self._outbox.tell_now(node, self._own(message.id))
            return
        asking = self._asking.get(message.id)
        if asking is None or node not in asking.left:
            return
        del asking.left[node]
        asking.answers[node] = self._sound(node, message)
        for part in message.parts:
            self._ask(message.id, part.promised.node)
        self._conclude(message.id)

    def handle_timer(self, now: float) -> None:
        for nonce in self._deadlines.pop_due(now):
            asking = self._asking.pop(nonce)
            asking.silent |= asking.left
            self._answer(asking)

    def next_timer(self) -> float | None:
        return self._deadlines.next()

    def called(self, place: Place) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
        """Who has voted yes and who no, and why, where this node calls for the votes."""
        call = next((call for call in self._calls() if (call.namespace, call.key) == place), None)
        return (tuple(mark.voter for mark in call.yes), call.no) if call else ((), ())

    def check(self) -> None:
        assert len(self._asking) <= ASKING_MAX
        assert all(asking.left for asking in self._asking.values()), "nobody is waited for"

    # Asking

    def _voters(self) -> list[str]:
        return [voter.name for voter in self._electorate.roster.voters if voter.name != self._electorate.name]

    def _ask(self, nonce: int, name: str) -> None:
        asking = self._asking[nonce]
        asked = asking.silent.keys() | asking.left.keys() | asking.answers.keys()
        if name == self._electorate.name or not self._electorate.is_node(name) or name in asked:
            return
        if name not in asking.able or len(asked) >= ASKED_MAX:
            asking.silent[name] = None
            return
        asking.left[name] = None
        self._outbox.tell_now(name, TallyRequest(nonce))

    def _conclude(self, nonce: int) -> None:
        if not self._asking[nonce].left:
            self._deadlines.clear(nonce)
            self._answer(self._asking.pop(nonce))

    def _answer(self, asking: Asking) -> None:
        answers = {self._electorate.name: self._own(0)} | asking.answers
        parts: dict[Version, dict[str, Part]] = {}
        calls: dict[Version, Called] = {}
        for node, answer in answers.items():
            for part in answer.parts:
                parts.setdefault(((part.namespace, part.key), part.version), {})[node] = part
            for call in answer.calls:
                version = (call.namespace, call.key), call.version
                if version not in calls or calls[version].ballot < call.ballot:
                    calls[version] = call
        local = {(vote.place, vote.version): vote for vote in asking.local.open}
        under_way = (each for each in {**local, **parts, **calls} if each[1] > self._book.version(each[0]))
        votes = tuple(_merged(each, local.get(each), parts.get(each, {}), calls.get(each)) for each in under_way)
        total = max(len(votes), *(answer.total for answer in answers.values()))
        told = replace(
            asking.local, open=votes[:OPEN_MAX], total=total, asked=tuple(answers), silent=tuple(asking.silent)
        )
        self._outbox.answer(asking.id, told)

    # Telling

    def _own(self, id: int) -> TallyAnswer:
        instances = self._book.instances
        return TallyAnswer(
            id,
            tuple(self._part(place) for place in islice(instances, PARTS_MAX)),
            tuple(islice(self._calls(), CALLS_MAX)),
            len(instances),
        )

    def _part(self, place: Place) -> Part:
        instance = self._book.instances[place]
        accepted = instance.accepted
        matter = Matter.of(accepted.record, accepted.ballot, self._credentials.network) if accepted else None
        return Part(*place, instance.version, instance.promised, matter, instance.mark)

    def _calls(self) -> Iterable[Called]:
        for place, attempt in self._proposer.attempts.items():
            marks = tuple(vote.mark for _, vote in sorted(attempt.votes.items()))
            no = tuple((name, attempt.denials.get(name, "")) for name in attempt.refusals)
            yield Called(*place, attempt.version, attempt.ballot, attempt.matter, marks if attempt.matter else (), no)

    # What others say

    def _sound(self, node: str, answer: TallyAnswer) -> TallyAnswer:
        """Without what does not verify."""
        parts = tuple(part for part in answer.parts if self._is_own(node, part))
        calls = []
        for call in answer.calls:
            matter = call.matter
            slot = (call.namespace, call.key), call.version, call.ballot
            fits = matter is None or (matter.place, matter.version, matter.ballot) == slot
            marks = tuple(mark for mark in call.yes if matter and self._is_marked(matter, mark))
            if fits and call.ballot.node == node:
                calls.append(Called(call.namespace, call.key, call.version, call.ballot, matter, marks, call.no))
        return TallyAnswer(answer.id, parts, tuple(calls), answer.total)

    def _is_own(self, node: str, part: Part) -> bool:
        matter, mark = part.matter, part.mark
        if matter is None:
            return mark is None
        fits = (matter.place, matter.version) == ((part.namespace, part.key), part.version)
        return fits and (mark is None or (mark.voter == node and self._is_marked(matter, mark)))

    def _is_marked(self, matter: Matter, mark: Mark) -> bool:
        roster = self._electorate.known(matter.ballot.epoch)
        credentials = self._credentials
        return roster is not None and is_marked(matter, mark, roster, credentials.network, credentials.verify)


def _merged(version: Version, local: Open | None, parts: dict[str, Part], call: Called | None) -> Open:
    """`yes` are the signed votes at the highest ballot at which there are any."""
    said = tuple(VoterSaid(node, part.promised, *_accepted(part)) for node, part in parts.items())
    signed: dict[tuple[Ballot, str], dict[str, None]] = {}
    for each in said:
        if each.vote is not None:
            signed.setdefault((each.accepted, each.hash), {})[each.node] = None
    if call is not None and call.matter is not None:
        for mark in call.yes:
            signed.setdefault((call.matter.ballot, call.matter.hash), {})[mark.voter] = None
    highest = max(signed, default=None)
    if local is None:
        promised = max((each.promised for each in said), default=call.ballot if call else NEVER)
        accepted = highest or max(((each.accepted, each.hash) for each in said), default=(NEVER, ""))
        local = Open(*version, promised, *accepted, None)
    yes = tuple(sorted(signed[highest])) if highest else ()
    return replace(local, yes=yes, no=call.no if call else (), said=said)


def _accepted(part: Part) -> tuple[Ballot, str, Vote | None]:
    if part.matter is None:
        return NEVER, "", None
    return part.matter.ballot, part.matter.hash, Vote(part.matter, part.mark) if part.mark else None
