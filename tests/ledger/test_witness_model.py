"""The witness beside a dumb one that keeps whole lists of entries and looks at nothing but them."""

from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from seeing import Eye, Ice, Scribe

from waypost.ledger.checkpoint import Head, cosigned_at
from waypost.ledger.note import Note
from waypost.ledger.questions import Reply
from waypost.ledger.refused import REFUSED_MAX
from waypost.ledger.submission import Submission
from waypost.ledger.tree import Tree

ORIGINS = ("anna", "berta")
SIZE_MAX = 24

Entries = tuple[str, ...]


def scribe_of(name: str, entries: Sequence[str]) -> Scribe:
    scribe = Scribe(name)
    scribe.tree = Tree()
    scribe.tree.extend([entry.encode() for entry in entries])
    return scribe


class Witnessing(RuleBasedStateMachine):
    """Logs that fork as they please, requests that come at once, crashes; answers are those of the dumb one."""

    branches = Bundle("branches")

    @initialize()
    def begin(self) -> None:
        self.eye = Eye({f"waypost/{name}": Scribe(name).key for name in ORIGINS})
        self.durable: dict[str, Entries] = {}
        self.latest: dict[str, Entries] = {}
        self.expected: dict[int, tuple[int, int, Head]] = {}  # status, and the size that is held then
        self.times: dict[str, int] = {}
        self.cosigned: dict[tuple[str, int], bytes] = {}
        self.refused: list[Head] = []
        self.ever: set[tuple[str, bytes]] = set()  # roots of what was cosigned
        self.kept: tuple[list[Head], set[tuple[str, bytes]]] = ([], set())  # of these, what is durable
        self.linked: dict[str, int] = {}

    @rule(target=branches, name=st.sampled_from(ORIGINS))
    def a_log_begins(self, name: str) -> tuple[str, Entries]:
        return name, ()

    @rule(target=branches, branch=branches, more=st.lists(st.sampled_from("ab"), min_size=1, max_size=4))
    def it_grows_or_forks(self, branch: tuple[str, Entries], more: list[str]) -> tuple[str, Entries]:
        name, entries = branch
        return name, (*entries, *more)[:SIZE_MAX]

    @rule(branch=branches, old=st.none() | st.integers(0, SIZE_MAX), seconds=st.integers(-20, 20))
    def a_head_comes(self, branch: tuple[str, Entries], old: int | None, seconds: int) -> None:
        """Mostly with the size that is held, and always with the proof that its log would give."""
        name, entries = branch
        held = self.latest.get(name, ())
        said = len(held) if old is None else old
        scribe = scribe_of(name, entries)
        proof = scribe.tree.consistency(said, len(entries)) if 0 < said < len(entries) else ()
        head = scribe.head()
        self.eye.time_s += seconds
        id = self.eye.ask(Submission(said, proof, head))
        if said > len(entries):
            status = 400
        elif said != len(held):
            status = 409
        elif entries[:said] != held:
            status = 422
        else:
            status = 200
            self.latest[name] = entries
            self.ever.add((head.origin, head.root))
        self.expected[id] = status, len(held), head
        if status != 200:
            self.refused.append(head)

    @rule()
    def the_disk_has_it(self) -> None:
        self.eye.settle()
        self.durable, self.kept = dict(self.latest), (list(self.refused), set(self.ever))
        for id, (status, held, head) in self.expected.items():
            reply = self.eye.answers.pop(id)
            assert isinstance(reply, Reply)
            assert reply.status == status
            if status == 409:
                assert reply.body == b"%d\n" % held
            elif status == 200:
                note = Note.decode(head.note.text.encode() + b"\n" + reply.body)
                time_s = cosigned_at(Head(head.checkpoint, note), self.eye.cosigner, self.eye.verify)
                assert time_s is not None
                assert time_s >= self.times.get(head.origin, 0)
                self.times[head.origin] = time_s
        self.expected = {}

    @rule()
    def it_crashes(self) -> None:
        time_s = self.eye.time_s
        self.eye = self.eye.again()
        self.eye.time_s = time_s
        self.latest = dict(self.durable)
        self.expected, self.refused, self.ever = {}, list(self.kept[0]), set(self.kept[1])

    @rule()
    def what_grew_is_linked(self) -> None:
        self.eye.now += 5.0
        for head in self.eye.links():
            name = head.origin.removeprefix("waypost/")
            assert head.size > self.linked.get(name, 0)
            assert head.root == scribe_of(name, self.durable[name]).tree.root()
            self.linked[name] = head.size

    @rule(name=st.sampled_from(ORIGINS), size=st.integers(0, SIZE_MAX))
    def a_log_is_frozen_and_thaws(self, name: str, size: int) -> None:
        entries = tuple("z" * (size + 1))
        self.eye.ice[f"waypost/{name}"] = Ice(size, "5eed")
        assert self.eye.submit_alone(Submission(0, (), scribe_of(name, entries).head())).status == 403
        del self.eye.ice[f"waypost/{name}"]

    @invariant()
    def what_is_shown_is_what_is_durable(self) -> None:
        heads = self.eye.witness.heads
        for name, entries in self.durable.items():
            head = heads[f"waypost/{name}"]
            assert head.root == scribe_of(name, entries).tree.root()
            assert self.cosigned.setdefault((name, head.size), head.root) == head.root  # one root for each size
        assert len(heads) == len(self.durable)

    @invariant()
    def what_was_refused_is_there_or_was_cosigned(self) -> None:
        for head in self.refused:
            kept = {one.note for one in self.eye.witness.refused(head.origin)}
            assert head.note in kept or (head.origin, head.root) in self.ever or len(kept) == REFUSED_MAX


Witnessing.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestWitnessing = Witnessing.TestCase
