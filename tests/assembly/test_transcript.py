"""One registration's life as the wire shows it, in a file that a reviewer reads."""

from collections.abc import Callable

from waypost.assembly.engine import Assembly
from waypost.coap.numbers import Code
from waypost.engine import Endpoint
from waypost.identity.policy import default
from waypost.rd.engine import Settings
from waypost.sim import Device, Trace, World, coap

SERVER = Endpoint("2001:db8::1", 5683)


def test_a_registration_outlives_a_power_cut_and_ends_with_its_lifetime(golden: Callable[[str], None]) -> None:
    """RFC 9176, 5 and 6; design, Contracts, 1."""
    world = World(1, trace=(trace := Trace(describe=coap)))
    node = world.node("node", lambda rng: Assembly(rng, Settings(), default().decide), SERVER.host)
    lamp = Device(world, "2001:db8::d", SERVER, name="lamp")

    def look_up() -> None:
        lamp.request(Code.GET, "rd-lookup/ep", ("ep=lamp",), b"", lambda answer: None)

    lamp.request(Code.POST, "rd", ("ep=lamp", "lt=60"), b'</light>;rt="light"', lambda answer: None)
    world.run(until=1.0)
    look_up()
    world.run(until=2.0)
    node.crash()
    look_up()
    world.run(until=3.0)
    node.start()
    world.run(until=100.0)
    look_up()
    world.run(until=101.0)
    golden("\n".join(trace.lines) + "\n")
