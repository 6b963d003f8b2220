"""The directory over OSCORE as a client sees it that we did not write: aiocoap's, as a program and as a library."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiocoap
import pytest
from aiocoap import oscore
from aiocoap.credentials import CredentialsMap
from aiocoap.oscore_sitewrapper import OscoreSiteWrapper
from aiocoap.resource import Resource, Site, WKCResource
from aiocoap.transports.oscore import OSCOREAddress
from clients import Answer
from clients import aiocoap as aiocoap_client
from device import udp_socket
from oscore_device import Device
from running import HOST, Node, running, start

from waypost.coap.message import Message, Options, decode
from waypost.coap.numbers import AMPLIFICATION_MAX, LINK_FORMAT, Code, Option, Type
from waypost.identity import Identity
from waypost.identity.oscore import SecurityContext
from waypost.runtime.host import wall_clock_ms
from waypost.storage.keyring import Keyring

SECRET: Final = bytes.fromhex("b1d7f0356a2c49e8974de0c25f3a8816")
OTHER: Final = SECRET[::-1]
LAMP: Final = SecurityContext(Identity("oscore", "lamp-4"), SECRET, b"\x01", b"\x02", b"salt")
FAN: Final = SecurityContext(Identity("oscore", "fan-1"), OTHER, b"\x01", b"\x03", b"", b"floor-1")
WAIT_S: Final = 20.0
LOOKUP: Final = "/rd-lookup/res?rt=watched"


def written(context: SecurityContext) -> str:
    lines = [
        f'[oscore."{context.who.name}"]',
        f'master_secret = "{context.master_secret.hex()}"',
        f'master_salt = "{context.master_salt.hex()}"',
        f'sender_id = "{context.sender_id.hex()}"',
        f'recipient_id = "{context.recipient_id.hex()}"',
        'roles = ["device"]',
    ]
    if context.id_context is not None:
        lines.insert(1, f'id_context = "{context.id_context.hex()}"')
    return "\n".join(lines) + "\n"


def know(directory: Path, *contexts: SecurityContext) -> None:
    """Write them where the node reads them when it starts."""
    directory.mkdir(mode=0o700)
    Keyring.open(directory, wall_clock_ms())
    secrets = directory / "keys" / "secrets.toml"
    secrets.write_text("\n".join(map(written, contexts)))
    secrets.chmod(0o600)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("node") / "state"
    know(directory, LAMP, FAN)
    return directory


@pytest.fixture(scope="module")
def node(directory: Path) -> Iterator[Node]:
    with running(directory) as node:
        yield node


def keep(folder: Path, context: SecurityContext, sequence: int = 0) -> Path:
    """The context as aiocoap keeps it, from the device's side; its sequence numbers begin at `sequence`."""
    basedir = folder / f"context-{context.who.name}"
    if not basedir.exists():
        basedir.mkdir(parents=True)
        secret = {
            "secret_hex": context.master_secret.hex(),
            "salt_hex": context.master_salt.hex(),
            "sender-id_hex": context.recipient_id.hex(),
            "recipient-id_hex": context.sender_id.hex(),
        }
        if context.id_context is not None:
            secret["id-context_hex"] = context.id_context.hex()
        (basedir / "secret.json").write_text(json.dumps(secret))
        if sequence:
            (basedir / "sequence.json").write_text(json.dumps({"next-to-send": sequence, "received": "unknown"}))
    return basedir


def credentials(folder: Path, context: SecurityContext) -> dict[str, dict[str, dict[str, str]]]:
    return {"*": {"oscore": {"basedir": str(keep(folder, context))}}}


