"""Anti-entropy between two replicas: question by question, and what goes wrong with it."""

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.drip.merkle import Merkle, digest_of
from waypost.drip.repair import ASK_AGAIN, ASKS_MAX, EVERY, PULL_MAX, QUESTIONS_MAX, SESSIONS_MAX, Ended, Repair
from waypost.drip.rumours import Branch, Page, PageRequest, Pull, Pulled, Roots, RootsRequest, Rumour
from waypost.record import Committed
from waypost.record.gossiped import Gossiped, Moment

Versions = dict[tuple[str, int], int]
SPACES = ("names", "rd")


def record(space: str, number: int, version: int) -> Gossiped:
    return Gossiped(space, b"%d" % number, b"v", 1, Moment(0, version), "a", 1, "")


class Side:
    """A replica whose records have a number and a version."""

    def __init__(
        self, versions: Versions | None = None, per_answer: int = PULL_MAX, questions_max: int = QUESTIONS_MAX
    ) -> None:
        self.records: dict[str, dict[bytes, Gossiped]] = {space: {} for space in SPACES}
        self.merkle = {space: Merkle() for space in SPACES}
        self.per_answer = per_answer
        self.repair = Repair(Random(1), self, questions_max=questions_max)
        self.asked: list[Rumour] = []
        for (space, number), version in (versions or {}).items():
            self.keep(record(space, number, version))

    def keep(self, new: Gossiped) -> bool:
        digest = digest_of(new.key)
        old = self.records[new.namespace].get(digest)
        if old is not None and old.hlc.wall_ms >= new.hlc.wall_ms:
            return False
        self.records[new.namespace][digest] = new
        self.merkle[new.namespace].put(digest, new.hlc.wall_ms, digest_of(b"%d" % new.hlc.wall_ms))
        return True

    def trees(self) -> dict[str, Merkle]:
        return self.merkle

    def tree(self, space: str) -> Merkle | None:
        return self.merkle.get(space)

    def give(self, namespace: str, digests: Iterable[bytes], octets_max: int, now: float) -> list[Gossiped | Committed]:
        held: dict[bytes, Gossiped | Committed] = {**self.records[namespace]}
        return [held[digest] for digest in digests if digest in held][: self.per_answer]

    def receive(self, peer: str, message: Rumour, now: float) -> None:
        match message:
            case RootsRequest() | PageRequest() | Pull():
                self.asked.append(message)
                self.repair.answer(peer, message, now)
            case Roots():
                self.repair.receive_roots(peer, message, now)
            case Page():
                self.repair.receive_page(peer, message, now)
            case Pulled() if self.repair.is_asked(peer, message.id):
                changed = sum(map(self.keep, message.records))
                self.repair.receive_pulled(peer, message, [digest_of(r.key) for r in message.records], changed, now)
            case _:
                pass

    def roots(self) -> list[bytes]:
        return [tree.root() for tree in self.merkle.values()]


def exchange(here: Side, there: Side, now: float = 0.0) -> None:
    """Until neither has anything to say."""
    while here.repair.out or there.repair.out:
        for side, other, name in ((here, there, "here"), (there, here, "there")):
            said, side.repair.out = side.repair.out, []
            for _, message in said:
                other.receive(name, message, now)
        here.repair.check()


def numbered(count: int, version: int = 1, space: str = "rd") -> Versions:
    return {(space, number): version for number in range(count)}


def test_what_the_other_has_and_is_newer_is_pulled_and_nothing_else() -> None:
    here = Side({("rd", 1): 5, ("rd", 2): 1, ("rd", 4): 1})
    there = Side({("rd", 1): 4, ("rd", 2): 2, ("rd", 3): 1, ("names", 3): 9})
    here.repair.start("there", 0.0)
    exchange(here, there)
    assert here.repair.ended == [Ended("there", complete=True, changed=3)]
    pulled = [digest for message in there.asked if isinstance(message, Pull) for digest in message.digests]
    assert sorted(pulled) == sorted(map(digest_of, (b"2", b"3", b"3")))
    assert len(here.records["rd"]) == 4
    assert here.records["rd"][digest_of(b"1")].hlc.wall_ms == 5


def test_equal_replicas_exchange_roots_alone() -> None:
    here, there = Side(numbered(500)), Side(numbered(500))
    here.repair.start("there", 0.0)
    exchange(here, there)
    assert [type(message) for message in there.asked] == [RootsRequest]
    assert here.repair.ended == [Ended("there", complete=True, changed=0)]


@given(
    st.dictionaries(st.tuples(st.sampled_from(SPACES), st.integers(0, 400)), st.integers(1, 3), max_size=150),
    st.dictionaries(st.tuples(st.sampled_from(SPACES), st.integers(0, 400)), st.integers(1, 3), max_size=150),
    st.integers(1, 40),
)
@settings(max_examples=60)
def test_one_session_each_way_levels_any_two_replicas(mine: Versions, theirs: Versions, per_answer: int) -> None:
    here, there = Side(mine, per_answer), Side(theirs, per_answer)
    here.repair.start("there", 0.0)
    exchange(here, there)
    there.repair.start("here", 0.0)
    exchange(here, there)
    assert here.roots() == there.roots()
    assert here.repair.ended[0].complete
    assert there.repair.ended[0].complete


