"""The directory's policies, as an operator sets them.  A loopback has many addresses: each is another device."""

import socket
from pathlib import Path

from device import Device, location, option
from running import running

from waypost.coap.numbers import Code, Option

LINKS = b"</t>;rt=temperature"


def device(port: int, host: str) -> Device:
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.bind((host, 0))
    own.connect(("127.0.0.1", port))
    return Device(port, own=own)


def test_another_address_changes_nothing_also_after_a_restart(tmp_path: Path) -> None:
    """RFC 9176, 7.5."""
    with running(tmp_path) as node, device(node.port, "127.0.0.2") as anna:
        here = location(anna.register("ep=a", "base=coap://a.example.com"))
    with running(tmp_path) as node:
        with device(node.port, "127.0.0.3") as boris:
            assert boris.register("ep=a").code == Code.FORBIDDEN
            assert boris.ask(boris.message(Code.DELETE, here)).code == Code.FORBIDDEN
        with device(node.port, "127.0.0.2") as anna:
            assert anna.ask(anna.message(Code.DELETE, here)).code == Code.DELETED


def test_changes_need_an_echo_value_and_lookups_do_not(tmp_path: Path) -> None:
    """RFC 9176, 5.3.4, with `rd.freshness`; and `rd.simple` is off."""
    with running(tmp_path, rd__freshness="echo", rd__simple="off") as node, Device(node.port) as device:
        refused = device.register("ep=a")
        assert (refused.code, bool(option(refused, Option.ECHO))) == (Code.UNAUTHORIZED, True)
        created = device.register("ep=a")
        assert created.code == Code.CREATED
        again = device.ask(device.message(Code.POST, location(created)))
        assert again.code == Code.UNAUTHORIZED
        assert device.ask(device.message(Code.DELETE, location(created))).code == Code.DELETED
        assert device.get("/rd-lookup/ep").code == Code.CONTENT
        device.ask(device.message(Code.POST, "/.well-known/rd", "ep=a"))
        simple = device.ask(device.message(Code.POST, "/.well-known/rd", "ep=a"))
        assert simple.code == Code.FORBIDDEN
