"""Anti-entropy: find what another node has and this one lacks, and pull it.

A session asks a peer for its roots; for each space (a namespace of the gossiped or the voted class) whose root differs
it walks the peer's tree page by page, and pulls what is newer there.  The peer keeps nothing of it, and learns from
heartbeats that it should walk as well: nobody sends what was not asked for.  A question that is not answered is asked
again; a session that broke off, or came to its bounds, is made good by the next one, which finds what still differs and
no more.

Sessions begin every EVERY seconds with a random peer, and whenever start() is called: on join with peers of two
organisations, when a peer comes back, and when a neighbour's heartbeat shows another root.

Source: notes on DRiP, 4.5, 4.11, G13 and G14.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol

from waypost.drip.merkle import BUCKET_MAX, PAGE_MAX, Merkle, Summary, Walk
from waypost.drip.rumours import Branch, Page, PageRequest, Pull, Pulled, Roots, RootsRequest, Rumour, spread_of
from waypost.engine import Deadlines
from waypost.record import Committed
from waypost.record.gossiped import Gossiped

EVERY: Final = 30.0  # seconds, give or take a tenth
ASK_AGAIN: Final = 2.0  # seconds
ASKS_MAX: Final = 4  # times, then the session ends
SESSIONS_MAX: Final = 4
PULL_MAX: Final = 512  # records asked for at once
PULL_OCTETS_MAX: Final = 384 << 10  # of the records in one answer
QUESTIONS_MAX: Final = 5_000  # in one session

Question = RootsRequest | PageRequest | Pull


class Replica(Protocol):
    """What is kept alike: spaces of records, each with its tree."""

    def trees(self) -> Mapping[str, Merkle]: ...
    def tree(self, space: str) -> Merkle | None:
        """An empty one for a space that is not there yet and could be; None: it cannot."""
        ...

    def give(self, space: str, digests: Iterable[bytes], octets_max: int, now: float) -> list[Gossiped | Committed]:
        """As many as fit, in order: one at least, if there is one."""
        ...


@dataclass(slots=True)
class Session:
    id: int
    asked: Question
    asks: int = 0
    questions: int = 0
    spaces: list[str] = field(default_factory=list)  # still to be walked
    space: str = ""  # of the walk
    walk: Walk | None = None
    changed: int = 0  # records that were new here


@dataclass(frozen=True, slots=True)
class Ended:
    """`complete`: all that the peer had and was newer was asked for; `changed` records were new."""

    peer: str
    complete: bool
    changed: int


class Repair:
    """Messages out are gathered in `out`, ends of sessions in `ended`, for the owner to take.

    A session asks `questions_max` questions at most.

    Records that a Pulled brings are the owner's to accept, before receive_pulled().
    """

    def __init__(self, rng: Random, replica: Replica, *, questions_max: int = QUESTIONS_MAX) -> None:
        self._rng = rng
        self._questions_max = questions_max
        self._replica = replica
        self._sessions: dict[str, Session] = {}
        self._deadlines: Deadlines[str] = Deadlines()  # "" is the next random peer
        self._count = 0
        self.out: list[tuple[str, Rumour]] = []
        self.ended: list[Ended] = []

    def begin(self, now: float) -> None:
        self._deadlines.set("", now + EVERY * self._rng.uniform(0.9, 1.1))

    def start(self, peer: str, now: float) -> None:
        """Unless there is a session with it already, or too many are under way."""
        if peer not in self._sessions and len(self._sessions) < SESSIONS_MAX:
            self._count += 1
            session = Session(self._count, RootsRequest(self._count))
            self._sessions[peer] = session
            self._ask(peer, session, session.asked, now)

    def is_with(self, peer: str) -> bool:
        return peer in self._sessions

    def gone(self, peer: str) -> None:
        """It is not there any more."""
        if peer in self._sessions:
            self._end(peer, complete=False)

    # what we are asked

    def answer(self, peer: str, question: Question, now: float) -> None:
        trees = self._replica.trees()
        match question:
            case RootsRequest():
                self.out.append((peer, Roots(question.id, {name: tree.root().hex() for name, tree in trees.items()})))
            case PageRequest():
                tree = trees.get(question.space)
                if tree is not None:
                    summaries = map(tree.summary, question.prefixes)
                    branches = tuple(Branch(each.prefix, each.leaves, each.children) for each in summaries)
                    self.out.append((peer, Page(question.id, branches)))
            case Pull():
                news = spread_of(self._replica.give(question.space, question.digests, PULL_OCTETS_MAX, now))
                self.out.append((peer, Pulled(question.id, news.records, news.commits)))

    # what we asked for

    def receive_roots(self, peer: str, roots: Roots, now: float) -> None:
        session = self._expected(peer, roots.id, RootsRequest)
        if session is not None:
            session.spaces = [
                space
                for space, root in roots.roots.items()
                if (tree := self._replica.tree(space)) is not None and tree.root().hex() != root
            ]
            self._go_on(peer, session, now)

    def receive_page(self, peer: str, page: Page, now: float) -> None:
        session = self._expected(peer, page.id, PageRequest)
        if session is None or session.walk is None:
            return
        sound = [session.walk.receive(Summary(each.prefix, each.leaves, each.children)) for each in page.branches]
        if page.branches and all(sound):
            self._go_on(peer, session, now)
        else:
            self._end(peer, complete=False)

    def receive_pulled(self, peer: str, pulled: Pulled, digests: Iterable[bytes], changed: int, now: float) -> None:
        """`digests` of the keys that came; `changed` of the records were new.

        What was asked for and stood before the last that came is not there any more; the rest did not fit.
        """
        session = self._expected(peer, pulled.id, Pull)
        if session is None or session.walk is None:
            return
        assert isinstance(session.asked, Pull)
        session.changed += changed
        came = set(digests)
        last = max((place for place, digest in enumerate(session.asked.digests) if digest in came), default=None)
        done = session.asked.digests if last is None else session.asked.digests[: last + 1]
        for digest in done:
            session.walk.wanted.pop(digest, None)
        self._go_on(peer, session, now)

    def is_asked(self, peer: str, id: int) -> bool:
        """Whether a Pulled of that number is what we wait for: nobody else's records are looked at."""
        return self._expected(peer, id, Pull) is not None

    def handle_timer(self, candidates: Iterable[str], now: float) -> None:
        for peer in self._deadlines.pop_due(now):
            if not peer:
                self.begin(now)
                others = [name for name in candidates if name not in self._sessions]
                if others:
                    self.start(self._rng.choice(others), now)
                continue
            session = self._sessions[peer]
            if session.asks < ASKS_MAX:
                self._ask(peer, session, session.asked, now)
            else:
                self._end(peer, complete=False)

    def next_timer(self) -> float | None:
        return self._deadlines.next()

    def check(self) -> None:
        assert len(self._sessions) <= SESSIONS_MAX
        assert all(session.questions <= self._questions_max + ASKS_MAX for session in self._sessions.values())
        walks = (session.walk for session in self._sessions.values() if session.walk is not None)
        assert all(len(walk.wanted) <= PULL_MAX + PAGE_MAX * BUCKET_MAX for walk in walks)

    def _go_on(self, peer: str, session: Session, now: float) -> None:
        """Pull when there is enough to pull, or nothing left to look at; else the next page, the next space."""
        if session.walk is not None:
            session.walk.forget_arrived()
        while session.walk is None or not (session.walk.wanted or session.walk.page()):
            if not session.spaces:
                self._end(peer, complete=True)
                return
            session.space = session.spaces.pop()
            tree = self._replica.tree(session.space)
            session.walk = None if tree is None else Walk(tree)
        if session.questions >= self._questions_max:
            self._end(peer, complete=False)
            return
        self._count += 1
        wanted, page = session.walk.wanted, session.walk.page()
        if len(wanted) >= PULL_MAX or not page:
            # Not in order: sessions with others may be pulling the same records.
            digests = self._rng.sample(list(wanted), min(PULL_MAX, len(wanted)))
            question: Question = Pull(self._count, session.space, tuple(digests))
        else:
            question = PageRequest(self._count, session.space, tuple(page[:PAGE_MAX]))
        session.asks = 0
        self._ask(peer, session, question, now)

    def _ask(self, peer: str, session: Session, question: Question, now: float) -> None:
        session.id, session.asked = question.id, question
        session.asks += 1
        session.questions += 1
        self.out.append((peer, question))
        self._deadlines.set(peer, now + ASK_AGAIN * session.asks)

    def _expected(self, peer: str, id: int, kind: type[Question]) -> Session | None:
        session = self._sessions.get(peer)
        return session if session is not None and session.id == id and isinstance(session.asked, kind) else None

    def _end(self, peer: str, *, complete: bool) -> None:
        session = self._sessions.pop(peer)
        self._deadlines.clear(peer)
        self.ended.append(Ended(peer, complete, session.changed))
