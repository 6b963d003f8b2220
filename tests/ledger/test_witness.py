"""The witness, request by request.  Time is a number we choose.

Sections are of C2SP tlog-witness where nothing else is said; invariants of the notes on the ledger, 5.
"""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keeping import Disk, sign_as
from seeing import POSIX, Eye, Ice, Scribe

from waypost.errors import StoreError, WireError
from waypost.identity.keys import verifies
from waypost.ledger import exhibit, refused, witness
from waypost.ledger.checkpoint import Checkpoint, Head, cosigned_at, read_head
from waypost.ledger.evidence import Fault, check
from waypost.ledger.note import Algorithm, Key, Line, Note, to_base64
from waypost.ledger.questions import Reply
from waypost.ledger.submission import PROOF_MAX, SUBMISSION_MAX, Submission
from waypost.ledger.tree import EMPTY

VECTORS = Path(__file__).parents[1] / "vectors" / "tlog" / "extracted" / "add-checkpoint.json"
ANNA = "waypost/anna"
JUNK = bytes(32)


@pytest.fixture
def anna() -> Scribe:
    return Scribe("anna").grow(20)


@pytest.fixture
def eye(anna: Scribe) -> Eye:
    return Eye({ANNA: anna.key, "waypost/berta": Scribe("berta").key})


def line_of(reply: Reply, head: Head) -> Line:
    assert reply.status == 200
    return Note.decode(head.note.text.encode() + b"\n" + reply.body).lines[0]


def time_of(eye: Eye, reply: Reply, head: Head) -> int:
    """Of the cosignature, which verifies."""
    alone = Head(head.checkpoint, Note(head.note.text, (line_of(reply, head),)))
    time_s = cosigned_at(alone, eye.cosigner, eye.verify)
    assert time_s is not None
    return time_s


def test_the_exchanges_of_another_witness_get_the_answers_of_the_specification() -> None:
    vectors = json.loads(VECTORS.read_text())
    key = Key(vectors["origin"], Algorithm.ED25519, bytes.fromhex(vectors["log_public_key_hex"]))
    eye = Eye({key.name: key}, verify=verifies)
    assert len(vectors["cases"]) == 9
    for case in vectors["cases"]:
        reply = eye.submit(case["request"].encode())
        assert reply.status in case.get("status_now", [case["status"]])
        if "body" in case:
            assert reply == Reply(409, case["body"].encode(), "text/x.tlog.size")


# the statuses


def test_a_head_that_extends_the_last_one_is_cosigned(eye: Eye, anna: Scribe) -> None:
    for old, size in ((0, 5), (5, 5), (5, 8), (8, 20)):
        reply = eye.submit(anna.submission(old, size))
        assert time_of(eye, reply, anna.head(size)) == POSIX
        assert eye.witness.heads[ANNA].size == size


def test_an_origin_that_is_not_known_is_not_found(eye: Eye) -> None:
    assert eye.submit(Scribe("emma").grow(3).submission(0)).status == 404


def test_no_more_than_one_signature_of_the_log_is_asked_for_and_those_of_strangers_are_passed_over(
    eye: Eye, anna: Scribe
) -> None:
    head = anna.head(5)
    stranger = Line("stranger", b"1234", b"nothing")
    assert eye.submit(Submission(0, (), Head(head.checkpoint, head.note.signed(stranger)))).status == 200
    assert eye.witness.heads[ANNA].note.by(anna.key) == head.note.lines[0]
    assert stranger not in eye.witness.heads[ANNA].note.lines


def test_a_head_that_the_log_has_not_signed_is_forbidden(eye: Eye, anna: Scribe) -> None:
    head = Scribe("berta").sign(anna.head(5).checkpoint)
    assert eye.submit(Submission(0, (), head)).status == 403


def test_a_signature_of_the_log_that_is_wrong_is_forbidden_even_beside_one_that_is_right(
    eye: Eye, anna: Scribe
) -> None:
    head, other = anna.head(5), anna.head(6)
    wrong = other.note.lines[0]
    for lines in ((wrong,), (head.note.lines[0], wrong), (wrong, head.note.lines[0])):
        assert eye.submit(Submission(0, (), Head(head.checkpoint, Note(head.note.text, lines)))).status == 403
    assert eye.witness.heads == {}


