"""Whom a revocation of certificates means."""

from waypost.storage.keyring import Issued
from waypost.storage.revoked import subjects

NOW = 1_000


def one(serial: str, name: str, not_after_ms: int = NOW + 1) -> Issued:
    return Issued(serial, "device", name, not_after_ms)


def test_who_has_no_other_certificate_is_meant() -> None:
    issued = [one("1", "lamp"), one("2", "door"), one("3", "door"), one("4", "gone", NOW)]
    assert subjects(issued, {"1"}, NOW) == {"certificate:lamp"}
    assert subjects(issued, {"1", "2"}, NOW) == {"certificate:lamp"}, "the door's was replaced"
    assert subjects(issued, {"2", "3"}, NOW) == {"certificate:door"}
    assert subjects(issued, {"3", "2"}, NOW) == {"certificate:door"}, "whichever came first"
    assert subjects(issued, {"4"}, NOW) == frozenset(), "what has ended is no session's"
    assert subjects([*issued, one("5", "lamp")], {"1"}, NOW) == frozenset()
    assert subjects(issued, (), NOW) == frozenset()
