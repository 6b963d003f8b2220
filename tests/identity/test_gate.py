"""What one asker may ask: by identity, by address, by network."""

import pytest

from waypost.identity import ANONYMOUS, OPERATOR, Identity
from waypost.identity.admission import NETWORK, Gate

LAMP = Identity("psk", "lamp")


def admitted(gate: Gate, source: str, count: int, who: Identity = ANONYMOUS, now: float = 0.0) -> int:
    return sum(gate.take(who, source, now) == 0 for _ in range(count))


def test_an_address_may_ask_so_much_at_once_and_then_so_much_a_second() -> None:
    gate = Gate(2.0, 5)
    assert admitted(gate, "192.0.2.1", 20) == 5
    assert gate.take(ANONYMOUS, "192.0.2.1", 0.0) == 1, "come back in a second"
    assert admitted(gate, "192.0.2.1", 20, now=2.0) == 4
    assert gate.refused == 20 - 5 + 1 + 20 - 4


@pytest.mark.parametrize("network", ["198.51.100.{}", "2001:db8:0:{:x}::1"])
def test_a_network_may_ask_no_more_than_some_of_its_addresses(network: str) -> None:
    """Notes on reliability, D1: /32 and /24, /64 and /56."""
    gate = Gate(1.0, 10)
    assert sum(admitted(gate, network.format(number), 10) for number in range(200)) == 10 * NETWORK


@pytest.mark.parametrize("pair", [("198.51.100.1", "198.51.101.1"), ("2001:db8:0:1::1", "2001:db8:0:101::1")])
def test_another_network_is_not_held_back(pair: tuple[str, str]) -> None:
    gate = Gate(1.0, 1)
    for number in range(NETWORK):
        admitted(gate, pair[0].replace(".1", f".{number + 2}"), 1)
    assert admitted(gate, pair[1], 1) == 1


def test_addresses_of_one_64_are_one_asker() -> None:
    gate = Gate(1.0, 3)
    assert sum(admitted(gate, f"2001:db8::{number:x}", 1) for number in range(10)) == 3


def test_who_has_shown_who_it_is_has_its_own_wherever_it_comes_from() -> None:
    gate = Gate(1.0, 3)
    assert admitted(gate, "192.0.2.1", 9) == 3
    assert admitted(gate, "192.0.2.1", 9, LAMP) == 3
    assert admitted(gate, "192.0.2.2", 9, LAMP) == 0
    assert admitted(gate, "192.0.2.2", 9, Identity("psk", "lamp-2")) == 3


@pytest.mark.parametrize(
    ("source", "who"),
    [
        ("127.0.0.1", ANONYMOUS),
        ("127.9.9.9", ANONYMOUS),
        ("::1", ANONYMOUS),
        ("::ffff:127.0.0.1", ANONYMOUS),
        ("192.0.2.1", OPERATOR),
    ],
)
def test_this_machine_and_the_operator_are_not_limited(source: str, who: Identity) -> None:
    gate = Gate(1.0, 1)
    assert admitted(gate, source, 100, who) == 100
    assert len(gate) == 0


def test_without_a_rate_nobody_is() -> None:
    assert admitted(Gate(0, 1), "192.0.2.1", 100) == 100