def test_an_old_size_above_the_new_one_is_a_bad_request(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 10))
    assert eye.submit(Submission(10, (), anna.head(9))).status == 400
    assert eye.submit(Submission(11, (), anna.head(10))).status == 400  # and no conflict


def test_an_old_size_that_is_not_the_one_held_is_a_conflict_that_tells_the_size(eye: Eye, anna: Scribe) -> None:
    assert eye.submit(anna.submission(3, 5)) == Reply(409, b"0\n", "text/x.tlog.size")
    eye.submit(anna.submission(0, 10))
    for old in (0, 9, 11):
        assert eye.submit(anna.submission(old, 20)) == Reply(409, b"10\n", "text/x.tlog.size")


def test_a_proof_that_does_not_lead_to_the_new_tree_cannot_be_processed(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 7))
    good = anna.submission(7, 20)
    for proof in ((), good.proof[:-1], (*good.proof, JUNK), (JUNK, *good.proof[1:]), good.proof[::-1]):
        assert eye.submit(replace(good, proof=proof)).status == 422
    assert eye.submit(good).status == 200


def test_one_size_has_one_root(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 7))
    fork = anna.fork(5).grow(2, "other")
    assert eye.submit(fork.submission(7)).status == 422
    assert eye.submit(replace(anna.submission(7, 7), proof=(JUNK,))).status == 422
    assert eye.submit(anna.submission(7, 7)).status == 200


def test_a_tree_that_forks_off_is_not_cosigned(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 7))
    fork = anna.fork(5).grow(20, "other")
    assert eye.submit(fork.submission(7)).status == 422
    assert eye.witness.heads[ANNA].note.text == anna.head(7).note.text


def test_no_proof_is_given_from_a_tree_of_nothing(eye: Eye, anna: Scribe) -> None:
    assert eye.submit(replace(anna.submission(0, 5), proof=(JUNK,))).status == 422
    assert eye.submit(anna.submission(0, 5)).status == 200


def test_a_tree_of_nothing_has_the_root_of_nothing(eye: Eye, anna: Scribe) -> None:
    wrong = anna.sign(Checkpoint(ANNA, 0, JUNK))
    assert eye.submit(Submission(0, (), wrong)).status == 422
    empty = anna.sign(Checkpoint(ANNA, 0, EMPTY))
    assert eye.submit(Submission(0, (JUNK,), empty)).status == 422
    assert eye.submit(Submission(0, (), empty)).status == 200
    assert eye.submit(Submission(0, (), wrong)).status == 422
    assert eye.submit(anna.submission(0, 5)).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n",
        b"old 0\n\n",
        b"old 0\n\nnothing\n",
        b"new 0\n\n%b",
        b"0\n\n%b",
        b"old\n\n%b",
        b"old  0\n\n%b",
        b"old 00\n\n%b",
        b"old 01\n\n%b",
        b"old -1\n\n%b",
        b"old +1\n\n%b",
        b"old 0x0\n\n%b",
        b"old 0\r\n\n%b",
        b"old \xd9\xa0\n\n%b",
        b"old \xff\n\n%b",
        b"old 9223372036854775808\n\n%b",
        b"%b",
        b"old 0\nAAAA\n\n%b",
        b"old 0\n" + to_base64(bytes(31)).encode() + b"\n\n%b",
        b"old 0\n" + to_base64(JUNK).rstrip("=").encode() + b"\n\n%b",
        b"old 0\n" + to_base64(JUNK).replace("A=", "B=").encode() + b"\n\n%b",
        b"old 0\n" + (to_base64(JUNK) + "\n").encode() * (PROOF_MAX + 1) + b"\n%b",
        b"old 0\n\n%b" + b"\xe2\x80\x94 stranger MTIzNG5vdGhpbmc=\n" * 2000,
    ],
)
def test_what_is_no_request_is_a_bad_one(eye: Eye, anna: Scribe, body: bytes) -> None:
    assert eye.submit(body.replace(b"%b", anna.head(5).note.encode())).status == 400
    assert eye.verified == 0
    assert eye.witness.counters()["ledger_witness_malformed"] == 1


def test_as_many_hashes_as_a_proof_may_have_are_read(eye: Eye, anna: Scribe) -> None:
    assert eye.submit(replace(anna.submission(0, 5), proof=(JUNK,) * PROOF_MAX)).status == 422


