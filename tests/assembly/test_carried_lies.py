"""What a node of the network says that no directory can have accepted: nobody takes it, and nobody falls over it."""

from typing import Final

import pytest
from msgspec.structs import replace
from parties import LINKS, THREE, ask, everywhere, found, party, register, remove, renew

from waypost.drip import parcel
from waypost.drip.rumours import Spread
from waypost.engine import Endpoint
from waypost.rd.parameters import LIFETIME_MAX
from waypost.rd.questions import Refused, Registered, Removed, Renewed
from waypost.rd.record import Record, key_of
from waypost.record import Hlc
from waypost.record.gossiped import Gossiped, Moment
from waypost.sim import EPOCH_MS
from waypost.sim.installed import PEERS_PORT, Party
from waypost.sim.people import Fast, public_of

PLACE: Final = "00000000-0000-4000-8000-000000000001"
SOUND: Final = Record(
    attributes=(),
    base="coap://[2001:db8::99]",
    d=None,
    ep="lamp",
    expires_ms=EPOCH_MS + 90_000,
    explicit=True,
    links=LINKS.decode(),
    location=PLACE,
    lt=60,
    node="anna",
)


def say(party: Party, key: bytes, value: bytes) -> None:
    """Anna says so to the others, whatever she has herself."""
    unsigned = Gossiped(
        namespace="rd",
        key=key,
        value=value,
        expires_ms=party.world.wall_ms() + 10**8,
        hlc=Moment.of(Hlc(party.world.wall_ms(), 0)),
        node="anna",
        incarnation=1,
        signature="",
    )
    record = unsigned.signed(party.network, Fast(public_of("anna/1")).sign)
    (body,) = parcel.bodies([parcel.spell(Spread((record,), (), ()))])
    for name in ("berta", "carla"):
        source, target = Endpoint(party.host("anna"), PEERS_PORT), Endpoint(party.host(name), PEERS_PORT)
        party.world.post(source, target, body, is_stream=True)
    party.run(1.0)


LIES: Final = {
    "no JSON": b"junk",
    "no record": b"{}",
    "of another name": replace(SOUND, ep="other").encode(),
    "of a link": replace(SOUND, zone=3).encode(),
    "link-local": replace(SOUND, base="coap://[fe80::1]").encode(),
    "of a link-local owner": replace(SOUND, owner="source:fe80::1%2").encode(),
    "of no node": replace(SOUND, node="").encode(),
    "without a lifetime": replace(SOUND, lt=0).encode(),
    "with too long a lifetime": replace(SOUND, lt=LIFETIME_MAX + 1).encode(),
    "without an end": replace(SOUND, expires_ms=10**18).encode(),
    "without a base": replace(SOUND, base="nowhere").encode(),
    "with a port that is none": replace(SOUND, base="coap://[::1").encode(),
    "with links that are none": replace(SOUND, links="<").encode(),
    "with a link that is relative": replace(SOUND, links="<a>").encode(),
    "with a location that is none": replace(SOUND, location="../x").encode(),
    "with a member that is none": replace(SOUND, members=("x",)).encode(),
    "with an attribute that is reserved": replace(SOUND, attributes=(("page", "1"),)).encode(),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_cannot_be_registered_is_not_taken_from_another_node(lie: str) -> None:
    made = party()
    say(made, key_of(None, "lamp"), LIES[lie])
    assert everywhere(made) == {}
    assert not any(made.rows(name, "gossip") for name in THREE)


def test_what_can_be_registered_is_taken() -> None:
    made = party()
    say(made, key_of(None, "lamp"), SOUND.encode())
    assert found(made, "berta") == {"lamp": PLACE}
    made.run(10.0)
    assert everywhere(made) == {"lamp": PLACE}, "and it comes back to whom it is from"


def test_what_a_later_release_adds_to_a_record_is_carried_too() -> None:
    made = party()
    say(made, key_of(None, "lamp"), SOUND.encode()[:-1] + b',"zest":1}')
    assert found(made, "berta") == {"lamp": PLACE}


def test_two_names_at_one_location_leave_every_directory_sound() -> None:
    """No node gives a location twice; a file that two nodes load, or a lie, may."""
    made = party()
    for ep in ("b", "a", "c"):
        say(made, key_of(None, ep), replace(SOUND, ep=ep).encode())
    assert found(made, "berta") == {"a": PLACE, "b": PLACE, "c": PLACE}
    assert ask(made, "berta", renew(PLACE, lt=900)) == Renewed()
    made.run(1.0)
    assert ask(made, "carla", remove(PLACE)) == Removed()
    assert found(made, "berta") == {"b": PLACE, "c": PLACE}, "it was the first by name"
    registered = ask(made, "carla", register("c", lt=900))
    assert isinstance(registered, Registered)
    assert registered.location != PLACE
    assert not registered.created
    assert found(made, "berta") == {"b": PLACE, "c": registered.location}
    for node in made.nodes.values():
        node.crash()
        node.start()
    made.run(10.0)
    assert everywhere(made) == {"b": PLACE, "c": registered.location}
    assert ask(made, "anna", remove(PLACE)) == Removed()
    assert isinstance(ask(made, "anna", remove(PLACE)), Refused)
    assert everywhere(made) == {"c": registered.location}
