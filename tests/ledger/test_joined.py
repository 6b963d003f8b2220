"""The ledger as one engine, alone: what is entered, proven, published and served.  Time is a number we choose."""

import itertools
from random import Random

import pytest
from keeping import WALL_MS, Disk, notary, public_of, sign_as, verify

from waypost.engine import Answer, Apply, Commit, Effect
from waypost.ledger.engine import LedgerEngine
from waypost.ledger.log import GATHER_S, WAITING_MAX
from waypost.ledger.proof import ProofFile
from waypost.ledger.questions import Enter, Entered, Prove, Reply, Serve, ShowLog, Shown
from waypost.ledger.statement import Statement
from waypost.ledger.tiles import decode_bundle
from waypost.ledger.tree import leaf_hash, verify_inclusion
from waypost.record import Change, Committed, Kind
from waypost.record.gossiped import Gossiped

NETWORK = "ab" * 32


class Nothing:
    def voted(self) -> list[Committed]:
        return []

    def gossiped(self) -> list[Gossiped]:
        return []


class Alone:
    """One ledger; with `slow` its commits wait in `held` until write() is called."""

    def __init__(self, disk: Disk | None = None) -> None:
        self.disk = disk or Disk()
        self.now = 100.0
        self.slow = False
        self.held: list[Commit] = []
        self.answers: dict[int, object] = {}
        me = notary(self.disk.read)
        self.engine = LedgerEngine(Random(1), itertools.count(1), me, public_of("anna"), Nothing())
        self.engine.restore(self.disk, NETWORK, self.now)
        self.engine.handle_clock(self.now, WALL_MS)
        self.settle()

    def open(self) -> "Alone":
        self.engine.set_members({})
        self.settle()
        return self

    def settle(self) -> None:
        while effects := self.engine.take_effects():
            for effect in effects:
                self.carry(effect)
        self.engine.check()
        self.engine.next_timer()  # as whoever runs it asks

    def carry(self, effect: Effect) -> None:
        match effect:
            case Commit() if self.slow:
                self.held.append(effect)
            case Commit():
                self.disk.write(effect)
                for each in effect.then:
                    self.carry(each)
            case Apply():
                self.engine.apply(effect.change, self.now)
            case Answer():
                self.answers[effect.id] = effect.result
            case _:
                raise AssertionError(f"a ledger that is alone asks nobody: {effect}")

    def write(self) -> None:
        self.slow, held, self.held = False, self.held, []
        for commit in held:
            self.carry(commit)
        self.settle()

    def ask(self, question: Serve | Enter | Prove | ShowLog) -> int:
        id = self.engine.ask(question, self.now)
        self.settle()
        return id

    def told(self, question: Serve | Enter | Prove | ShowLog) -> object:
        return self.answers[self.ask(question)]

    def shown(self) -> Shown:
        shown = self.told(ShowLog())
        assert isinstance(shown, Shown)
        return shown

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while (when := self.engine.next_timer()) is not None and when <= until:
            self.now = max(when, self.now)
            self.engine.handle_timer(self.now)
            self.settle()
        self.now = until


def said(number: int, prev: str = "") -> bytes:
    signer = public_of("otto")
    statement = Statement(WALL_MS, {"number": number}, "test", prev, signer.hex())
    return statement.signed(lambda message: sign_as(signer, message)).encode()


def entries_of(alone: Alone) -> list[bytes]:
    size = alone.shown().size
    reply = alone.told(Serve("GET", f"tile/entries/000.p/{size}"))
    assert isinstance(reply, Reply)
    return decode_bundle(reply.body, size)


@pytest.fixture
def alone() -> Alone:
    return Alone().open()


def test_a_log_that_may_not_sign_yet_takes_no_statement() -> None:
    refused = Alone().told(Enter(said(1)))
    assert isinstance(refused, Reply)
    assert refused.status == 503


def test_a_statement_is_entered_once_however_often_it_comes_at_once(alone: Alone) -> None:
    size = alone.shown().size
    alone.slow = True
    first, second = alone.ask(Enter(said(1))), alone.ask(Enter(said(1)))
    assert first not in alone.answers
    alone.write()
    entered = alone.answers[first]
    assert isinstance(entered, Entered)
    assert (entered.index, entered.head.size) == (size, size + 1)
    assert alone.answers[second] == entered
    assert entries_of(alone)[size:] == [said(1)]


def test_a_statement_that_is_none_or_contradicts_its_signer_is_refused(alone: Alone) -> None:
    alone.ask(Enter(said(1)))
    for statement in (b"nothing", said(2), said(1)[:-1]):
        refused = alone.told(Enter(statement))
        assert isinstance(refused, Reply)
        assert refused.status == 409


def test_what_became_durable_late_is_published_all_the_same(alone: Alone) -> None:
    """A round that came meanwhile took the head before."""
    alone.ask(Enter(said(1)))
    alone.slow = True
    alone.ask(Enter(said(2, Statement.decode(said(1)).hash)))
    alone.slow, held = False, alone.held
    alone.held = []
    alone.run(15.0)
    before = alone.shown()
    assert before.published is not None
    assert before.published.size == before.size
    alone.held = held
    alone.write()
    alone.run(15.0)
    after = alone.shown()
    assert after.published is not None
    assert after.published.size == after.size == before.size + 1


