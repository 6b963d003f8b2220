"""What tests of several whole nodes ask them."""

from waypost.coap.numbers import Code
from waypost.coap.request import Response
from waypost.rd.engine import Settings
from waypost.rd.questions import Entry, Found, Kind, Lookup, Outcome, Register, Remove, Renew
from waypost.record import Change
from waypost.record.feed import FEED
from waypost.record.gossiped import Gossiped
from waypost.record.wire import decode
from waypost.sim import Device
from waypost.sim.installed import Party

import msgspec  # isort: skip

THREE = ("anna", "berta", "carla")
FIVE = (*THREE, "dora", "emma")
GRACE_S = 300.0
UNLIMITED = Settings(registrations_per_second=0, brake_share=0, grace_s=GRACE_S)
LINKS = b'</light>;rt="light"'
_gossiped = msgspec.json.Decoder(Gossiped)


def party(names: tuple[str, ...] = THREE, *, seed: int = 1, settings: Settings = UNLIMITED) -> Party:
    """Nodes that know each other."""
    made = Party(seed, names, settings=settings)
    made.run(5.0)
    return made


def ask(party: Party, name: str, question: object, within: float = 1.0) -> Outcome:
    answers: list[object] = []
    party.nodes[name].ask(lambda engine, now: engine.ask(question, now), answers.append)
    party.run(within)
    (answer,) = answers
    return answer  # type: ignore[return-value]


def register(
    ep: str = "lamp", links: bytes = LINKS, *, lt: int = 60, base: str | None = None, zone: int = 0, source: str = ""
) -> Register:
    source = source or "2001:db8:d::1"
    return Register(ep, None, lt, base, f"coap://[{source}]", (), links, source, zone=zone)


def renew(location: str, *, lt: int | None = None) -> Renew:
    return Renew(location, lt, None, None, (), "2001:db8:d::1")


def remove(location: str) -> Remove:
    return Remove(location, "2001:db8:d::1")


def found(party: Party, name: str, zone: int = 0) -> dict[str, str]:
    """The location of every endpoint that the node shows, by name."""
    outcome = ask(party, name, Lookup(Kind.ENDPOINTS, (), structured=True, zone=zone), within=0.0)
    assert isinstance(outcome, Found)
    return {entry.ep: entry.location for entry in outcome.entries if isinstance(entry, Entry)}


def everywhere(party: Party) -> dict[str, str]:
    """What each node shows, where all show the same."""
    first, *others = [found(party, name) for name in party.up]
    assert all(other == first for other in others), [first, *others]
    return first


def feed(party: Party, name: str) -> list[Change]:
    """The changes of the node's directory."""
    rows = party.rows(name, FEED).items()
    changes = [Change.decode(int.from_bytes(key, "big"), value) for key, value in rows]
    assert [change.seq for change in changes] == list(range(1, len(changes) + 1)), "the feed has a gap"
    return [change for change in changes if change.room == "rd"]


def gossip(party: Party, name: str) -> list[Gossiped]:
    return [decode(value, _gossiped, 1 << 20) for value in party.rows(name, "gossip").values()]


def request(party: Party, device: Device, code: Code, path: str, *query: str, payload: bytes = b"") -> Response:
    answers: list[Response | None] = []
    device.request(code, path, query, payload, answers.append)
    party.run(3.0)
    (answer,) = answers
    assert answer is not None
    return answer