class Client:
    """aiocoap-client with a context that lives in `folder`, as its sequence numbers do."""

    def __init__(self, node: Node, folder: Path, context: SecurityContext) -> None:
        self._node = node
        self._folder = folder
        self._file = folder / f"{context.who.name}.json"
        self._file.write_text(json.dumps(credentials(folder, context)))

    def ask(self, method: str, target: str, links: str | None = None) -> Answer:
        return aiocoap_client(self._node, self._folder, method, target, links, "--credentials", str(self._file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("devices")


@pytest.mark.peer("aiocoap-client")
@pytest.mark.parametrize(("scheme", "context"), [("coap", LAMP), ("coap", FAN), ("coap+tcp", LAMP), ("coap+ws", LAMP)])
def test_its_program_registers_looks_up_and_removes(
    node: Node, folder: Path, scheme: str, context: SecurityContext
) -> None:
    """RFC 9176, 5 to 6.2, inside RFC 8613; blocks are inner ones (4.1.3.4.1)."""
    client = Client(node.over(scheme) if scheme != "coap" else node, folder, context)
    links = ",".join(f"</sensors/{number}>;rt=protected" for number in range(100))
    name = f"{context.who.name}-{scheme}"
    answer = client.ask("POST", f"/rd?ep={name}&base=coap://lamp.example.com", links)
    assert answer.code == "2.01", answer.shown
    found = client.ask("GET", f"/rd-lookup/res?ep={name}")
    assert found.code == "2.05", found.shown
    assert found.body.count("<coap://lamp.example.com/sensors/") == 100
    assert client.ask("POST", answer.location).code == "2.04"
    assert client.ask("DELETE", answer.location).code == "2.02"
    assert client.ask("POST", answer.location).code == "4.04"


@pytest.mark.peer("aiocoap-client")
def test_what_one_context_registered_is_its_own(node: Node, folder: Path) -> None:
    """The default policy: first come, first remembered; from the very same address."""
    lamp, fan = Client(node, folder, LAMP), Client(node, folder, FAN)
    place = lamp.ask("POST", "/rd?ep=mine&base=coap://mine.example.com", "</t>;rt=mine").location
    for other in (fan.ask, lambda method, target: aiocoap_client(node, folder, method, target, None)):
        assert other("POST", f"{place}?lt=9").code == "4.03"
        assert other("DELETE", place).code == "4.03"
    assert lamp.ask("DELETE", place).code == "2.02"


@asynccontextmanager
async def library(folder: Path, context: SecurityContext) -> AsyncIterator[aiocoap.Context]:
    client = await aiocoap.Context.create_client_context()
    client.client_credentials.load_from_dict(credentials(folder, context))
    try:
        yield client
    finally:
        client.client_credentials.clear()
        await client.shutdown()


async def say(client: aiocoap.Context, code: Code, uri: str, payload: bytes = b"") -> aiocoap.Message:
    message = aiocoap.Message(code=aiocoap.Code(code), uri=uri, payload=payload)
    if payload:
        message.opt.content_format = LINK_FORMAT
    async with asyncio.timeout(WAIT_S):
        return await client.request(message).response


def place_of(answer: aiocoap.Message) -> str:
    assert answer.code == Code.CREATED, answer.payload
    return "/" + "/".join(answer.opt.location_path)


def test_its_library_observes(node: Node, tmp_path: Path) -> None:
    """RFC 8613, 8.3.1: news have Partial IVs of their own; what is long comes in blocks."""

    async def story() -> None:
        async with library(tmp_path, LAMP) as client:
            request = client.request(aiocoap.Message(code=aiocoap.GET, uri=node.coap + LOOKUP, observe=0))
            async with asyncio.timeout(WAIT_S):
                assert (await request.response).payload == b""
            news = aiter(request.observation)
            places = []
            for ep, count in (("a", 1), ("b", 200)):
                links = b",".join(b"</%d>;rt=watched" % number for number in range(count))
                answer = await say(client, Code.POST, f"{node.coap}/rd?ep={ep}&base=coap://{ep}.example.com", links)
                places.append(place_of(answer))
                async with asyncio.timeout(WAIT_S):
                    told = await anext(news)
                assert told.payload.count(b"<coap://") == count + (ep == "b")
            for place in places:
                assert (await say(client, Code.DELETE, node.coap + place)).code == Code.DELETED
            request.observation.cancel()

    keep(tmp_path, LAMP, sequence=1 << 20)  # what other tests have used is used
    asyncio.run(story())


class Confidential(WKCResource):  # type: ignore[misc]
    """Fails unless who asks has the context."""

    async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
        assert isinstance(request.remote, OSCOREAddress)
        return await super().render_get(request)


def test_its_device_registers_simply(node: Node, tmp_path: Path) -> None:
    """RFC 9176, 5.1: with one socket and one context, in which the node asks for the links."""

    async def story() -> None:
        site = Site()
        site.add_resource([".well-known", "core"], Confidential(site.get_resources_as_linkheader))
        site.add_resource(["hum"], Resource())
        contexts = CredentialsMap()
        contexts.load_from_dict(credentials(tmp_path, LAMP))
        device = await aiocoap.Context.create_server_context(OscoreSiteWrapper(site, contexts), bind=(HOST, 0))
        device.client_credentials = contexts
        try:
            answer = await say(device, Code.POST, f"{node.coap}/.well-known/rd?ep=simple-lamp&lt=600")
            assert (answer.code, answer.payload) == (Code.CHANGED, b"")
            found = await say(device, Code.GET, f"{node.coap}/rd-lookup/res?ep=simple-lamp")
            assert b"/hum>" in found.payload
        finally:
            contexts.clear()
            await device.shutdown()

    keep(tmp_path, LAMP, sequence=1 << 24)
    asyncio.run(story())


def test_a_wrong_key_and_an_unknown_id_are_refused(node: Node, tmp_path: Path) -> None:
    async def story() -> None:
        for refused, code in (
            (SecurityContext(LAMP.who, OTHER, b"\x01", b"\x02", b"salt"), Code.BAD_REQUEST),
            (SecurityContext(LAMP.who, SECRET, b"\x01", b"\x07", b"salt"), Code.UNAUTHORIZED),
        ):
            folder = tmp_path / str(code)
            keep(folder, refused, sequence=1 << 30)
            async with library(folder, refused) as client:
                with pytest.raises(oscore.NotAProtectedMessage) as refusal:
                    await say(client, Code.GET, f"{node.coap}/rd-lookup/ep")
                assert refusal.value.plain_message.code == code

    asyncio.run(story())


def exchange(own: socket.socket, data: bytes) -> bytes:
    own.send(data)
    return own.recv(65536)


def register(number: int, ep: str = "raw") -> Message:
    options: Options = [(Option.URI_PATH, b"rd"), (Option.CONTENT_FORMAT, bytes([LINK_FORMAT]))]
    options += [(Option.URI_QUERY, f"ep={ep}".encode()), (Option.URI_QUERY, b"base=coap://raw.example.com")]
    return Message(Type.CON, Code.POST, number, b"token", options, b"</t>;rt=raw")


def test_captured_octets_do_nothing_and_a_restart_changes_no_nonce(tmp_path: Path) -> None:
    """RFC 8613, 7.4 and B.1: before and after the node was killed."""
    directory, device = tmp_path / "node", Device(LAMP)
    know(directory, LAMP)
    captured = device.protect(register(1))
    nonces = []
    node = start(directory)
    try:
        with udp_socket(node.port) as own, udp_socket(node.port) as other:
            answer = exchange(own, captured)
            assert device.unprotect(answer).code == Code.CREATED
            assert exchange(own, captured) == answer  # as when the answer was lost
            assert decode(exchange(other, captured)).payload == b"Replay detected"
    finally:
        node.kill()
    for start_number in (2, 3):
        node = start(directory)
        try:
            with udp_socket(node.port) as own, udp_socket(node.port) as other:
                answer = exchange(other, captured)
                assert len(answer) <= AMPLIFICATION_MAX * len(captured)
                nonces.append(decode(answer).options)
                answer = exchange(own, device.protect(register(start_number)))
                nonces.append(decode(answer).options)
                asked = device.unprotect(answer)
                assert asked.code == Code.UNAUTHORIZED
                again = register(start_number + 100)
                again.options += asked.options  # its Echo value
                assert device.unprotect(exchange(own, device.protect(again))).code == Code.CREATED
                assert decode(exchange(other, captured)).payload == b"Replay detected"
        finally:
            node.kill()
    assert len({str(options) for options in nonces}) == 4


@pytest.mark.peer("aiocoap-client")
def test_its_program_lives_through_a_restart(tmp_path: Path) -> None:
    """RFC 8613, B.1.2: it brings the Echo value by itself."""
    directory = tmp_path / "node"
    know(directory, LAMP)
    for ep in ("before", "after"):
        with running(directory) as node:
            client = Client(node, tmp_path, LAMP)
            answer = client.ask("POST", f"/rd?ep={ep}&base=coap://lamp.example.com", "</t>;rt=kept")
            assert answer.code == "2.01", answer.shown
            assert f'ep="{ep}"' in client.ask("GET", f"/rd-lookup/ep?ep={ep}").body


def test_a_node_without_the_extra_says_what_to_install(tmp_path: Path) -> None:
    missing = tmp_path / "modules" / "aiocoap"
    missing.mkdir(parents=True)
    (missing / "__init__.py").write_text("raise ModuleNotFoundError('not here', name='aiocoap')\n")
    know(tmp_path / "node", LAMP)
    done = subprocess.run(
        [sys.executable, "-m", "waypost", "run", "--dir", str(tmp_path / "node")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(missing.parent), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'waypost[oscore]'" in done.stderr
    assert SECRET.hex() not in done.stderr