def test_a_checkpoint_that_would_fit_no_entry_is_refused(eye: Eye, anna: Scribe) -> None:
    size, root = 5, anna.tree.root(5)
    rest = len(Checkpoint(ANNA, size, root, ("",)).text)
    for length, status in ((witness.TEXT_MAX - rest, 200), (witness.TEXT_MAX - rest + 1, 400)):
        head = anna.sign(Checkpoint(ANNA, size, root, ("x" * length,)))
        assert Eye({ANNA: anna.key}).submit(Submission(0, (), head)).status == status


# which refusal comes first, and what it costs


def test_what_can_be_refused_without_looking_at_a_signature_is(eye: Eye, anna: Scribe) -> None:
    eye.ice[ANNA] = Ice(4, "ab12")
    unsigned = Scribe("berta").sign(anna.head(4).checkpoint)
    assert eye.submit(Scribe("emma").grow(3).submission(0)).status == 404
    assert eye.submit(anna.submission(0, 5)).status == 403
    assert eye.submit(Submission(0, (), unsigned)).status == 403
    assert eye.verified == 0
    assert eye.submit(anna.submission(0, 4)).status == 200
    assert eye.verified == 1


def test_a_signature_that_was_verified_is_not_verified_again(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 4))
    for _ in range(5):
        assert eye.submit(anna.submission(4, 4)).status == 200
    head = anna.head(5)
    many = Head(head.checkpoint, Note(head.note.text, head.note.lines * 90))
    assert eye.submit(Submission(4, anna.submission(4, 5).proof, many)).status == 200
    assert eye.verified == 2


def test_an_unknown_origin_comes_before_a_signature_and_that_before_sizes(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 10))
    wrong = anna.head(9).note.lines[0]
    bad = Head(anna.head(5).checkpoint, Note(anna.head(5).note.text, (wrong,)))
    assert eye.submit(Submission(6, (), Scribe("emma").grow(3).head())).status == 404
    assert eye.submit(Submission(6, (), bad)).status == 403  # and not 400
    assert eye.submit(Submission(0, (), bad)).status == 403  # and not 409
    assert eye.submit(Submission(0, (JUNK,), anna.head(5))).status == 409  # and not 422


# MONOTONE-WITNESS


def test_monotone_witness_the_second_of_two_requests_at_once_sees_what_the_first_led_to(eye: Eye, anna: Scribe) -> None:
    fork = anna.fork(5).grow(20, "other")
    first, second, third = eye.ask(anna.submission(0, 10)), eye.ask(fork.submission(0)), eye.ask(anna.submission(0, 5))
    assert eye.answers == {}
    assert eye.witness.heads == {}
    eye.settle()
    replies = [eye.answers[id] for id in (first, second, third)]
    assert [reply.status for reply in replies if isinstance(reply, Reply)] == [200, 409, 409]
    assert replies[1] == Reply(409, b"10\n", "text/x.tlog.size")
    assert eye.witness.heads[ANNA].size == 10


def test_monotone_witness_nothing_is_answered_before_it_is_on_the_disk(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 5))
    for submission in (
        anna.submission(5, 6),
        anna.submission(6, 6),
        anna.submission(0, 7),
        replace(anna.submission(6, 7), proof=()),
    ):
        eye.ask(submission)
        assert eye.answers == {}
    assert eye.witness.monitor(sha256(ANNA.encode()).hexdigest()).body.split(b"\n")[1] == b"5"


def test_monotone_witness_what_never_came_to_the_disk_was_never_answered(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 5))
    eye.ask(anna.submission(5, 10))
    again = eye.again()
    assert again.witness.heads[ANNA].size == 5
    fork = anna.fork(5).grow(5, "other")
    assert again.submit(fork.submission(5)).status == 200


def test_monotone_witness_what_was_cosigned_is_remembered(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 5))
    again = eye.again()
    assert again.submit(anna.submission(0, 6)) == Reply(409, b"5\n", "text/x.tlog.size")
    assert again.submit(anna.submission(5, 6)).status == 200


