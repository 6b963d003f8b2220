"""Where a node may listen: addresses as people write them, and what this machine has."""

import re
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

from waypost.engine import Endpoint
from waypost.errors import ConfigError

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def loopback(port: int, *, ipv6: bool) -> tuple[str, ...]:
    return (f"127.0.0.1:{port}", f"[::1]:{port}") if ipv6 else (f"127.0.0.1:{port}",)


def has_ipv6() -> bool:
    """Containers often have none, not even a loopback."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def listen_address(text: str) -> Endpoint:
    """ "127.0.0.1:5683", "[::1]:5683" or "localhost:5683", which is 127.0.0.1.  Raises ConfigError."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+|localhost)):([0-9]{1,5})", text)
    try:
        if match is None:
            raise ValueError
        host = ip_address((match[1] or match[2]).replace("localhost", "127.0.0.1"))
        if (host.version == 6) != (match[1] is not None) or int(match[3]) > 65535:
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"{text!r} is not an address and a port", hint="write 127.0.0.1:5683 or [::1]:5683; port 0 takes a free one"
        ) from None
    return Endpoint(str(host), int(match[3]))


def is_wildcard(text: str) -> bool:
    return ip_address(listen_address(text).host).is_unspecified


def check_listener(name: str, listen: tuple[str, ...], *, declared: bool) -> None:
    """Raises ConfigError: what strangers reach is authenticated, or `declared` to be insecure."""
    seen: set[Endpoint] = set()
    for text in listen:
        try:
            address = listen_address(text)
        except ConfigError as error:
            raise ConfigError(f"{name}.listen: {error}", hint=error.hint) from error
        if address.port and address in seen:
            raise ConfigError(f"{name}.listen: {text} is listed twice")
        seen.add(address)
        if not declared and not ip_address(address.host).is_loopback:
            raise ConfigError(
                f"{name}.listen: other machines can reach {text}, and nothing there keeps what is said from others",
                hint=f'listen on 127.0.0.1 or [::1], or declare it: insecure = ["{name}"], --insecure {name}',
            )


def speaks_from(listen: Sequence[str]) -> str | None:
    """A machine with several addresses speaks to others from the one where it is reached; None: it has but one."""
    hosts = [ip_address(listen_address(text).host) for text in listen]
    one_of_many = (str(host) for host in hosts if not host.is_unspecified and str(host) not in LOOPBACK)
    return next(one_of_many, None)


def reached_at(listener: str | None, hosts: Sequence[str]) -> str:
    """The URL of a listener; of one that listens everywhere, by the first of `hosts` that is not this machine's own."""
    if listener is None:
        return ""
    address = listen_address(listener)
    if not ip_address(address.host).is_unspecified:
        return f"https://{listener}"
    host = next((host for host in hosts if host not in LOOPBACK), "localhost")
    return f"https://[{host}]:{address.port}" if ":" in host else f"https://{host}:{address.port}"
