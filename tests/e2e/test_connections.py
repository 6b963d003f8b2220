"""CoAP over TCP and WebSocket as clients see it that we did not write: libcoap's and aiocoap's (RFC 8323)."""

import asyncio
import re
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiocoap
import capture
import pytest
from clients import Answer, libcoap
from clients import aiocoap as aiocoap_client
from device import Device, location
from running import HOST, Node, running

from waypost.coap.message import Message, decode
from waypost.coap.numbers import Code, Option, Type
from waypost.coap.stream import Signal, Stream

WAIT_S = 20.0
CLOSING_S = 0.05
LINKS = '</t>;rt="temperature";if="sensor",</h>;rt="humidity"'
MANY = ",".join(f'</many/{number}>;rt="many";title="number {number}"' for number in range(1000))  # some 48 KB

Ask = Callable[..., Answer]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running(tmp_path_factory.mktemp("node")) as node:
        yield node


CLIENTS = {
    "libcoap over TCP": (libcoap, "coap+tcp", "coap-client-notls"),
    "aiocoap over TCP": (aiocoap_client, "coap+tcp", "aiocoap-client"),
    "aiocoap over WebSocket": (aiocoap_client, "coap+ws", "aiocoap-client"),
}


@pytest.fixture(
    params=[pytest.param(CLIENTS[name][:2], id=name, marks=pytest.mark.peer(CLIENTS[name][2])) for name in CLIENTS]
)
def ask(request: pytest.FixtureRequest, shared: Node, tmp_path: Path) -> Ask:
    client, scheme = request.param

    def asking(method: str, target: str, links: str | None = None) -> Answer:
        answer: Answer = client(shared.over(scheme), tmp_path, method, target, links)
        return answer

    return asking


def test_a_registration_is_found_renewed_and_removed(ask: Ask) -> None:
    """RFC 9176, 5, 5.3 and 6."""
    created = ask("POST", "/rd?ep=story&lt=600&base=coap://story.example.com", LINKS)
    assert created.code == "2.01", created.shown
    place = created.location
    assert re.fullmatch(r"/reg/[0-9a-f-]{36}", place)
    assert f"<{place}>" in ask("GET", "/rd-lookup/ep?ep=story").body
    assert ask("POST", place).code == "2.04"
    assert ask("GET", "/rd-lookup/res?ep=story").body.count("<coap://story.example.com/") == 2
    assert ask("DELETE", place).code == "2.02"
    assert ask("GET", "/rd-lookup/ep?ep=story").body == ""


def test_many_links_come_whole(ask: Ask) -> None:
    """They are registered and looked up in one message each, or in blocks by those that prefer them."""
    created = ask("POST", "/rd?ep=many&base=coap://many.example.com", MANY)
    assert created.code == "2.01", created.shown
    assert ask("GET", "/rd-lookup/res?ep=many").body == MANY.replace("</", "<coap://many.example.com/")
    ask("DELETE", created.location)


def test_bad_input_is_answered_with_its_reason(ask: Ask) -> None:
    assert ask("POST", "/rd?ep=bad&lt=0", LINKS).code == "4.00"
    assert ask("GET", "/nothing").code == "4.04"


@asynccontextmanager
async def context() -> AsyncIterator[aiocoap.Context]:
    """aiocoap releases its connections as it ends, and leaves before the server has closed them."""
    context = await aiocoap.Context.create_client_context()
    try:
        yield context
    finally:
        await context.shutdown()
        await asyncio.sleep(CLOSING_S)


@pytest.mark.parametrize("scheme", ["coap+tcp", "coap+ws"])
def test_who_names_no_base_is_known_by_its_scheme(shared: Node, scheme: str) -> None:
    """RFC 9176, 5, base; RFC 8323, 8.1 and 8.3."""

    async def story() -> None:
        uri = shared.over(scheme).coap
        register, lookup = f"{uri}/rd?ep=nobase-{scheme}", f"{uri}/rd-lookup/res?ep=nobase-{scheme}"
        async with context() as client:
            post = aiocoap.Message(code=aiocoap.POST, uri=register, payload=b"</t>", content_format=40)
            assert (await client.request(post).response).code == aiocoap.CREATED
            get = aiocoap.Message(code=aiocoap.GET, uri=lookup)
            found = (await client.request(get).response).payload.decode()
        assert re.fullmatch(rf"<{re.escape(scheme)}://127\.0\.0\.1:[0-9]+/t>", found), found

    asyncio.run(story())


@pytest.mark.parametrize("scheme", ["coap+tcp", "coap+ws"])
def test_an_observer_is_told_in_order(shared: Node, scheme: str) -> None:
    """RFC 8323, 7.1."""
    lookup = f"{shared.over(scheme).coap}/rd-lookup/res?ep=seen-{scheme}"

    async def story() -> None:
        async with context() as client, asyncio.timeout(WAIT_S):
            request = client.request(aiocoap.Message(code=aiocoap.GET, uri=lookup, observe=0))
            assert (await request.response).payload == b""
            news = aiter(request.observation)
            with Device(shared.port) as device:
                place = ""
                for links in (b"</t>", MANY.encode()):
                    query = (f"ep=seen-{scheme}", "base=coap://seen.example.com")
                    place = location(await asyncio.to_thread(device.register, *query, links=links))
                    found = (await anext(news)).payload
                    assert found.count(b"<coap://seen.example.com/") == links.count(b"</")
                await asyncio.to_thread(device.ask, device.message(Code.DELETE, place))
                assert (await anext(news)).payload == b""
            request.observation.cancel()

    asyncio.run(story())


