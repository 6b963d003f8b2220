"""Nodes that the network knows by their keys: the name in a certificate is not enough.  Notes on DRiP, 5.1."""

from dataclasses import replace

import pytest

from waypost.errors import DeniedError
from waypost.identity.anchors import Trust, our_anchor
from waypost.identity.certificates import Subject, issue, make_root
from waypost.identity.credentials import Credentials
from waypost.identity.keys import PrivateKey, fingerprint, make_p256
from waypost.identity.pins import Pins

NOW_MS = 1_790_000_000_000
AUTHORITY = make_p256()
ROOT = make_root(AUTHORITY, NOW_MS)
TRUST = Trust(1, ROOT.not_after_ms, (our_anchor(ROOT),))
OWN, NEXT, OTHER = make_p256(), make_p256(), make_p256()
TOLD: list[str] = []


def pins(**of: tuple[PrivateKey, ...]) -> Pins:
    made = Pins(TOLD.append)
    made.of = {name: tuple(fingerprint(key.public_key()) for key in keys) for name, keys in of.items()}
    return made


def shown(name: str, key: PrivateKey, role: str = "peer") -> list[bytes]:
    return [issue(AUTHORITY, ROOT, Subject(role, name, days=30), key.public_key(), NOW_MS).der]


def known(by: Pins | None) -> Credentials:
    return Credentials(b"", b"", TRUST, {}, pins=by)


def test_a_node_is_known_by_each_of_the_keys_that_the_roster_has_for_it() -> None:
    credentials = known(pins(anna=(OWN, NEXT)))
    for key in (OWN, NEXT):
        assert credentials.certified(shown("anna", key), NOW_MS).name == "anna"


def test_a_certificate_of_its_name_and_another_key_is_refused_and_counted() -> None:
    by = pins(anna=(OWN,))
    with pytest.raises(DeniedError, match="another key for anna than the roster has"):
        known(by).certified(shown("anna", OTHER), NOW_MS)
    assert by.refused == 1


def test_where_somebody_looks_again_it_is_refused_and_not_counted() -> None:
    by = pins(anna=(OWN,))
    with pytest.raises(DeniedError):
        known(by).certified(shown("anna", OTHER), NOW_MS, is_counted=False)
    assert by.refused == 0


def test_it_is_told_what_that_may_mean_and_not_each_time() -> None:
    TOLD.clear()
    by = pins(anna=(OWN,))
    for _ in range(9):
        with pytest.raises(DeniedError):
            known(by).certified(shown("anna", OTHER), NOW_MS)
    assert by.refused == 9
    assert len(TOLD) == 4
    assert "somebody has the authority's" in TOLD[0]


@pytest.mark.parametrize("by", [None, pins(), pins(berta=(OWN,))])
def test_who_has_told_no_key_is_known_by_name(by: Pins | None) -> None:
    assert known(by).certified(shown("anna", OTHER), NOW_MS).name == "anna"


def test_a_device_of_the_same_name_is_no_node() -> None:
    who = known(pins(anna=(OWN,))).certified(shown("anna", OTHER, "device"), NOW_MS)
    assert who.roles == ("device",)


def test_a_certificate_that_is_not_good_is_no_matter_of_keys() -> None:
    by = pins(anna=(OWN,))
    credentials = replace(known(by), trust=Trust())
    with pytest.raises(DeniedError, match="expired"):
        credentials.certified(shown("anna", OTHER), NOW_MS)
    assert by.refused == 0


def test_who_comes_to_join_may_be_looked_at_without() -> None:
    by = pins(anna=(OWN,))
    assert known(by).certified(shown("anna", OTHER), NOW_MS, is_pinned=False).name == "anna"
    assert by.refused == 0
