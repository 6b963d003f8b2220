"""Datagrams between one socket and a host.

The loop wakes the driver when the socket is readable; it reads up to DRAIN_MAX datagrams, hands them
to the host together, and returns to the loop so that nothing else starves.  A datagram that cannot be sent is
counted by the name of its error and forgotten: UDP promises nothing, and whoever needs the answer asks again.

A socket bound to one address uses recvfrom and sendto.  One bound to a wildcard address must answer
from the address that was asked, else the client does not know the answer: it uses recvmsg and sendmsg with the
packet's local address (1.4 us more for each datagram).  Datagrams to groups are dropped, as those to broadcast
addresses are, unless interfaces were named on which the groups of CoAP are joined.

IPv4 and IPv6 are separate sockets, so an IPv4 peer is never a mapped IPv6 address.

Source: RFC 3542, 6 (packet information); ip(7), socket(7); RFC 7252, 12.8 and RFC 9176, 9.5 (groups).
"""

import asyncio
import errno
import logging
import socket
import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Final, Protocol

from waypost.engine import Endpoint, Path
from waypost.errors import ConfigError
from waypost.identity import ANONYMOUS
from waypost.runtime.host import Sender

DRAIN_MAX: Final = 64  # datagrams read in one wake-up
DATAGRAM_MAX: Final = 1 << 16  # octets; no datagram is larger
RECEIVE_BUFFER: Final = 4 << 20  # octets; the default loses most of a burst of 1,024 datagrams
PATHS_MAX: Final = 16_384  # peers whose Path is kept
LOCALS_MAX: Final = 256  # own addresses whose packet information is kept

# "All CoAP nodes" and "all CoRE resource directories", on the link and on the site
GROUPS_IPV4: Final = ("224.0.1.187", "224.0.1.190")
GROUPS_IPV6: Final = ("ff02::fd", "ff05::fd", "ff02::fe", "ff05::fe")

SO_RCVBUFFORCE: Final = 33  # asm/socket.h; not in the socket module
IP_PKTINFO: Final = 8  # linux/in.h; likewise
IP_MULTICAST_ALL: Final = 49  # linux/in.h; likewise
IPV6_MULTICAST_ALL: Final = 29  # linux/in6.h; likewise
_IP_MREQN: Final = struct.Struct("=4s4xi")  # group, interface
_IPV6_MREQ: Final = struct.Struct("=16si")
_IN_PKTINFO: Final = struct.Struct("=i4s4s")  # interface, local address, destination in the header
_IN6_PKTINFO: Final = struct.Struct("=16si")  # address, interface
GLOBAL_SCOPE: Final = "00"  # in /proc/net/if_inet6
UNUSABLE: Final = 0x08 | 0x20 | 0x40  # linux/if_addr.h: failed its check for duplicates, deprecated, not checked yet
_ANCILLARY_SPACE: Final = socket.CMSG_SPACE(_IN6_PKTINFO.size)
_WILDCARDS: Final = ("0.0.0.0", "::")  # noqa: S104  (compared, not bound)

Address = tuple[str, int] | tuple[str, int, int, int]  # as the socket module has it
Ancillary = list[tuple[int, int, bytes]]

log = logging.getLogger(__name__)


class Receiver(Protocol):
    """What the driver needs of a Host."""

    def link(self, send: Sender) -> int: ...
    def unlink(self, number: int) -> None: ...
    def receive(self, datagrams: Sequence[tuple[bytes, Path]]) -> object: ...


class DatagramSocket(Protocol):
    """What the driver needs of a socket."""

    @property
    def family(self) -> int: ...
    def fileno(self) -> int: ...
    def getsockname(self) -> Address: ...
    def getsockopt(self, level: int, option: int, /) -> int: ...
    def recvfrom(self, size: int, /) -> tuple[bytes, Address]: ...
    def recvmsg(self, size: int, space: int, /) -> tuple[bytes, Ancillary, int, Address]: ...
    def sendto(self, data: bytes, address: Address, /) -> int: ...
    def sendmsg(self, parts: tuple[bytes], ancillary: Ancillary, flags: int, address: Address, /) -> int: ...
    def close(self) -> None: ...


