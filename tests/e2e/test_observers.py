"""Observed lookups as clients see them that we did not write: libcoap's, node's and aiocoap's (RFC 7641).

aiocoap's client program is not among them: its version 0.4.17 ends each observation with the first answer.
"""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiocoap
import pytest
from clients import NODE_COAP, environment
from device import Device, location
from running import Node, running

from waypost.coap.numbers import Code

LOOKUP = "/rd-lookup/res?rt=watched"
WAIT_S = 20.0
MANY = 80  # links; their answer takes several blocks


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running(tmp_path / "node") as node:
        yield node


@pytest.fixture
def device(node: Node) -> Iterator[Device]:
    with Device(node.port) as device:
        device.get("/.well-known/core")
        yield device


def begin(device: Device, links: bytes = b"</t>;rt=watched", ep: str = "seen") -> str:
    return location(device.register(f"ep={ep}", f"base=coap://{ep}.example.com", links=links))


def end(device: Device, place: str) -> None:
    assert device.ask(device.message(Code.DELETE, place)).code == Code.DELETED


@contextmanager
def printing(*command: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def until(process: "subprocess.Popen[str]", wanted: str) -> str:
    """The line that it prints with `wanted`."""
    assert process.stdout is not None
    for line in process.stdout:
        if wanted in line:
            return line
    raise AssertionError(f"it ended before it printed {wanted}")


@pytest.mark.peer("coap-client-notls", "stdbuf")
def test_libcoap_is_told_what_changes_and_nothing_else(node: Node, device: Device) -> None:
    """RFC 9176, 6.2 and RFC 7641, 3.4: each notification has the next number."""
    command = ["stdbuf", "-oL", "-eL", "coap-client-notls", "-v", "6", "-B", "60", "-s", "60", node.coap + LOOKUP]
    with printing(*command) as client:
        until(client, "c:2.05")
        place = begin(device)
        assert "Observe:1" in until(client, "<coap://seen.example.com/t>")
        end(device, begin(device, b"</t>;rt=other", ep="unseen"))
        end(device, place)
        assert "Observe:2" in until(client, "c:2.05")


@pytest.mark.peer("node", "npm:coap")
def test_node_is_told_and_takes_its_leave(node: Node, device: Device) -> None:
    with printing(*NODE_COAP, "observe", node.coap + LOOKUP) as client:
        assert json.loads(until(client, "body"))["body"] == ""
        place = begin(device)
        assert json.loads(until(client, "body"))["body"] == '<coap://seen.example.com/t>;rt="watched"'
        end(device, place)
        assert json.loads(until(client, "body"))["body"] == ""
        assert client.stdin is not None
        client.stdin.close()
        assert client.wait(WAIT_S) == 0


def test_aiocoap_is_told_in_blocks_what_is_long(node: Node, device: Device) -> None:
    """RFC 7959, 2.6: a notification has the first block, and the client fetches the rest."""
    links = b",".join(b"</%d>;rt=watched" % number for number in range(MANY))

    async def story() -> None:
        context = await aiocoap.Context.create_client_context()
        request = context.request(aiocoap.Message(code=aiocoap.GET, uri=node.coap + LOOKUP, observe=0))
        assert (await request.response).payload == b""
        news = aiter(request.observation)
        async with asyncio.timeout(WAIT_S):
            place = await asyncio.to_thread(begin, device, links)
            assert (await anext(news)).payload.count(b"<coap://seen.example.com/") == MANY
            await asyncio.to_thread(end, device, place)
            assert (await anext(news)).payload == b""
        request.observation.cancel()
        await context.shutdown()

    asyncio.run(story())