@pytest.mark.peer("tshark")
def test_tshark_reads_a_connection_without_a_complaint(shared: Node, tmp_path: Path) -> None:
    """Signals, a registration, a lookup of many octets, an error, a release."""
    many = MANY.encode()[:40_000].rpartition(b",")[0]
    words = [
        Message(Type.NON, Signal.CSM, 0, b"", [(2, b"\x10\x00\x00")]),
        Message(Type.NON, Signal.PING, 0, b"p", []),
        request(Code.POST, "rd", "ep=shark", b"</t>"),
        request(Code.POST, "rd", "ep=shark", many),
        request(Code.GET, "rd-lookup/res", "ep=shark", b""),
        request(Code.GET, "nothing", "", b""),
        Message(Type.NON, Signal.RELEASE, 0, b"", []),
    ]
    file = tmp_path / "connection.pcap"
    capture.write(file, packets_of(shared.over("coap+tcp").port, words))
    fields = ("-T", "fields", "-e", "coap.code", "-e", "_ws.expert.message")
    done = subprocess.run(["tshark", "-n", "-r", file, *fields], capture_output=True, text=True, check=True, timeout=60)
    read = [line.split("\t") for line in done.stdout.splitlines() if line.strip()]
    assert {int(code) for code, _ in read} == {1, 2, 0x41, 0x45, 0x84, *list(Signal)[:-1]}
    for code, remark in read:
        assert not remark or int(code) == Signal.CSM  # many a tshark takes its options for those of a request


def request(code: int, path: str, query: str, payload: bytes) -> Message:
    options = [(int(Option.URI_PATH), segment.encode()) for segment in path.split("/")]
    if payload:
        options.append((int(Option.CONTENT_FORMAT), b"("))
    if query:
        options.append((int(Option.URI_QUERY), query.encode()))
    return Message(Type.NON, code, 0, b"tk", options, payload)


def packets_of(port: int, words: list[Message]) -> list[bytes]:
    """A connection to the node in which each word waits for what the node says to the one before."""
    stream = Stream(0.0)
    stream.take_output()  # its CSM is among the words
    sent, received, packets = 1, 1, []
    with socket.create_connection((HOST, port), timeout=WAIT_S) as connection:
        for word in words:
            stream.send(word.encode())
            data = b"".join(stream.take_output())
            connection.sendall(data)
            packets += [
                capture.segment(40_000, capture.COAP_PORT, sent + at, received, data[at : at + 1400])
                for at in range(0, len(data), 1400)
            ]
            sent += len(data)
            answered = word.code == Signal.RELEASE
            while not answered or word.code == Signal.RELEASE:
                answer = connection.recv(1400)
                if not answer:
                    break
                packets.append(capture.segment(capture.COAP_PORT, 40_000, received, sent, answer))
                received += len(answer)
                stream.feed(answer)
                while stream.next_message(0.0) is not None:
                    answered = True
    return packets


def test_a_device_registers_simply_on_its_one_connection(shared: Node) -> None:
    """RFC 9176, 5.1; RFC 8323, 3.3: requests go both ways."""
    stream = Stream(0.0)
    with socket.create_connection((HOST, shared.over("coap+tcp").port), timeout=WAIT_S) as connection:

        def say(message: Message) -> Message:
            """What the node says to it."""
            stream.send(message.encode())
            connection.sendall(b"".join(stream.take_output()))
            while not (datagram := stream.next_message(0.0)):
                if datagram is None:
                    stream.feed(connection.recv(65_536))
            return decode(datagram)

        asked = say(request(Code.POST, ".well-known/rd", "ep=simple", b""))
        assert (asked.code, asked.options[:2]) == (Code.GET, [(11, b".well-known"), (11, b"core")])
        links = Message(Type.NON, Code.CONTENT, 0, asked.token, [(int(Option.CONTENT_FORMAT), b"(")], b"</t>")
        assert say(links).code == Code.CHANGED
        assert b"/t>" in say(request(Code.GET, "rd-lookup/res", "ep=simple", b"")).payload


def test_a_connection_outlives_what_it_observes(shared: Node) -> None:
    """A client that leaves without a word ends its observations, and the node goes on."""
    client = ["coap-client-notls", "-s", "60", "-B", "60", f"{shared.over('coap+tcp').coap}/rd-lookup/res?ep=left"]
    with subprocess.Popen(client, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.kill()
    with Device(shared.port) as device:
        assert location(device.register("ep=left", "base=coap://left.example.com"))