class UdpDriver:
    """Reads from the moment it is made until close().

    `address` is the bound one, with the real port; `receive_buffer` its octets.  `errors` counts
    failures by the system's name for them ("EPERM"), `dropped` the datagrams cut short or sent to a group, unless
    `groups` says that some were joined.
    """

    def __init__(self, host: Receiver, sock: DatagramSocket, *, groups: bool = False) -> None:
        self._host = host
        self._sock = sock
        self._groups = groups
        self._ipv4 = sock.family == socket.AF_INET
        self.address = endpoint(sock.getsockname())
        # The kernel reports twice what it keeps for data (socket(7)).
        self.receive_buffer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        self._paths: dict[object, Path] = {}
        self._ancillaries: dict[Endpoint, Ancillary] = {}
        self.errors: Counter[str] = Counter()
        self.dropped = 0
        wildcard = self.address.host in _WILDCARDS
        self._link = host.link(self._send_from_local if wildcard else self._send)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._read_with_local if wildcard else self._read)

    def close(self) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._host.unlink(self._link)
        self._sock.close()

    def path(self, peer: Endpoint) -> Path:
        """A way to `peer` for a message that nobody asked for."""
        return Path("udp", peer, self.address, self._link, ANONYMOUS, validated=False)

    def _read(self) -> None:
        batch: list[tuple[bytes, Path]] = []
        receive, paths = self._sock.recvfrom, self._paths
        try:
            for _ in range(DRAIN_MAX):
                data, address = receive(DATAGRAM_MAX)
                batch.append((data, paths.get(address) or self._remember(address, address, self.address)))
        except BlockingIOError:
            pass
        except OSError as error:
            self._count(error)
        if batch:
            self._host.receive(batch)

    def _read_with_local(self) -> None:
        batch: list[tuple[bytes, Path]] = []
        receive, paths = self._sock.recvmsg, self._paths
        try:
            for _ in range(DRAIN_MAX):
                data, ancillary, flags, address = receive(DATAGRAM_MAX, _ANCILLARY_SPACE)
                info = ancillary[0][2] if ancillary else b""
                path = paths.get((address, info)) or self._find(address, info)
                if path is None or flags & socket.MSG_TRUNC:
                    self.dropped += 1
                else:
                    batch.append((data, path))
        except BlockingIOError:
            pass
        except OSError as error:
            self._count(error)
        if batch:
            self._host.receive(batch)

    def _find(self, address: Address, info: bytes) -> Path | None:
        if not info:
            return self._remember((address, info), address, self.address)
        local, group = (_local_ipv4 if self._ipv4 else _local_ipv6)(info, self.address.port)
        if local is None or (group and not self._groups):
            return None
        return self._remember((address, info), address, local, group=group)

    def _remember(self, key: object, address: Address, local: Endpoint, *, group: bool = False) -> Path:
        if len(self._paths) >= PATHS_MAX:
            self._paths.clear()  # cheaper than keeping them in order of use
        path = Path("udp", endpoint(address), local, self._link, ANONYMOUS, validated=False, group=group)
        self._paths[key] = path
        return path

    def _send(self, path: Path, data: bytes) -> None:
        host, port, scope, _ = path.peer
        try:
            self._sock.sendto(data, (host, port) if self._ipv4 else (host, port, 0, scope))
        except OSError as error:
            self._count(error)

    def _send_from_local(self, path: Path, data: bytes) -> None:
        host, port, scope, _ = path.peer
        try:
            ancillary = self._ancillaries.get(path.local)
            if ancillary is None:
                ancillary = self._ancillary(path.local)
            self._sock.sendmsg((data,), ancillary, 0, (host, port) if self._ipv4 else (host, port, 0, scope))
        except OSError as error:
            self._count(error)

    def _ancillary(self, local: Endpoint) -> Ancillary:
        if len(self._ancillaries) >= LOCALS_MAX:
            self._ancillaries.clear()
        ancillary = self._ancillaries[local] = _packet_info(local, ipv4=self._ipv4)
        return ancillary

    def _count(self, error: OSError) -> None:
        self.errors[errno.errorcode.get(error.errno or 0, "UNKNOWN")] += 1


