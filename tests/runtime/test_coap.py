"""The CoAP client on a real socket, against libcoap's server and against nobody."""

import asyncio
import socket
import subprocess
from collections.abc import Iterator

import pytest

from waypost.coap.numbers import Code
from waypost.errors import StateError, UnreachableError
from waypost.runtime.coap import CoapClient


@pytest.fixture
def libcoap() -> Iterator[int]:
    """The port of a running coap-server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = ["coap-server-notls", "-A", "127.0.0.1", "-p", str(port), "-d", "10"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            yield port
        finally:
            server.terminate()


@pytest.mark.peer("coap-server-notls")
def test_libcoap_answers_and_keeps_what_it_is_given_in_blocks(libcoap: int) -> None:
    async def story() -> None:
        async with CoapClient("127.0.0.1", libcoap) as client, asyncio.timeout(20):
            links = await client.request(Code.GET, (".well-known", "core"))
            assert (links.code, links.content_format) == (Code.CONTENT, 40)
            assert b"</time>" in links.payload
            body = bytes(i % 251 for i in range(5000))
            made = await client.request(Code.PUT, ("store",), payload=body, content_format=42)
            assert made.code == Code.CREATED
            kept = await client.request(Code.GET, ("store",))
            assert (kept.code, kept.payload) == (Code.CONTENT, body)
            late = await client.request(Code.GET, ("async",), ("1",))  # an answer apart, after a second
            assert late.code == Code.CONTENT
            missing = await client.request(Code.GET, ("nothing",))
            assert missing.code == Code.NOT_FOUND

    asyncio.run(story())


def test_whoever_gives_up_waiting_leaves_the_client_usable() -> None:
    async def story() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            silent.setblocking(False)
            async with CoapClient("127.0.0.1", silent.getsockname()[1]) as client:
                asker = asyncio.create_task(client.request(Code.GET, ("first",)))
                data, address = await asyncio.get_running_loop().sock_recvfrom(silent, 2048)
                asker.cancel()
                again = asyncio.create_task(client.request(Code.GET, ("second",)))
                while b"second" not in data:
                    data, address = await asyncio.get_running_loop().sock_recvfrom(silent, 2048)
                silent.sendto(bytes((0x68, Code.CONTENT)) + data[2:12] + b"\xffhello", address)
                assert (await again).payload == b"hello"

    asyncio.run(story())


def test_a_peer_that_rejects_the_message_is_unreachable() -> None:
    async def story() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind(("127.0.0.1", 0))
            peer.setblocking(False)
            async with CoapClient("127.0.0.1", peer.getsockname()[1]) as client:
                asker = asyncio.create_task(client.request(Code.GET, ("x",)))
                data, address = await asyncio.get_running_loop().sock_recvfrom(peer, 2048)
                peer.sendto(b"\x70\x00" + data[2:4], address)
                with pytest.raises(UnreachableError, match="rejected"):
                    await asker

    asyncio.run(story())


def test_a_request_that_is_open_when_the_client_closes_fails() -> None:
    async def story() -> None:
        async with CoapClient("127.0.0.1", 9) as client:
            asker = asyncio.create_task(client.request(Code.GET, ("x",)))
            await asyncio.sleep(0)
        with pytest.raises(StateError):
            await asker

    asyncio.run(story())


def test_a_name_without_an_address_is_unreachable() -> None:
    async def story() -> None:
        with pytest.raises(UnreachableError):
            async with CoapClient("no-such-host.invalid", 5683):
                pass

    asyncio.run(story())
