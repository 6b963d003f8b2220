"""Statements: one spelling, one name, and a chain for each signer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.errors import ProofError, WireError
from waypost.identity.keys import verifies
from waypost.ledger import entry
from waypost.ledger.entry import ENTRY_MAX, Kind
from waypost.ledger.statement import STATEMENT_MAX, Statement, require_signed
from waypost.sim.people import key_of, public_of

ANNA = public_of("anna")


def said(prev: str = "", **body: object) -> Statement:
    return Statement(1_800_000_000_000, body or {"says": "ä\n"}, "claim", prev, ANNA).signed(key_of("anna").sign)


def test_a_statement_is_three_lines_and_an_entry_as_it_is() -> None:
    line, fields, signature, end = said().encode().split(b"\n")
    assert line == b"waypost/statement@v1"
    assert fields.startswith(
        '{"at_ms":1800000000000,"body":{"says":"ä\\n"},"kind":"claim","prev":"","signer":"'.encode()
    )
    assert key_of("anna").public_key().verify(bytes.fromhex(signature.decode()), line + b"\n" + fields) is None
    assert end == b""
    assert entry.decode(said().encode()).kind is Kind.STATEMENT


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(max_codepoint=126)), st.none() | st.booleans() | st.integers(-9, 9) | st.text()
    ),
    st.integers(0, 1 << 50),
    st.sampled_from(["", "0" * 64, "9f" * 32]),
)
def test_it_survives_the_wire(body: dict[str, object], at_ms: int, prev: str) -> None:
    statement = Statement(at_ms, body, "a/b", prev, ANNA).signed(key_of("anna").sign)
    assert Statement.decode(statement.encode()) == statement
    require_signed(statement, verifies)


@settings(deadline=None)
@given(st.binary(max_size=100) | st.binary(max_size=100).map(lambda data: b"waypost/statement@v1\n" + data))
def test_any_octets_decode_exactly_or_are_refused(data: bytes) -> None:
    try:
        statement = Statement.decode(data)
    except WireError:
        return
    assert statement.encode() == data


WHOLE = said().encode()


@pytest.mark.parametrize(
    "damaged",
    [
        WHOLE[:-1],
        WHOLE + b"\n",
        WHOLE + b"x",
        WHOLE[1:],
        WHOLE.replace(b"@v1", b"@v2"),
        WHOLE.replace(b'"at_ms":18', b'"at_ms": 18'),
        WHOLE.replace(b'"at_ms":1800000000000', b'"at_ms":1.5'),
        WHOLE.replace(b'"at_ms":1800000000000,', b""),
        WHOLE.replace(b'"kind":"claim"', b'"kind":""'),
        WHOLE.replace(b'"prev":""', b'"prev":"ab"'),
        WHOLE.replace(b'"prev":"","signer"', b'"prev":"","signed":"","signer"'),
        WHOLE.replace(b'{"says":"\xc3\xa4\\n"}', b"[]"),
        WHOLE[:-2] + b"A\n",
        WHOLE[:-3] + b"\n",
    ],
)
def test_another_spelling_is_no_statement(damaged: bytes) -> None:
    assert damaged != WHOLE
    with pytest.raises(WireError):
        Statement.decode(damaged)


def test_who_did_not_sign_did_not_say_it() -> None:
    require_signed(said(), verifies)
    for wrong in (
        Statement(1, {}, "claim", "", ANNA, said().signature),
        said(number="+1").signed(key_of("ben").sign),
        Statement(1, {}, "claim", "", public_of("ben")).signed(key_of("anna").sign),
    ):
        with pytest.raises(ProofError):
            require_signed(wrong, verifies)


def test_its_name_is_the_same_whoever_signed_and_another_for_every_other_statement() -> None:
    first = said(number="+1")
    assert first.hash == first.signed(key_of("ben").sign).hash
    others = {said(number="+2").hash, said("0" * 64, number="+1").hash, said(first.hash, number="+1").hash}
    assert len({first.hash, *others}) == 4


def test_two_statements_and_what_is_around_them_fit_into_an_entry() -> None:
    room = STATEMENT_MAX - len(said(x="").encode())
    assert len(said(x="x" * room).encode()) == STATEMENT_MAX
    assert 2 * STATEMENT_MAX + 16_000 < ENTRY_MAX
    with pytest.raises(WireError):
        said(x="x" * (room + 1)).encode()
    with pytest.raises(WireError):
        Statement.decode(said(x="x" * room).encode() + b"\n")


@pytest.mark.parametrize("body", [{"x": 1.5}, {"x": 1 << 53}, {"ä": 1}, {"x": "\ud800"}, {"x": b"1"}])
def test_what_has_no_canonical_form_is_not_signed(body: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Statement(1, body, "claim", "", ANNA).signed(key_of("anna").sign)