def open_udp(host: Receiver, address: str, port: int, *, interfaces: Sequence[str] = ()) -> UdpDriver:
    """Bind `address`, a numeric one ("127.0.0.1", "::", "fe80::1%eth0"), and read; port 0 takes a free one.

    On a wildcard address the groups of CoAP are joined on `interfaces`.  Raises ConfigError if the address is none
    of this machine's, the port is taken, or an interface is missing.
    """
    try:
        family, *_, where = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0]
    except socket.gaierror as error:
        raise ConfigError(f"{address!r} is not a numeric address") from error
    ipv6 = family == socket.AF_INET6
    wildcard = where[0] in _WILDCARDS
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        _enlarge_buffer(sock)
        if ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if wildcard:
            sock.setsockopt(
                *((socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO) if ipv6 else (socket.IPPROTO_IP, IP_PKTINFO)), 1
            )
        sock.bind(where)
        if wildcard:
            for interface in interfaces:
                _join_groups(sock, interface, ipv6=ipv6)
    except OSError as error:
        sock.close()
        raise ConfigError(f"udp {address} port {port}: {error.strerror}") from error
    except ConfigError:
        sock.close()
        raise
    driver = UdpDriver(host, sock, groups=wildcard and bool(interfaces))
    if driver.receive_buffer < RECEIVE_BUFFER:
        log.warning(
            "udp %s: a receive buffer of %d octets may lose a burst; sysctl net.core.rmem_max=%d allows more",
            address,
            driver.receive_buffer,
            RECEIVE_BUFFER,
        )
    return driver


def _join_groups(sock: socket.socket, interface: str, *, ipv6: bool) -> None:
    try:
        index = socket.if_nametoindex(interface)
        if ipv6:
            for group in GROUPS_IPV6:
                membership = _IPV6_MREQ.pack(socket.inet_pton(socket.AF_INET6, group), index)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0)  # not what other programs have joined
        else:
            for group in GROUPS_IPV4:
                membership = _IP_MREQN.pack(socket.inet_pton(socket.AF_INET, group), index)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
    except OSError as error:
        raise ConfigError(f"multicast on {interface!r}: {error.strerror or error}") from error


def _enlarge_buffer(sock: socket.socket) -> None:
    """The privileged option passes the system's maximum; the other is cut to it without an error."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


def endpoint(address: Address) -> Endpoint:
    return Endpoint(*address) if len(address) == 2 else Endpoint(address[0], address[1], address[3])


def _local_ipv4(info: bytes, port: int) -> tuple[Endpoint | None, bool]:
    """Our address to answer from, none for a broadcast, and whether a group was asked."""
    _, local, destination = _IN_PKTINFO.unpack(info)
    group = destination[0] >> 4 == 0xE
    asked = local == destination or group
    return Endpoint(socket.inet_ntop(socket.AF_INET, local), port) if asked else None, group


def _local_ipv6(info: bytes, port: int) -> tuple[Endpoint | None, bool]:
    address, interface = _IN6_PKTINFO.unpack(info)
    if info[0] == 0xFF:
        return Endpoint(_routable(interface), port), True
    link_local = info[0] == 0xFE and info[1] & 0xC0 == 0x80
    return Endpoint(socket.inet_ntop(socket.AF_INET6, address), port, interface if link_local else 0), False


def _routable(interface: int) -> str:
    """An address of the interface that others than its neighbours can use, too, else the kernel's choice.

    RFC 9176, 4.1: what is found by a link-local group should be usable beyond the link.
    """
    try:
        lines = FilePath("/proc/net/if_inet6").read_text().splitlines()
    except OSError:
        return "::"
    for address, index, _, scope, flags, *_ in map(str.split, lines):
        if int(index, 16) == interface and scope == GLOBAL_SCOPE and not int(flags, 16) & UNUSABLE:
            return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address))
    return "::"


def _packet_info(local: Endpoint, *, ipv4: bool) -> Ancillary:
    """What makes a datagram leave from `local`; the interface is fixed for link-local addresses alone."""
    if local.host in _WILDCARDS:
        return []  # the kernel chooses
    if ipv4:
        info = _IN_PKTINFO.pack(0, socket.inet_pton(socket.AF_INET, local.host), bytes(4))
        return [(socket.IPPROTO_IP, IP_PKTINFO, info)]
    info = _IN6_PKTINFO.pack(socket.inet_pton(socket.AF_INET6, local.host), local.scope)
    return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)]
