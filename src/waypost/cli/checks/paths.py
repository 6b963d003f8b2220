"""How large a datagram may be on its way without being cut into fragments.

Source: ip(7) (IP_MTU_DISCOVER, IP_MTU), ipv6(7), netdevice(7); RFC 8200, 5 (1,280 octets).
"""

import errno
import fcntl
import socket
import struct
from typing import Final

from waypost.cli.checks import fine, skip, warn
from waypost.cli.reports import Finding
from waypost.engine import Endpoint

MTU_LEAST: Final = 1_280  # octets; IPv6 goes over no link with less, and a block of CoAP needs as many
DATAGRAM_MAX: Final = 65_507  # octets of UDP's payload over IPv4
HEADERS: Final = {socket.AF_INET: 28, socket.AF_INET6: 48}  # octets of IP and UDP
ROUNDS: Final = 4
WAIT_S: Final = 0.3  # for somebody on the way to say that it was too large

# linux/in.h, linux/in6.h: level, what is to be discovered, and what was; not in the socket module
DISCOVER: Final = {socket.AF_INET: (0, 10, 14), socket.AF_INET6: (41, 23, 24)}
ALWAYS: Final = 2  # IP_PMTUDISC_DO: set "don't fragment", send nothing larger
SIOCGIFFLAGS: Final = 0x8913
SIOCGIFMTU: Final = 0x8921
IFF_UP: Final = 1


def check_interfaces(*, outside: bool) -> list[Finding]:
    """`outside` is whether other machines can reach a listener; else only the loopback matters."""
    found = {name: mtu for name, mtu in _interfaces().items() if outside or name == "lo"}
    small = {name: mtu for name, mtu in found.items() if mtu < MTU_LEAST}
    if small:
        shown = ", ".join(f"{name} {mtu}" for name, mtu in small.items())
        return [warn("mtu", f"interfaces carry less than {MTU_LEAST} octets: {shown}", "ip link set DEVICE mtu 1280")]
    if not found:
        return [skip("mtu", "no interface is up")]
    return [fine("mtu", "octets that interfaces carry: " + ", ".join(f"{name} {mtu}" for name, mtu in found.items()))]


def _interfaces() -> dict[str, int]:
    """Those that are up, and the octets of a packet on each."""
    found: dict[str, int] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            request = struct.pack("16s24x", name.encode())
            try:
                flags = struct.unpack_from("H", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request), 16)[0]
                mtu = struct.unpack_from("i", fcntl.ioctl(any_socket, SIOCGIFMTU, request), 16)[0]
            except OSError:  # it has gone
                continue
            if flags & IFF_UP:
                found[name] = mtu
    return found


def check_path(peer: Endpoint | None) -> list[Finding]:
    """The largest packet that gets to `peer`, else to this machine's loopback, in one piece.

    What is sent is zeros, which every receiver of CoAP drops in silence (RFC 7252, 3: another version).
    """
    if peer is not None:
        where, size = peer.host, _discover(peer)
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(("127.0.0.1", 0))
            where, size = "the loopback", _discover(Endpoint(*receiver.getsockname()))
    sentence = f"a packet to {where} may have {size} octets"
    if size < MTU_LEAST:
        return [warn("path mtu", sentence, f"below {MTU_LEAST} octets, blocks of CoAP arrive in fragments or not")]
    return [fine("path mtu", sentence)]


def _discover(peer: Endpoint) -> int:
    """Raises OSError if there is no way to the peer."""
    family = socket.AF_INET6 if ":" in peer.host else socket.AF_INET
    level, option, result = DISCOVER[family]
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(level, option, ALWAYS)
        sender.settimeout(WAIT_S)
        sender.connect((peer.host, peer.port))
        size = sender.getsockopt(level, result)
        for _ in range(ROUNDS):
            try:
                sender.send(bytes(min(size - HEADERS[family], DATAGRAM_MAX)))
                sender.recv(1)
            except (TimeoutError, ConnectionRefusedError):  # nobody objected to its size
                if sender.getsockopt(level, result) == size:
                    break
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
            size = sender.getsockopt(level, result)
        return size