def test_what_is_too_much_to_wait_for_the_log_is_left_to_the_next_start() -> None:
    alone = Alone()
    for seq in range(1, WAITING_MAX + 3):
        alone.engine.apply(Change(seq, Kind.PUT, "voted", b"names\0%d" % seq, 1, b"{}", WALL_MS, b""), alone.now)
    alone.settle()
    alone.open()
    assert alone.shown().size == WAITING_MAX + 1  # and that it was opened
    alone.engine.apply(Change(WAITING_MAX + 3, Kind.PUT, "voted", b"names\0x", 1, b"{}", WALL_MS, b""), alone.now)
    alone.settle()
    assert alone.shown().size == WAITING_MAX + 1
    assert Alone(alone.disk).engine.cursor == WAITING_MAX


def test_commits_gather_before_they_are_entered_and_a_statement_takes_them_along(alone: Alone) -> None:
    alone.run(1.0)
    size = alone.shown().size

    def commit(seq: int) -> None:
        alone.engine.apply(Change(seq, Kind.PUT, "voted", b"names\0%d" % seq, 1, b"{}", WALL_MS, b""), alone.now)
        alone.settle()

    commit(1)
    assert alone.shown().size == size + 1, "what comes alone does not wait"
    for seq in range(2, 50):
        commit(seq)
        assert alone.engine.next_timer() == alone.now + GATHER_S
    assert alone.shown().size == size + 1
    alone.run(GATHER_S)
    assert alone.shown().size == size + 49
    commit(50)
    alone.ask(Enter(said(1)))
    assert alone.shown().size == size + 51
    assert Alone(alone.disk).engine.cursor == 50


def test_an_entry_is_proven_once_a_head_with_it_is_published(alone: Alone) -> None:
    entered = alone.told(Enter(said(1)))
    assert isinstance(entered, Entered)
    assert alone.told(Prove(entered.index)) is None
    alone.run(15.0)
    proof = alone.told(Prove(entered.index))
    assert isinstance(proof, bytes)
    file = ProofFile.decode(proof)
    assert file.extra == said(1)
    assert verify_inclusion(file.index, file.head.size, leaf_hash(said(1)), file.proof, file.head.root)
    assert alone.told(Prove(file.head.size)) is None


def test_a_log_that_the_disk_has_damaged_says_so_and_signs_no_more_and_the_node_goes_on(alone: Alone) -> None:
    for seq in range(1, 3_000):
        alone.engine.apply(Change(seq, Kind.PUT, "voted", b"names\0%d" % seq, 1, b"{}", WALL_MS, b""), alone.now)
    alone.run(30.0)
    assert alone.told(Prove(2)) is not None
    alone = Alone(alone.disk).open()
    assert alone.shown().state == "signing"
    for file in list(alone.disk.files):
        alone.disk.files[file] = b"damaged"
    assert alone.told(Prove(2)) is None
    shown = alone.shown()
    assert "damaged" in shown.state
    assert "waypost log fsck" in shown.state
    for served, status in (("tile/entries/000", 503), ("tile/0/000", 503), ("tile/0/100", 503), ("checkpoint", 200)):
        reply = alone.told(Serve("GET", served))
        assert isinstance(reply, Reply)
        assert reply.status == status
    refused = alone.told(Enter(said(1)))
    assert isinstance(refused, Reply)
    assert refused.status == 503
    alone.run(3600.0)
    assert alone.shown().head == shown.head
    assert alone.engine.gauges(alone.now)["ledger_signing"] == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "keys", 200),
        ("GET", "checkpoint", 200),
        ("GET", "tile/0/000.p/1", 200),
        ("GET", "tile/entries/000.p/1", 200),
        ("GET", "tile/0/001", 404),
        ("GET", "tile/../secret", 404),
        ("GET", "witness/00/checkpoint", 404),
        ("GET", "mirror/00/checkpoint", 404),
        ("GET", "evidence", 200),
        ("GET", "evidence/00", 404),
        ("GET", "elsewhere", 404),
        ("POST", "checkpoint", 405),
        ("GET", "add-checkpoint", 405),
        ("POST", "add-checkpoint", 400),
        ("POST", "heads", 403),
        ("POST", "evidence", 403),
    ],
)
def test_what_is_served(alone: Alone, method: str, path: str, status: int) -> None:
    alone.run(15.0)
    reply = alone.told(Serve(method, path, b"", "a stranger with a certificate"))
    assert isinstance(reply, Reply)
    assert reply.status == status


def test_a_start_finds_what_was_there(alone: Alone) -> None:
    alone.ask(Enter(said(1)))
    alone.run(15.0)
    shown = alone.shown()
    again = Alone(alone.disk)
    assert again.shown().state != "signing"
    again.open()
    assert again.shown() == shown
    assert verify(public_of("waypost/anna"), shown.head.note.lines[0].signature, shown.head.note.text.encode())  # type: ignore[union-attr]