def test_messages_are_bounded_however_much_differs() -> None:
    here, there = Side(), Side(numbered(5_000))
    here.repair.start("there", 0.0)
    exchange(here, there)
    assert here.roots() == there.roots()
    assert max(len(message.digests) for message in there.asked if isinstance(message, Pull)) == PULL_MAX
    assert len(there.asked) < 60


def test_a_question_is_asked_again_and_at_last_given_up() -> None:
    here = Side()
    here.repair.start("there", 0.0)
    for _ in range(ASKS_MAX):
        assert here.repair.out == [("there", RootsRequest(1))]
        here.repair.out.clear()
        when = here.repair.next_timer()
        assert when is not None
        here.repair.handle_timer((), when)
    assert here.repair.out == []
    assert here.repair.ended == [Ended("there", complete=False, changed=0)]
    assert here.repair.next_timer() is None


def test_a_session_that_breaks_off_is_resumed_by_the_next_without_what_has_come() -> None:
    here, there = Side(), Side(numbered(3_000))
    here.repair.start("there", 0.0)
    for _ in range(12):  # some messages pass, then the link is cut
        for side, other, name in ((here, there, "here"), (there, here, "there")):
            said, side.repair.out = side.repair.out, []
            for _, message in said:
                other.receive(name, message, 0.0)
    here.repair.gone("there")
    came = len(here.records["rd"])
    assert 0 < came < 3_000
    there.asked.clear()
    here.repair.out.clear()
    here.repair.start("there", 10.0)
    exchange(here, there)
    pulled = [digest for message in there.asked if isinstance(message, Pull) for digest in message.digests]
    assert len(pulled) == 3_000 - came
    assert here.roots() == there.roots()


def test_an_answer_that_was_not_asked_for_or_comes_twice_is_not_looked_at() -> None:
    here, there = Side(), Side(numbered(10))
    here.repair.receive_roots("there", Roots(1, {"rd": "ab" * 32}), 0.0)
    assert here.repair.out == []
    here.repair.start("there", 0.0)
    here.repair.out.clear()
    roots = Roots(1, {name: tree.root().hex() for name, tree in there.trees().items()})
    here.repair.receive_roots("stranger", roots, 0.0)
    here.repair.receive_roots("there", Roots(7, roots.roots), 0.0)
    assert here.repair.out == []
    here.repair.receive_roots("there", roots, 0.0)
    assert len(here.repair.out) == 1
    here.repair.receive_roots("there", roots, 0.0)
    assert len(here.repair.out) == 1
    assert not here.repair.is_asked("there", 2), "a page was asked for, and no records"


@pytest.mark.parametrize("branches", [(), (Branch("", b"x", b""),), (Branch("ab", b"", b""),)])
def test_a_page_that_breaks_the_format_ends_the_session(branches: tuple[Branch, ...]) -> None:
    here = Side()
    here.repair.start("there", 0.0)
    here.repair.receive_roots("there", Roots(1, {"rd": "ab" * 32}), 0.0)
    here.repair.receive_page("there", Page(2, branches), 0.0)
    assert here.repair.ended == [Ended("there", complete=False, changed=0)]


def test_a_peer_that_never_sends_what_it_says_it_has_is_asked_once_for_each() -> None:
    here, there = Side(), Side(numbered(100), per_answer=0)
    here.repair.start("there", 0.0)
    exchange(here, there)
    assert here.repair.ended == [Ended("there", complete=True, changed=0)]
    assert len(there.asked) < 10


def test_a_peer_that_invents_branches_without_end_is_given_up() -> None:
    here = Side(questions_max=200)
    here.repair.start("liar", 0.0)
    questions = 0
    while here.repair.out:
        ((_, message),) = here.repair.out
        here.repair.out.clear()
        questions += 1
        match message:
            case RootsRequest():
                here.repair.receive_roots("liar", Roots(message.id, {"rd": "ab" * 32}), 0.0)
            case PageRequest():
                branches = tuple(
                    Branch(prefix, b"", b"\x01" * 64 + bytes(448) if len(prefix) < 60 else b"")
                    for prefix in message.prefixes
                )
                here.repair.receive_page("liar", Page(message.id, branches), 0.0)
            case _:
                raise AssertionError(message)
        here.repair.check()
    assert here.repair.ended == [Ended("liar", complete=False, changed=0)]
    assert questions == 200


def test_sessions_are_few_and_one_for_each_peer() -> None:
    here = Side()
    for _ in range(2):
        for number in range(2 * SESSIONS_MAX):
            here.repair.start(f"n{number}", 0.0)
    assert len(here.repair.out) == SESSIONS_MAX
    assert here.repair.is_with("n0")
    assert not here.repair.is_with(f"n{SESSIONS_MAX}")


def test_every_half_minute_a_random_peer_is_asked() -> None:
    here = Side()
    here.repair.begin(0.0)
    peers = set()
    for _ in range(40):
        when = here.repair.next_timer()
        assert when is not None
        here.repair.handle_timer(("b", "c", "d"), when)
        ((peer, _),) = here.repair.out
        peers.add(peer)
        here.repair.out.clear()
        here.repair.gone(peer)
        following = here.repair.next_timer()
        assert following is not None
        assert 0.9 * EVERY <= following - when <= 1.1 * EVERY
    assert peers == {"b", "c", "d"}
    assert ASK_AGAIN < EVERY
