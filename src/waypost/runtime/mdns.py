"""Tell by multicast DNS, on chosen links, that the directory is here.

Each transport is a service of its own type; its instances differ in their port.  What is announced is where the
listeners are reached on these links, as it is when the node starts.  At the end the services are taken back.

The one file that knows zeroconf (the extra `mdns`).

Source: RFC 9176, 4.1.2 and 9.7 (service types); RFC 6762; RFC 6763, 4.1 and 6.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from waypost.engine import Endpoint
from waypost.errors import ConfigError

if TYPE_CHECKING:  # it takes a tenth of a second, and few want it
    from zeroconf import ServiceInfo

TYPES: Final = {
    "coap": "_core-rd._udp",
    "coaps": "_core-rd-dtls._udp",
    "coap+tcp": "_core-rd._tcp",
    "coaps+tcp": "_core-rd-tls._tcp",
}


@dataclass(frozen=True, slots=True)
class Link:
    """An interface and its addresses, without zones."""

    name: str
    index: int
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """An instance of a service; `type` as in "_core-rd._udp".  Those with the same addresses have one `host`."""

    type: str
    instance: str
    host: int
    port: int
    addresses: tuple[str, ...]


def services(name: str, listeners: Mapping[str, Endpoint], links: Sequence[Link]) -> list[Service]:
    """What to announce there; `listeners` are those of a node: "coap", "coap2", "coap+tcp", …, and others too."""
    reached: dict[tuple[str, int], dict[str, None]] = {}
    for listener, address in listeners.items():
        kind = TYPES.get(re.sub(r"[0-9]+$", "", listener))
        if kind is not None:
            for text in _reached(address, links):
                reached.setdefault((kind, address.port), {})[text] = None
    found: list[Service] = []
    hosts: dict[tuple[str, ...], int] = {}
    for (kind, port), own in reached.items():
        number = 1 + sum(service.type == kind for service in found)
        addresses = tuple(own)
        host = hosts.setdefault(addresses, len(hosts) + 1)
        found.append(Service(kind, name if number == 1 else f"{name} {number}", host, port, addresses))
    return found


def _reached(address: Endpoint, links: Sequence[Link]) -> list[str]:
    """The addresses of the links at which a listener is reached; not link-local ones if there are others."""
    wanted = ip_address(address.host)
    own = [text for link in links for text in link.addresses]
    if not wanted.is_unspecified:
        return [text for text in own if ip_address(text) == wanted]
    same = [text for text in own if ip_address(text).version == wanted.version]
    return [text for text in same if not ip_address(text).is_link_local] or same


@asynccontextmanager
async def announcing(
    name: str, node: str, listeners: Mapping[str, Endpoint], interfaces: Sequence[str]
) -> AsyncIterator[None]:
    """While it lasts, `node` is found under `name`, or a name like it if another has that already.

    Takes a second or two.  Raises ConfigError if there is nothing to announce, or no way.
    """
    if not interfaces:
        yield
        return
    try:
        from zeroconf import Error
        from zeroconf.asyncio import AsyncZeroconf
    except ImportError:
        raise ConfigError("mdns.interfaces: zeroconf is not there", hint="pip install 'waypost[mdns]'") from None
    links = _links(interfaces)
    found = services(name, listeners, links)
    if not found:
        where = ", ".join(interfaces)
        raise ConfigError(f"mdns.interfaces: no CoAP listener is reached on {where}", hint="see coap.listen")
    try:
        responder = AsyncZeroconf(interfaces=_ways(links))
    except OSError as error:
        raise ConfigError(f"mdns.interfaces: multicast DNS cannot be heard there: {error.strerror}") from error
    try:

        async def register(service: Service) -> None:
            announced = await responder.async_register_service(_info(service, node), allow_name_change=True)
            await announced

        try:
            await asyncio.gather(*map(register, found))
        except Error as error:
            raise ConfigError(
                f"mdns: {name!r} cannot be announced: {error}", hint="choose another mdns.name"
            ) from error
        yield
    finally:
        await responder.async_close()


def _info(service: Service, node: str) -> "ServiceInfo":
    """TXT names the node, so that whoever finds it by several transports knows that it is one."""
    from zeroconf import ServiceInfo

    kind = f"{service.type}.local."
    return ServiceInfo(
        kind,
        f"{service.instance}.{kind}",
        port=service.port,
        properties={"txtvers": "1", "node": node},
        server=f"waypost-{node}-{service.host}.local.",
        parsed_addresses=list(service.addresses),
    )


def _links(names: Sequence[str]) -> list[Link]:
    """Raises ConfigError for an interface that there is not."""
    from ifaddr import get_adapters

    adapters = {adapter.name: adapter for adapter in get_adapters()}
    links: list[Link] = []
    for name in names:
        adapter = adapters.get(name)
        if adapter is None or adapter.index is None:
            hint = "there are " + ", ".join(adapters)
            raise ConfigError(f"mdns.interfaces: there is no {name} with an address", hint=hint)
        addresses = (address.ip if isinstance(address.ip, str) else address.ip[0] for address in adapter.ips)
        links.append(Link(name, adapter.index, tuple(addresses)))
    return links


def _ways(links: Sequence[Link]) -> list[str | int | tuple[tuple[str, int, int], int]]:
    """The links as zeroconf wants them: an IPv4 address each, and the index if IPv6 has groups there."""
    ways: list[str | int | tuple[tuple[str, int, int], int]] = []
    for link in links:
        versions = {ip_address(text).version: text for text in reversed(link.addresses)}
        if 4 in versions:
            ways.append(versions[4])
        if 6 in versions and not ip_address(versions[6]).is_loopback:
            ways.append(link.index)
    return ways