def test_monotone_witness_two_processes_with_one_disk_are_stopped(eye: Eye, anna: Scribe) -> None:
    twin = Eye(eye.keys, disk=eye.disk)
    eye.submit(anna.submission(0, 5))
    with pytest.raises(StoreError):
        twin.submit(anna.fork(0).grow(5, "other").submission(0))


def test_a_cosignature_is_never_older_than_the_one_before(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 5))
    for again in (eye, eye.again()):
        again.time_s = POSIX - 1000
        size = again.witness.heads[ANNA].size
        head = anna.head(size + 1)
        assert time_of(again, again.submit(anna.submission(size, size + 1)), head) == POSIX
        again.time_s = POSIX - 1000 + 1
        assert time_of(again, again.submit(anna.submission(size + 1, size + 1)), head) == POSIX


def test_the_same_head_is_cosigned_anew_when_the_time_has_passed(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 5))
    for later, expected in ((witness.AGAIN_S - 1, 0), (witness.AGAIN_S, witness.AGAIN_S), (100, 100)):
        eye.time_s = POSIX + later
        reply = eye.submit(anna.submission(5, 5))
        assert time_of(eye, reply, anna.head(5)) == POSIX + expected
        assert line_of(reply, anna.head(5)) in eye.witness.heads[ANNA].note.lines


# EVIDENCE-KEPT


def test_evidence_kept_the_last_head_that_was_cosigned_is_shown_whole(eye: Eye, anna: Scribe) -> None:
    digest = sha256(ANNA.encode()).hexdigest()
    assert eye.witness.monitor(digest).status == 404
    eye.submit(anna.submission(0, 5))
    reply = eye.submit(anna.submission(5, 9))
    for each in (eye, eye.again()):
        shown = each.witness.monitor(digest)
        assert shown.status == 200
        assert read_head(shown.body).note == anna.head(9).note.signed(line_of(reply, anna.head(9)))
        assert each.witness.monitor(digest.upper()).status == 404


def test_evidence_kept_what_was_refused_is_shown_whole_also_after_a_restart(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 7))
    fork = anna.fork(5).grow(20, "other")
    heads = [fork.head(7), fork.head(9), fork.head(6)]
    assert [eye.submit(Submission(old, (), head)).status for old, head in zip((7, 0, 8), heads, strict=True)] == [
        422,
        409,
        400,
    ]
    assert [head.note for head in eye.witness.refused(ANNA)] == [head.note for head in heads]
    assert [head.note for head in eye.again().witness.refused(ANNA)] == [head.note for head in heads]


def test_evidence_kept_is_on_the_disk_before_the_refusal_is_told(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 7))
    eye.ask(anna.fork(5).grow(2, "other").submission(7))
    assert eye.answers == {}
    assert eye.again().witness.refused(ANNA) == []
    eye.settle()
    assert len(eye.again().witness.refused(ANNA)) == 1


def test_evidence_kept_all_that_was_seen_signed_goes_to_the_court(eye: Eye, anna: Scribe) -> None:
    fork = anna.fork(5).grow(20, "other")
    eye.submit(anna.submission(0, 7), "anna")
    eye.submit(fork.submission(7), "berta")
    eye.submit(Scribe("emma").grow(3).submission(0))
    eye.submit(Submission(7, (), Scribe("berta").sign(anna.head(8).checkpoint)))
    taken = [(head.note, source) for head, source in eye.witness.take_heads()]
    assert taken == [(anna.head(7).note, "anna"), (fork.head().note, "berta")]
    assert eye.witness.take_heads() == []
    assert [head.note for head, _ in eye.again().witness.take_heads()] == [fork.head().note]


def test_evidence_kept_goes_to_the_court_again_once_it_is_known_whose_it_is(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(3, 7))
    keys: dict[str, Key] = {}
    again = Eye(keys, disk=eye.disk)
    assert again.witness.take_heads() == []
    keys[ANNA] = anna.key
    assert [head.note for head, _ in again.witness.take_heads()] == [anna.head(7).note]
    assert again.witness.take_heads() == []


