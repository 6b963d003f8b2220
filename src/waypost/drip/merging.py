"""How a voter of a new term learns what those of the last had committed and accepted, before it votes.

Q sealed voters of the last term tell it: of each vote that was open what they had accepted, of which the highest ballot
counts; and what is committed.  Then it has joined.

What is committed differs little, so it is found by comparing trees (merkle.py) and only that is pulled.  In this order:
a sealed voter accepts nothing more in the last term, but it may still learn that what it had accepted is committed.
Whoever asks for what was accepted first, and for trees then, meets each such record in one place or in both.  So a
snapshot has the roots of the moment when it was made, and nothing is left to ask for once this voter has, of each key,
the version that the other had or a later one.

A node of before does not read `brief`, and tells everything page by page; so does any, where the questions about trees
are not answered, as where they would have to go by way of others.

Source: notes on DRiP, 4.9 (rules 2 to 5), 4.11 (Merkle trees).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import nsmallest
from random import Random
from typing import Final

import msgspec

from waypost.drip.book import Book, Instance
from waypost.drip.merkle import PAGE_MAX, Merkle, Summary, Walk
from waypost.drip.messages import ENTRIES_MAX, Entry, Proposal, SealPart, SealRequest, SealSnapshot, SealWalk
from waypost.drip.outbox import Outbox
from waypost.drip.roster import Electorate
from waypost.drip.rumours import SPACES_MAX, Branch
from waypost.record import ROSTER, Committed, Place

OCTETS_MAX: Final = 256 << 10  # of a snapshot's page, but for its last entry; and of the records of a part
ASKS_MAX: Final = 2  # times, then it is asked in the other way, from the beginning
START: Final[Place] = ("", "")  # before every key


@dataclass(slots=True)
class Source:
    """What a sealed voter has told.  `after`: the next page begins there; None: all of them have come.

    `spaces` are namespaces whose trees are to be compared, `walk` is of `space`; `id` is of the last question there.
    """

    is_brief: bool
    after: Place | None = START
    asks: int = 0  # since the last answer
    spaces: list[str] = field(default_factory=list)
    space: str = ""
    walk: Walk | None = None
    id: int = 0
    is_done: bool = False


class Merging:
    """`learn` takes what a node says is committed; `on_accept` is called with the place of each open vote.

    Whom it waits for is asked again after `ask_s` seconds.
    """

    def __init__(
        self,
        book: Book,
        electorate: Electorate,
        outbox: Outbox,
        rng: Random,
        ask_s: float,
        *,
        learn: Callable[[Committed, float, str], None],
        on_accept: Callable[[Place], None],
    ) -> None:
        self._book = book
        self._electorate = electorate
        self._outbox = outbox
        self._rng = rng
        self._ask_s = ask_s
        self._learn = learn
        self._on_accept = on_accept
        self._term = 0
        self._sources: dict[str, Source] = {}
        self._count = 0
        self._at: float | None = None  # when to ask again

    def begin(self, now: float) -> None:
        """There may be a new term."""
        if self._term != self._electorate.term or not self._electorate.is_waiting():
            self._term, self._sources = self._electorate.term, {}
        self._at = None
        if self._electorate.is_waiting():
            for name in self._electorate.sources():
                self._ask_again(name)
            self._at = now + self._ask_s

    def handle_timer(self, now: float) -> None:
        if self._at is not None and self._at <= now:
            self.begin(now)

    def next_timer(self) -> float | None:
        return self._at

    def receive(self, node: str, message: SealSnapshot | SealWalk | SealPart, now: float) -> None:
        """What is told counts only while this node waits, for then it has not voted in its term."""
        if isinstance(message, SealWalk):
            self._tell_part(node, message)
            return
        source = self._sources.get(node)
        if source is None or source.is_done or not self._electorate.is_merging(message.epoch):
            return
        if isinstance(message, SealSnapshot):
            self._receive_snapshot(node, source, message, now)
        else:
            self._receive_part(node, source, message, now)
        done = sum(each.is_done for each in self._sources.values())
        if source.is_done and self._electorate.is_waiting() and self._electorate.merged(done):
            self._sources, self._at = {}, None

    def check(self) -> None:
        walks = [source.walk for source in self._sources.values() if source.walk is not None]
        assert all(len(walk.wanted) <= ENTRIES_MAX + PAGE_MAX * ENTRIES_MAX for walk in walks)

    # telling

    def receive_request(self, node: str, request: SealRequest) -> None:
        """The engine has learnt `successor` already, which sealed the term."""
        if not self._may_tell(node, request.epoch):
            return
        book, brief = self._book, request.brief and len(self._book.shelf.trees()) <= SPACES_MAX
        there: Iterable[Place] = book.instances if brief else {**book.committed, **book.instances}
        later = (place for place in there if place > request.after)
        places = nsmallest(ENTRIES_MAX + 2, later)  # those of the page, the roster, and one that says there are more
        entries: list[Entry] = []
        size = 0
        for place in places:
            if len(entries) == ENTRIES_MAX or size > OCTETS_MAX:
                break
            entry = Entry(book.committed.get(place), book.instance(place).accepted)
            if place != ROSTER:  # rosters are told by themselves
                entries.append(entry)
                size += len(msgspec.json.encode(entry))
            last = place
        else:
            last = None
        roots = {space: tree.root().hex() for space, tree in self._trees().items()} if brief else None
        self._outbox.tell(node, SealSnapshot(request.epoch, request.after, tuple(entries), last, roots))

    def _tell_part(self, node: str, walk: SealWalk) -> None:
        tree = self._trees().get(walk.namespace)
        if tree is None or not self._may_tell(node, walk.epoch):
            return
        summaries = map(tree.summary, walk.prefixes)
        branches = tuple(Branch(each.prefix, each.leaves, each.children) for each in summaries)
        commits = tuple(self._book.shelf.give(walk.namespace, walk.digests, OCTETS_MAX))
        self._outbox.tell(node, SealPart(walk.id, walk.epoch, branches, commits))

    def _may_tell(self, node: str, epoch: int) -> bool:
        """Whether this node is a sealed voter of the epoch, or named as a source, and the other votes in the next."""
        electorate = self._electorate
        successor = electorate.known(electorate.successor(epoch) or 0)
        if successor is None or successor.voter(node) is None:
            return False
        is_named = successor.forced is not None and electorate.name in successor.forced.sources
        return is_named or (electorate.has_joined(epoch) and electorate.is_sound_voter(epoch))

    def _trees(self) -> dict[str, Merkle]:
        return {space: tree for space, tree in self._book.shelf.trees().items() if space != ROSTER[0]}

    # asking

    def _ask_again(self, name: str) -> None:
        source = self._sources.setdefault(name, Source(is_brief=True))
        if source.is_done:
            return
        if source.asks >= ASKS_MAX:
            source = self._sources[name] = Source(is_brief=not source.is_brief)
        self._ask(name, source)

    def _ask(self, name: str, source: Source) -> None:
        source.asks += 1
        if source.after is not None:
            request = self._electorate.seal_request(source.after, brief=source.is_brief)
            self._outbox.tell_now(name, request)
            return
        assert source.walk is not None
        self._count += 1
        source.id = self._count
        wanted, page = source.walk.wanted, source.walk.page()
        # Not in order: others may be telling the same records.
        digests = self._rng.sample(list(wanted), min(ENTRIES_MAX, len(wanted)))
        prefixes = page[:PAGE_MAX] if len(wanted) < ENTRIES_MAX else ()
        epoch = self._electorate.seal_request(START, brief=True).epoch
        self._outbox.tell_now(name, SealWalk(source.id, epoch, source.space, tuple(prefixes), tuple(digests)))

    # being told

    def _receive_snapshot(self, node: str, source: Source, page: SealSnapshot, now: float) -> None:
        if page.after != source.after:
            return  # a page that came before
        if source.is_brief is not (page.roots is not None):
            if not source.is_brief or page.after != START:
                return
            source.is_brief = False  # a node of before
        for entry in page.entries:
            if not self._take(entry, node, now):
                return  # it waits for rosters that are asked for now
        source.after, source.asks = page.next, 0
        if page.next is not None:
            self._ask(node, source)
        else:
            trees = self._trees()
            roots = page.roots or {}
            source.spaces = [space for space, root in roots.items() if trees.get(space, Merkle()).root().hex() != root]
            self._go_on(node, source)

    def _receive_part(self, node: str, source: Source, part: SealPart, now: float) -> None:
        if source.walk is None or part.id != source.id:
            return
        came = [source.walk.receive(Summary(each.prefix, each.leaves, each.children)) for each in part.branches]
        before = len(source.walk.wanted)
        for committed in part.commits:
            self._learn(committed, now, node)
        if not self._electorate.is_merging(part.epoch):
            return  # the records told of a later term
        self._forget_arrived(source)
        if any(came) or len(source.walk.wanted) < before:
            source.asks = 0
            self._go_on(node, source)

    def _go_on(self, name: str, source: Source) -> None:
        """The next question about trees, if there is one."""
        if source.walk is not None:
            self._forget_arrived(source)
        while source.walk is None or not (source.walk.wanted or source.walk.page()):
            if not source.spaces:
                source.is_done, source.walk = True, None
                return
            source.space = source.spaces.pop()
            source.walk = Walk(self._trees().get(source.space, Merkle()))
        self._ask(name, source)

    def _forget_arrived(self, source: Source) -> None:
        """What this node has at that version, or at a later one.  Of one version, two records are an alarm."""
        assert source.walk is not None
        tree = self._trees().get(source.space, Merkle())
        wanted = source.walk.wanted
        source.walk.wanted = {
            digest: leaf
            for digest, leaf in wanted.items()
            if (mine := tree.get(digest)) is None or mine.version < leaf.version
        }

    def _take(self, entry: Entry, node: str, now: float) -> bool:
        """Whether what was accepted stands where it belongs: after what is committed."""
        if entry.committed is not None:
            record = entry.committed.record
            self._learn(entry.committed, now, node)
            if self._book.version(record.place) < record.version:
                return False
        if entry.accepted is not None:
            self._merge(entry.accepted)
        return True

    def _merge(self, accepted: Proposal) -> None:
        """What a sealed voter had accepted: the highest ballot counts."""
        place = accepted.record.place
        instance = self._book.instance(place)
        if accepted.record.version == instance.version and accepted.ballot > instance.accepted_ballot:
            promised = max(instance.promised, accepted.ballot)
            self._book.save(place, Instance(instance.version, promised, accepted, None))
            self._on_accept(place)
