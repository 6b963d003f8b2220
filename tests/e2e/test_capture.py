"""What the node puts on the wire, read by tshark: nothing malformed, nothing it would remark on."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from capture import COAP_PORT, Relay
from clients import libcoap
from device import Device
from running import Node, running

from waypost.coap.numbers import Code, Option

CLIENT_REMARKS = ("Invalid Option Number 292",)  # libcoap's Request-Tag (RFC 9175) is younger than many a tshark
LINKS = ",".join(f'</many/{number}>;rt="many"' for number in range(200))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running(tmp_path / "node") as node:
        yield node


def tshark(file: Path, *arguments: str) -> list[list[str]]:
    done = subprocess.run(
        ["tshark", "-n", "-r", file, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    return [line.split("\t") for line in done.stdout.splitlines()]


def fields(file: Path, *names: str) -> list[list[str]]:
    return tshark(file, "-T", "fields", *(word for name in names for word in ("-e", name)))


@pytest.mark.peer("tshark", "coap-client-notls")
def test_tshark_reads_a_session_without_a_complaint(node: Node, tmp_path: Path) -> None:
    """Discovery, registration in blocks, both lookups, renewal, errors, removal, observation."""
    file = tmp_path / "session.pcap"
    with Relay(node.port) as relay:
        through = replace(node, port=relay.port)
        libcoap(through, tmp_path, "GET", "/.well-known/core?rt=core.rd*", None)
        place = libcoap(through, tmp_path, "POST", "/rd?ep=anna&base=coap://[2001:db8::1]", LINKS).location
        for method, target in (
            ("GET", "/rd-lookup/ep?ep=anna"),
            ("GET", "/rd-lookup/res?ep=anna"),
            ("GET", "/rd-lookup/res?page=1"),
            ("POST", place + "?lt=600"),
            ("PUT", "/rd"),
            ("DELETE", place),
            ("POST", place),
        ):
            libcoap(through, tmp_path, method, target, None)
        with Device(relay.port) as device:
            device.ask(device.message(Code.GET, "/rd-lookup/ep", more=((Option.OBSERVE, b""),)))
            device.register("ep=bert")
    relay.write(file)

    read = fields(file, "frame.protocols", "coap.code", "udp.srcport", "_ws.expert.message")
    assert len(read) == len(relay.packets) > 30
    for protocols, code, port, remark in read:
        assert "coap" in protocols.split(":")
        assert code
        assert remark in (() if port == str(COAP_PORT) else CLIENT_REMARKS) or not remark, remark
    seen = {f"{int(code) >> 5}.{int(code) & 31:02d}" for _, code, _, _ in read}
    assert seen >= {"0.01", "0.02", "0.04", "2.01", "2.02", "2.04", "2.05", "2.31", "4.00", "4.04", "4.05"}


@pytest.mark.peer("tshark", "coap-client-notls")
def test_tshark_finds_the_fields_that_were_meant(node: Node, tmp_path: Path) -> None:
    file = tmp_path / "fields.pcap"
    with Relay(node.port) as relay:
        place = libcoap(replace(node, port=relay.port), tmp_path, "POST", "/rd?ep=anna", LINKS).location
        libcoap(replace(node, port=relay.port), tmp_path, "GET", "/rd-lookup/res?ep=anna", None)
    relay.write(file)

    created = tshark(file, "-Y", "coap.code == 65", "-T", "fields", "-e", "coap.opt.location_path")
    assert [row[0].split(",") for row in created] == [place.strip("/").split("/")]
    blocks = tshark(
        file, "-Y", "coap.code == 69", "-T", "fields", "-e", "coap.opt.block_number", "-e", "coap.opt.ctype"
    )
    assert len(blocks) > 5
    assert all("link-format" in content_format for _, content_format in blocks)