def test_no_more_than_so_many_refused_heads_of_one_origin_are_kept(eye: Eye, anna: Scribe) -> None:
    anna.grow(refused.REFUSED_MAX)
    for size in range(1, refused.REFUSED_MAX + 6):
        for _ in range(2):  # what is kept is not kept twice
            eye.submit(anna.submission(1, size))
    sizes = list(range(6, refused.REFUSED_MAX + 6))
    assert [head.size for head in eye.witness.refused(ANNA)] == sizes
    again = eye.again()
    assert [head.size for head in again.witness.refused(ANNA)] == sizes
    again.submit(anna.submission(1, 70))
    assert [head.size for head in again.again().witness.refused(ANNA)] == [*sizes[1:], 70]


def test_a_refused_head_is_forgotten_once_it_is_cosigned(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(3, 7))
    assert len(eye.witness.refused(ANNA)) == 1
    eye.submit(anna.submission(0, 7))
    eye.submit(anna.submission(0, 7))  # a conflict, about what is held
    assert eye.witness.refused(ANNA) == []
    assert eye.again().witness.refused(ANNA) == []


def test_old_heads_of_an_honest_log_that_somebody_sends_again_push_nothing_out(anna: Scribe) -> None:
    eye = Eye({ANNA: anna.key}, mirrored={ANNA: anna.tree})
    eye.submit(anna.submission(0, 20))
    fork = anna.fork(5).grow(2, "other")
    eye.submit(fork.submission(0))
    for size in range(1, 20):
        assert eye.submit(anna.submission(0, size)).status == 409
    assert [head.note for head in eye.witness.refused(ANNA)] == [fork.head().note]


# frozen


def test_above_what_is_frozen_nothing_is_cosigned_and_the_evidence_is_named(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 5))
    eye.ice[ANNA] = Ice(8, "5eed")
    assert eye.submit(anna.submission(5, 8)).status == 200
    reply = eye.submit(anna.submission(8, 9))
    assert reply.status == 403
    assert b"5eed" in reply.body
    assert eye.submit(Scribe("berta").grow(9).submission(0)).status == 200


# what others tell


def test_a_head_that_is_told_goes_to_the_court_once_with_its_cosignatures(eye: Eye, anna: Scribe) -> None:
    head = anna.head(5)
    told = Head(head.checkpoint, head.note.signed(Line("waypost/carla/witness", b"1234", b"of carla")))
    assert eye.witness.hear(told, "carla")
    assert eye.witness.hear(told, "berta")
    assert eye.witness.hear(head, "berta")
    assert [(head.note, source) for head, source in eye.witness.take_heads()] == [
        (told.note, "carla"),
        (head.note, "berta"),
    ]
    assert eye.witness.heads == {}


def test_what_is_told_is_not_verified_again_when_it_was_seen(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 5))
    told = eye.witness.heads[ANNA]
    eye.verified = 0
    for _ in range(3):
        assert eye.witness.hear(told, "carla")
    assert eye.verified == 0
    assert eye.witness.hear(Scribe("emma").grow(3).head(), "carla")  # it is nobody's here
    assert eye.verified == 0


def test_no_more_than_so_many_heads_that_were_told_are_remembered(eye: Eye, anna: Scribe) -> None:
    anna.grow(witness.HEARD_MAX)
    heads = [anna.head(size) for size in range(1, witness.HEARD_MAX + 2)]
    for head in (*heads, heads[1], heads[0]):
        assert eye.witness.hear(head, "carla")
    assert [head.size for head, _ in eye.witness.take_heads()] == [*(head.size for head in heads), 1]


def test_a_head_that_is_told_and_not_signed_is_nothing(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 5))
    eye.witness.take_heads()
    head, wrong = anna.head(5), anna.head(6).note.lines[0]
    assert not eye.witness.hear(Head(head.checkpoint, Note(head.note.text, (wrong,))), "carla")
    assert not eye.witness.hear(Scribe("berta").sign(head.checkpoint), "carla")
    assert eye.witness.take_heads() == []


def test_a_head_of_our_own_log_that_is_told_goes_to_the_court_if_our_key_signed_it(eye: Eye) -> None:
    wanda = Scribe("wanda").grow(5)
    assert eye.witness.hear(wanda.head(), "carla")
    assert not eye.witness.hear(
        Head(wanda.head(4).checkpoint, Note(wanda.head(4).note.text, wanda.head().note.lines)), "carla"
    )
    assert [head.note for head, _ in eye.witness.take_heads()] == [wanda.head().note]


# LINK-VERIFIED


