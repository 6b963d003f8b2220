"""The addresses where a node listens: can it have them, and who can reach them?

Source: proc(5), net/tcp and net/udp.
"""

import errno
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from waypost.cli.checks import fail, fine, skip, warn
from waypost.cli.checks.running import Running
from waypost.cli.reports import Finding
from waypost.config import Config
from waypost.engine import Endpoint
from waypost.runtime.addresses import has_ipv6, listen_address

KEYED: Final = ("coaps",)  # listeners on which everybody shows who they are
SECURED: Final = ("https", "peers")  # and those on which one may
OVER_UDP: Final = ("udp", "dtls")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A socket that the configuration asks for, by a listener's name and "udp" or "tcp"."""

    listener: str
    kind: str
    address: Endpoint

    def __str__(self) -> str:
        return f"{self.listener} on {_shown(self.address)} ({self.kind})"


def wanted(config: Config) -> Iterator[Wanted]:
    for name, listen in listening(config).items():
        transports = getattr(getattr(config, name), "transports", ("tcp",))
        over = [kind for kind in transports if kind != "ws"]  # which is on the HTTP listener
        for address in map(listen_address, listen):
            for kind in dict.fromkeys("udp" if transport in OVER_UDP else "tcp" for transport in over):
                yield Wanted(name, kind, address)


def listening(config: Config) -> Mapping[str, tuple[str, ...]]:
    """What each listener's key says."""
    sections = {name: getattr(config, name) for name in config.__struct_fields__}
    return {name: section.listen for name, section in sections.items() if hasattr(section, "listen")}


def check_ports(config: Config, running: Running) -> list[Finding]:
    findings = [_port(item, running) for item in wanted(config)]
    return findings or [warn("port", "the configuration has no listener: nobody can reach the node")]


def _port(item: Wanted, running: Running) -> Finding:
    if not item.address.port:
        return fine("port", f"{item}: takes a free port")
    number = _cannot_bind(item)
    match number:
        case None if running.process:
            return warn("port", f"{item}: free, and a node runs", "was it started with another configuration?")
        case None:
            return fine("port", f"{item}: free")
        case errno.EADDRINUSE:
            return _taken(item, running)
        case errno.EADDRNOTAVAIL:
            return fail("port", f"{item}: no address of this machine", f"set {item.listener}.listen to one of its own")
        case errno.EACCES:
            hint = "choose a port from 1024 on, or grant CAP_NET_BIND_SERVICE"
            return fail("port", f"{item}: this user may not have it", hint)
        case _:
            return fail("port", f"{item}: {errno.errorcode.get(number, number)}")


def _taken(item: Wanted, running: Running) -> Finding:
    process, program = owner(item.kind, item.address.port)
    ours = any(text == _shown(item.address) for text in running.listeners.values())
    if running.process and (ours or process == running.process):
        return fine("port", f"{item}: this node's")
    who = f"{program} (process {process})" if process else "another program"
    hint = f"stop it, or choose another with --{item.listener}-listen"
    return fail("port", f"{item}: taken by {who}", hint)


def _cannot_bind(item: Wanted) -> int | None:
    """The system's number for why not."""
    ipv6 = ":" in item.address.host
    try:
        with socket.socket(
            socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM if item.kind == "udp" else socket.SOCK_STREAM
        ) as probe:
            if item.kind == "tcp":  # as the node does: connections that ended a moment ago do not matter
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if ipv6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((item.address.host, item.address.port))
    except OSError as error:
        return errno.EADDRNOTAVAIL if error.errno == errno.EAFNOSUPPORT else error.errno
    return None


def owner(kind: str, port: int) -> tuple[int, str]:
    """The process and the name of the program that has a port, as far as this user may know; 0 and "" if not."""
    inodes = {f"socket:[{inode}]" for table in (kind, f"{kind}6") for inode in _inodes(table, port)}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            if any(str(link.readlink()) in inodes for link in (entry / "fd").iterdir()):
                return int(entry.name), (entry / "comm").read_text().strip()
        except OSError:  # it has ended, or is another user's
            continue
    return 0, ""


def _inodes(table: str, port: int) -> Iterator[str]:
    try:
        lines = Path("/proc/net", table).read_text().splitlines()[1:]
    except OSError:  # no IPv6
        return
    for _, local, _, state, *rest in map(str.split, lines):
        if local.endswith(f":{port:04X}") and (table.startswith("udp") or state == "0A"):  # which is LISTEN
            yield rest[5]


def is_reachable(config: Config) -> bool:
    """Whether other machines can reach one of the listeners."""
    texts = [text for listen in listening(config).values() for text in listen]
    return any(not ip_address(listen_address(text).host).is_loopback for text in texts)


def check_reach(config: Config) -> list[Finding]:
    """Who can reach the listeners, and whether they must say who they are."""
    findings = []
    for name, listen in listening(config).items():
        outside = [text for text in listen if not ip_address(listen_address(text).host).is_loopback]
        if not outside:
            continue
        sentence = f"{name}: other machines can reach {', '.join(outside)}"
        if name in KEYED:
            findings.append(fine("reach", f"{sentence}, and must say who they are"))
        elif name in SECURED:
            findings.append(fine("reach", f"{sentence}; who shows no token and no certificate is a stranger"))
        else:
            hint = "the policy should let strangers do little; coaps and https are there for the others"
            findings.append(warn("reach", f"{sentence}, and nobody there must say who they are", hint))
    return findings or [fine("reach", "only this machine can reach the listeners")]


def check_ipv6(*, there: bool | None = None) -> list[Finding]:
    if has_ipv6() if there is None else there:
        return [fine("ipv6", "there is IPv6 on this machine")]
    return [skip("ipv6", "this machine has no IPv6: the node listens on IPv4 alone")]


def _shown(address: Endpoint) -> str:
    return f"[{address.host}]:{address.port}" if ":" in address.host else f"{address.host}:{address.port}"
