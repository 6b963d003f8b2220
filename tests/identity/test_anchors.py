"""The signed file that says whom a node trusts."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from authorities import DAY, NOW, Authority, authority
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import DeniedError, WireError
from waypost.identity import ROLES, keys
from waypost.identity.anchors import (
    ANCHORS_MAX,
    REVOKED_MAX,
    TRUST_MAX,
    Anchor,
    Revoked,
    Seen,
    Trust,
    our_anchor,
    read_revoked,
    read_trust,
    require_current,
    seal_revoked,
    seal_trust,
    with_anchor,
    with_new_root,
)
from waypost.identity.signature import seal

OPERATOR = keys.make_ed25519()
PUBLIC = OPERATOR.public_key()
SERIAL, PRINT = "1f" * 20, "ab" * 32


@pytest.fixture(scope="module")
def ours() -> Authority:
    return authority()


@pytest.fixture(scope="module")
def others() -> Authority:
    return authority()


def written(ours: Authority, **changes: object) -> dict[str, Any]:
    anchor = {
        "certificate": b64encode(ours.root.der).decode(),
        "known_as": "",
        "roles": ["device"],
        "until_ms": NOW + DAY,
    }
    revoked: Mapping[str, list[str]] = {"certificates": [], "keys": [], "tokens": []}
    value = {"format": 1, "version": 1, "expires_ms": NOW + DAY, "anchors": [anchor], "revoked": revoked}
    return value | changes


def refusal(value: object) -> str:
    with pytest.raises(WireError) as caught:
        read_trust(seal(OPERATOR, "trust", value), PUBLIC)
    return str(caught.value)


def test_a_trust_file_is_read_as_it_was_written(ours: Authority, others: Authority) -> None:
    revoked = Revoked(frozenset({SERIAL}), frozenset({PRINT}), frozenset({"token-1"}))
    theirs = Anchor(others.root, "acme", ("peer", "reader"), NOW + DAY)
    trust = Trust(7, NOW + 2 * DAY, (our_anchor(ours.root), theirs), revoked)
    data = seal_trust(trust, OPERATOR)
    again = read_trust(data, PUBLIC)
    assert replace(again, digest="") == trust
    assert again.digest
    assert again.anchors[0].roles == ROLES
    assert again.anchors[0].is_ours
    assert not again.anchors[1].is_ours


def test_only_the_operator_s_key_signs_it(ours: Authority) -> None:
    data = seal_trust(ours.trust, keys.make_ed25519())
    with pytest.raises(DeniedError, match="it is not signed with the key"):
        read_trust(data, PUBLIC)
    with pytest.raises(DeniedError, match="signature is wrong"):
        read_trust(seal_trust(ours.trust, OPERATOR).replace(b'"version":1}', b'"version":9}'), PUBLIC)
    with pytest.raises(DeniedError, match="signature is wrong"):  # the node's revocations are no trust file
        read_trust(seal_revoked(Revoked(), 1, OPERATOR), PUBLIC)


def test_an_older_file_is_refused_and_so_is_another_of_its_version(ours: Authority) -> None:
    seen = Seen(3, "what it said")
    require_current(Trust(3, NOW + 1, digest="what it said"), seen, NOW)
    require_current(Trust(4, NOW + 1, digest="something else"), seen, NOW)
    with pytest.raises(DeniedError, match="of version 2, and version 3 was seen before"):
        require_current(Trust(2, NOW + 1, digest="what it said"), seen, NOW)
    with pytest.raises(DeniedError, match="two different trust files of version 3"):
        require_current(Trust(3, NOW + 1, digest="something else"), seen, NOW)
    with pytest.raises(DeniedError, match="version 4 has expired"):
        require_current(Trust(4, NOW, digest="something else"), seen, NOW)


def test_a_file_of_another_format_or_without_a_sense_is_refused(ours: Authority) -> None:
    assert read_trust(seal(OPERATOR, "trust", written(ours)), PUBLIC).version == 1
    assert refusal(written(ours, format=2)) == "the trust file is not of format 1, which is the one this waypost reads"
    assert refusal([]).startswith("the trust file is not of format 1")
    assert "from 1 on" in refusal(written(ours, version=0))
    assert "1 to 64 anchors" in refusal(written(ours, anchors=[]))
    many = written(ours)["anchors"] * (ANCHORS_MAX + 1)
    assert "1 to 64 anchors" in refusal(written(ours, anchors=many))
    assert "unknown field" in refusal(written(ours, more=1))
    assert "not as it must be" in refusal(written(ours, version="1"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"certificate": "*"}, "not in base64"),
        ({"certificate": "AAAA"}, "no certificate that can be read"),
        ({"known_as": "a@b"}, "no name"),
        ({"known_as": 17 * "a"}, "no name"),
        ({"roles": ["operator"]}, "a role that is none of"),
        ({"more": 1}, "unknown field"),
    ],
)
def test_each_part_of_an_anchor_is_checked(ours: Authority, changes: dict[str, object], sentence: str) -> None:
    anchor = written(ours)["anchors"][0] | changes
    assert sentence in refusal(written(ours, anchors=[anchor]))


def test_an_anchor_is_an_authority(ours: Authority) -> None:
    leaf = b64encode(ours.certify("device", "a").der).decode()
    anchor = written(ours)["anchors"][0] | {"certificate": leaf}
    assert refusal(written(ours, anchors=[anchor])) == "the certificate of an anchor is not an authority's"


@pytest.mark.parametrize(
    ("kind", "item", "what"),
    [
        ("certificates", "0f", "serial"),
        ("certificates", "F", "serial"),
        ("certificates", 41 * "1", "serial"),
        ("keys", PRINT[1:], "fingerprint"),
        ("tokens", "a b", "token's id"),
    ],
)
def test_what_is_revoked_has_its_form(ours: Authority, kind: str, item: str, what: str) -> None:
    revoked = written(ours)["revoked"] | {kind: [item]}
    assert refusal(written(ours, revoked=revoked)) == f"what is revoked is no {what}"


def test_what_is_revoked_has_a_limit(ours: Authority) -> None:
    revoked = written(ours)["revoked"] | {"certificates": [f"{n:x}" for n in range(1, REVOKED_MAX + 2)]}
    assert refusal(written(ours, revoked=revoked)) == "more than 100000 are revoked of one kind"
    with pytest.raises(WireError, match="at most"):
        read_trust(bytes(TRUST_MAX + 1), PUBLIC)


def test_revocations_are_signed_too_and_have_a_version() -> None:
    revoked = Revoked(frozenset({SERIAL}))
    data = seal_revoked(revoked, 5, OPERATOR)
    again, seen = read_revoked(data, PUBLIC)
    assert (again, seen.version) == (revoked, 5)
    with pytest.raises(DeniedError):
        read_revoked(data, keys.make_ed25519().public_key())
    with pytest.raises(DeniedError):
        read_revoked(data.replace(SERIAL.encode(), b"2f" * 20), PUBLIC)
    wrong = {"format": 2, "version": 1, "revoked": {"certificates": [], "keys": [], "tokens": []}}
    with pytest.raises(WireError, match="not of format 1"):
        read_revoked(seal(OPERATOR, "revocations", wrong), PUBLIC)
    with pytest.raises(WireError, match="not as they must be"):
        read_revoked(seal(OPERATOR, "revocations", 1), PUBLIC)


def test_a_root_is_trusted_once(ours: Authority, others: Authority) -> None:
    theirs = Anchor(others.root, "acme", ("peer",), NOW + DAY)
    trust = with_anchor(ours.trust, theirs)
    assert (trust.version, trust.anchors[1]) == (2, theirs)
    with pytest.raises(ValueError, match="trusted already"):
        with_anchor(trust, replace(theirs, known_as="emca"))
    with pytest.raises(ValueError, match="64 roots are trusted at most"):
        with_anchor(replace(ours.trust, anchors=ours.trust.anchors * ANCHORS_MAX), theirs)


def test_a_new_root_ends_the_old_one_and_no_other_s(ours: Authority, others: Authority) -> None:
    theirs = Anchor(others.root, "acme", ("peer",), NOW + 90 * DAY)
    gone = Anchor(authority().root, "", ROLES, NOW)
    before = replace(ours.trust, anchors=(our_anchor(ours.root), theirs, gone))
    new = authority().root
    after = with_new_root(before, new, NOW, 10 * DAY)
    old = replace(our_anchor(ours.root), until_ms=NOW + 10 * DAY)
    assert after.anchors == (old, theirs, our_anchor(new))
    assert after.version == 2
    # A second exchange does not lengthen what the first has ended.
    assert with_new_root(after, authority().root, NOW + DAY, 90 * DAY).anchors[0] == old


SAMPLE = seal_trust(authority().trust, OPERATOR)


@given(st.binary(max_size=300))
def test_any_octets_raise_nothing_but_our_errors(data: bytes) -> None:
    for read in (read_trust, read_revoked):
        with pytest.raises((WireError, DeniedError)):
            read(data, PUBLIC)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(codec="ascii")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*"ab", "format", "anchors"]), inner),
    max_leaves=8,
)


@given(json_values, st.sampled_from(["format", "version", "expires_ms", "anchors", "revoked"]))
def test_any_value_that_the_operator_signed_raises_nothing_but_wire_error(value: object, key: str) -> None:
    """A key is no licence to crash a node."""
    whole = {"format": 1, "version": 1, "expires_ms": 1, "anchors": [], "revoked": {}} | {key: value}
    for document in (value, whole):
        with pytest.raises(WireError):
            read_trust(seal(OPERATOR, "trust", document), PUBLIC)