def test_link_verified_only_what_was_cosigned_and_grew_is_linked(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 5))
    (link,) = eye.links()
    assert link == eye.witness.heads[ANNA]
    eye.now += 100.0
    eye.submit(anna.submission(5, 5))
    eye.submit(anna.fork(3).grow(9, "other").submission(5))
    eye.submit(anna.submission(3, 9))
    assert eye.links() == []
    eye.submit(anna.submission(5, 9))
    assert [head.size for head in eye.links()] == [9]
    assert eye.witness.linked(ANNA) == 9


def test_link_verified_waits_for_the_disk(eye: Eye, anna: Scribe) -> None:
    eye.ask(anna.submission(0, 5))
    assert eye.links() == []
    eye.settle()
    assert len(eye.links()) == 1


def test_link_verified_sizes_never_fall_also_after_a_restart(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 5))
    assert [head.size for head in eye.again().links()] == [5]  # it was not entered before
    eye.links()
    assert eye.again().links() == []
    assert eye.again().witness.linked(ANNA) == 5


def test_a_log_that_grows_all_the_time_is_linked_now_and_then(eye: Eye, anna: Scribe) -> None:
    sizes = []
    for size in range(1, 20):
        eye.submit(anna.submission(size - 1, size))
        sizes += [head.size for head in eye.links()]
        eye.now += 1.0
    assert sizes == [1, 6, 11, 16]
    assert eye.witness.next_timer() == 120.0
    eye.now = 120.0
    assert [head.size for head in eye.links()] == [19]
    assert eye.witness.next_timer() is None


# the message


hashes = st.binary(min_size=32, max_size=32)


@given(st.integers(0, (1 << 63) - 1), st.lists(hashes, max_size=PROOF_MAX), st.integers(0, 20))
def test_a_submission_survives_the_wire(old: int, proof: list[bytes], size: int) -> None:
    submission = Submission(old, tuple(proof), Scribe("anna").grow(20).head(size))
    assert Submission.decode(submission.encode()) == submission
    assert len(submission.encode()) < SUBMISSION_MAX


@given(st.binary() | st.text().map(lambda text: b"old 0\n\n" + text.encode(errors="replace")))
def test_any_bytes_decode_exactly_or_raise_wire_error(data: bytes) -> None:
    try:
        submission = Submission.decode(data)
    except WireError:
        return
    assert submission.encode() == data


def test_what_cannot_be_read_on_the_disk_stops_the_node(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 5))
    for table in (witness.TABLE, refused.TABLE):
        disk = Disk()
        disk.tables[table] = {b"witnessed/" + ANNA.encode(): b"nothing"}
        with pytest.raises(StoreError):
            Eye({ANNA: anna.key}, disk=disk)


def test_signatures_of_this_story_are_worth_something() -> None:
    assert not Eye({}).verify(b"1" * 32, sign_as(b"1" * 32, b"this"), b"that")


# what a refused proof shows


@pytest.mark.parametrize("held", [3, 5, 6, 7, 11])
def test_evidence_is_in_the_proof_of_a_log_that_forks_and_proves_where_it_begins_now(
    eye: Eye, anna: Scribe, held: int
) -> None:
    eye.submit(anna.submission(0, held))
    fork = anna.fork(2).grow(20, "other")
    assert eye.submit(fork.submission(held), "carla").status == 422
    ((growth, source),) = eye.witness.take_forks()
    assert source == "carla"
    assert (growth.old.note, growth.new.note) == (anna.head(held).note, fork.head().note)
    assert growth.prefix == fork.tree.root(held)
    found = check(exhibit.encode(growth), [anna.key], eye.verify, 1)
    assert found.fault is Fault.GROWTH
    assert eye.witness.take_forks() == []


def test_no_proof_that_anybody_can_make_is_evidence_against_an_honest_log(eye: Eye, anna: Scribe) -> None:
    eye.submit(anna.submission(0, 7))
    good = anna.submission(7, 20)
    for proof in ((), good.proof[:-1], (*good.proof, JUNK), (JUNK, *good.proof[1:]), anna.submission(5, 20).proof):
        eye.submit(replace(good, proof=proof))
    eye.submit(anna.submission(5, 20))
    eye.submit(good)
    assert eye.witness.take_forks() == []
