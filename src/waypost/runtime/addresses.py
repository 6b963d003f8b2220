"""Where a node may listen: addresses as people write them, and what this machine has."""

import re
import socket
from ipaddress import ip_address

from waypost.engine import Endpoint
from waypost.errors import ConfigError


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
