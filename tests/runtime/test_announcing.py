"""What is announced by multicast DNS, and that it is heard on loopback and taken back."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import pytest
from zeroconf import ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from waypost.engine import Endpoint
from waypost.errors import ConfigError
from waypost.runtime.mdns import Link, Service, announcing, services

LO: Final = Link("lo", 1, ("127.0.0.1", "::1"))
ETH: Final = Link("eth0", 2, ("192.0.2.7", "2001:db8::7", "fe80::7"))
TYPES: Final = ("_core-rd._udp.local.", "_core-rd._tcp.local.")
HEARD_S: Final = 10.0


def everywhere(port: int = 5683) -> dict[str, Endpoint]:
    return {"coap": Endpoint("0.0.0.0", port), "coap2": Endpoint("::", port)}


def test_a_listener_on_all_addresses_is_announced_with_those_of_the_link() -> None:
    assert services("Hall", everywhere(), [ETH]) == [
        Service("_core-rd._udp", "Hall", 1, 5683, ("192.0.2.7", "2001:db8::7"))
    ]


def test_a_link_local_address_is_announced_if_there_is_no_other() -> None:
    link = Link("eth0", 2, ("fe80::7",))
    assert services("Hall", everywhere(), [link]) == [Service("_core-rd._udp", "Hall", 1, 5683, ("fe80::7",))]


def test_a_listener_that_is_not_reached_on_the_link_is_not_announced() -> None:
    listeners = {"coap": Endpoint("127.0.0.1", 5683), "coap2": Endpoint("2001:db8:0:0::7", 5683)}
    assert services("Hall", listeners, [ETH]) == [Service("_core-rd._udp", "Hall", 1, 5683, ("2001:db8::7",))]
    assert services("Hall", {"coap": Endpoint("192.0.2.8", 5683)}, [ETH, LO]) == []


def test_each_transport_has_its_type_and_what_is_no_transport_has_none() -> None:
    """RFC 9176, 4.1.2."""
    kinds = ("coap", "coaps", "coap+tcp", "coaps+tcp", "http", "coap+ws")
    found = services("Hall", {kind: Endpoint("127.0.0.1", 5683) for kind in kinds}, [LO])
    assert [service.type for service in found] == [
        "_core-rd._udp", "_core-rd-dtls._udp", "_core-rd._tcp", "_core-rd-tls._tcp",
    ]  # fmt: skip
    assert {service.instance for service in found} == {"Hall"}


def test_ports_that_differ_are_instances_and_addresses_that_differ_are_hosts() -> None:
    listeners = {
        "coap": Endpoint("127.0.0.1", 1000),
        "coap+tcp": Endpoint("127.0.0.1", 1001),
        "coap2": Endpoint("::1", 1002),
    }
    assert services("Hall", listeners, [LO]) == [
        Service("_core-rd._udp", "Hall", 1, 1000, ("127.0.0.1",)),
        Service("_core-rd._tcp", "Hall", 1, 1001, ("127.0.0.1",)),
        Service("_core-rd._udp", "Hall 2", 2, 1002, ("::1",)),
    ]


class Ear:
    """What a browser knows: names of instances."""

    def __init__(self, zeroconf: AsyncZeroconf) -> None:
        self.zeroconf = zeroconf
        self.names: set[str] = set()
        self._changed = asyncio.Event()

    def take(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if state_change is ServiceStateChange.Added:
            self.names.add(name)
        elif state_change is ServiceStateChange.Removed:
            self.names.discard(name)
        self._changed.set()

    async def until(self, names: set[str]) -> None:
        async with asyncio.timeout(HEARD_S):
            while self.names != names:
                await self._changed.wait()
                self._changed.clear()


@asynccontextmanager
async def listening() -> AsyncIterator[Ear]:
    ear = Ear(AsyncZeroconf(interfaces=["127.0.0.1"]))
    browser = AsyncServiceBrowser(ear.zeroconf.zeroconf, list(TYPES), handlers=[ear.take])
    try:
        yield ear
    finally:
        await browser.async_cancel()
        await ear.zeroconf.async_close()


async def announced(name: str, listeners: Mapping[str, Endpoint], *interfaces: str) -> None:
    async with announcing(name, "node", listeners, interfaces):
        pass


def test_who_browses_hears_of_it_and_that_it_goes() -> None:
    """RFC 6762, 10.1; RFC 6763, 4 and 6."""

    async def story() -> None:
        udp, tcp = (f"Hall.{kind}" for kind in TYPES)
        listeners = {"coap": Endpoint("127.0.0.1", 5999), "coap+tcp": Endpoint("127.0.0.1", 5998)}
        async with listening() as ear:
            async with announcing("Hall", "n1", listeners, ["lo"]):
                await ear.until({udp, tcp})
                info = AsyncServiceInfo(TYPES[0], udp)
                assert await info.async_request(ear.zeroconf.zeroconf, HEARD_S * 1000)
                assert (info.parsed_addresses(), info.port, info.server) == (["127.0.0.1"], 5999, "waypost-n1-1.local.")
                assert info.properties == {b"txtvers": b"1", b"node": b"n1"}
                async with announcing("Hall", "n2", {"coap": Endpoint("127.0.0.1", 5997)}, ["lo"]):
                    await ear.until({udp, tcp, f"Hall-2.{TYPES[0]}"})
                await ear.until({udp, tcp})
            await ear.until(set())

    asyncio.run(story())


def test_without_interfaces_nothing_is_announced() -> None:
    asyncio.run(announced("", {}))


@pytest.mark.parametrize(
    ("name", "host", "interface", "sentence"),
    [
        ("Hall", "127.0.0.1", "no0", "mdns.interfaces: there is no no0 with an address"),
        ("Hall", "192.0.2.99", "lo", "mdns.interfaces: no CoAP listener is reached on lo"),
        ("ä" * 40, "127.0.0.1", "lo", "mdns: 'ä+' cannot be announced"),
    ],
)
def test_what_cannot_be_announced_is_a_mistake_of_the_configuration(
    name: str, host: str, interface: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        asyncio.run(announced(name, {"coap": Endpoint(host, 5683)}, interface))


def test_without_zeroconf_the_mistake_says_what_to_install() -> None:
    program = (
        "import asyncio, sys; sys.modules['zeroconf'] = None\n"
        "from waypost.runtime.mdns import announcing\n"
        "asyncio.run(announcing('Hall', 'node', {}, ['lo']).__aenter__())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ConfigError: mdns.interfaces: zeroconf is not there" in done.stderr
