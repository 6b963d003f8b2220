"""What other nodes say on the peers' port, over real TLS: who may, what is read, and what is heard of it."""

import asyncio
import gzip
import io
import os
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from secured import Authority, authority

from waypost.api.asking import Asking, only_peers
from waypost.api.mesh import Hearing
from waypost.api.routes import PEER_ROUTES
from waypost.api.server import application
from waypost.config import Coap, Coaps, Config, Http, Https, Peers
from waypost.drip import parcel
from waypost.drip.messages import MESSAGES_MAX, PARCEL_MAX, Read
from waypost.drip.parcel import Said
from waypost.drip.rumours import Probe
from waypost.identity.admission import Gate
from waypost.identity.anchors import Revoked
from waypost.identity.certificates import read_certificate
from waypost.identity.credentials import Credentials
from waypost.identity.policy import Action, Decide, Decision, default
from waypost.node import Node
from waypost.runtime.http import HttpServer, Limits, serve
from waypost.runtime.tls import Contexts

NETWORK: Final = "ab" * 32
READ: Final = Read(1, "names", "lamp", 1)
BODY: Final = b"[" + parcel.spell(READ) + b"," + parcel.spell(Probe("carla")) + b"]"
HEADERS: Final = {"Waypost-Network": NETWORK, "Waypost-Wire": "1", "DRiP-Node-ID": "berta"}


class Home:
    """The node that hears, by itself or with aiohttp alone; `is_behind` is its disk."""

    def __init__(self) -> None:
        self.is_brief = True
        self.authority = authority()
        self.credentials = self.authority.certify("peer", "anna")
        self.heard: list[tuple[str, Sequence[Said]]] = []
        self.is_behind = False
        self.decide: Decide = default().decide
        self.limits = Limits()

    def hear(self, node: str, messages: Sequence[Said]) -> bool:
        if not self.is_behind:
            self.heard.append((node, messages))
        return not self.is_behind

    async def ask(self, question: object) -> object:
        return None

    @asynccontextmanager
    async def hearing(self) -> AsyncIterator[HttpServer]:
        asking = Asking(self.ask, lambda: self.credentials)
        identify, decide = partial(only_peers, asking.identify), self.decide
        app = application(self.ask, dict, identify, decide, Gate(0, 1), routes=PEER_ROUTES, body_max=PARCEL_MAX)
        hearing = Hearing(identify, decide, self.hear, NETWORK)
        hearing.serve_in(app)
        secured = Contexts(lambda: self.credentials).current
        begin = hearing.brief(app, asking.certified) if self.is_brief else None
        server = await serve(app, "127.0.0.1", 0, self.limits, secured, begin)
        try:
            async with asyncio.timeout(30):
                yield server
        finally:
            await server.close()

    def asks(
        self,
        body: bytes = BODY,
        headers: Mapping[str, str] | None = None,
        *,
        path: str = "/reading",
        shown: Credentials | None = None,
        is_anonymous: bool = False,
    ) -> tuple[int, bytes]:
        """What a node of our authority is answered, berta unless it shows another certificate."""
        certificate = None if is_anonymous else shown or self.authority.certify("peer", "berta")

        async def story() -> tuple[int, bytes]:
            async with self.hearing() as server, client(self.authority, certificate) as session:
                return await said(session, server, body, headers, path)

        return asyncio.run(story())


def context(ours: Authority, shown: Credentials | None) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_verify_locations(cadata=ours.root.der)
    if shown is not None:
        file = os.memfd_create("shown")
        os.write(file, shown.key + shown.chain)
        made.load_cert_chain(f"/proc/self/fd/{file}")
        os.close(file)
    return made


@asynccontextmanager
async def client(ours: Authority, shown: Credentials | None) -> AsyncIterator[aiohttp.ClientSession]:
    made = context(ours, shown)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=made)) as session:
        yield session


async def said(
    session: aiohttp.ClientSession,
    server: HttpServer,
    body: bytes = BODY,
    headers: Mapping[str, str] | None = None,
    path: str = "/reading",
) -> tuple[int, bytes]:
    url = f"https://127.0.0.1:{server.address.port}{path}"
    async with session.post(url, data=io.BytesIO(body), headers=HEADERS if headers is None else headers) as answer:
        return answer.status, await answer.read()


@pytest.fixture
def home() -> Home:
    return Home()


def without(name: str, **others: str) -> dict[str, str]:
    headers = {each: value for each, value in HEADERS.items() if each != name}
    return headers | {each.replace("_", "-"): value for each, value in others.items()}


@pytest.mark.parametrize("path", [parcel.path_of(call, "berta", "anna") for call in parcel.CALLS])
def test_what_a_node_says_is_heard_on_each_call_and_answered_with_nothing(home: Home, path: str) -> None:
    assert home.asks(path=path) == (200, b"")
    assert home.heard == [("berta", (READ, Probe("carla")))]


def test_headers_that_repeat_what_is_known_may_be_left_out(home: Home) -> None:
    assert home.asks(headers={"Waypost-Network": NETWORK})[0] == 200


# Who


def test_who_shows_no_certificate_is_not_heard(home: Home) -> None:
    assert home.asks(is_anonymous=True)[0] == 401
    assert home.heard == []


@pytest.mark.parametrize("role", ["device", "reader", "admin"])
def test_who_is_no_node_is_not_heard(home: Home, role: str) -> None:
    assert home.asks(shown=home.authority.certify(role, "berta"))[0] == 403
    assert home.heard == []


def test_who_is_of_another_authority_is_let_go_in_the_handshake(home: Home) -> None:
    with pytest.raises((aiohttp.ClientError, OSError)):
        home.asks(shown=authority().certify("peer", "berta"))
    assert home.heard == []


def test_who_is_revoked_is_not_heard(home: Home) -> None:
    berta = home.authority.certify("peer", "berta")
    revoked = Revoked(certificates=frozenset({read_certificate(berta.chain).serial}))
    home.credentials = replace(home.credentials, trust=home.credentials.trust.also_revoking(revoked))
    assert home.asks(shown=berta)[0] == 401
    assert home.heard == []


def test_who_is_revoked_is_not_heard_on_a_connection_that_was_open_either(home: Home) -> None:
    async def story() -> None:
        berta = home.authority.certify("peer", "berta")
        async with home.hearing() as server, client(home.authority, berta) as session:
            assert (await said(session, server))[0] == 200
            revoked = Revoked(certificates=frozenset({read_certificate(berta.chain).serial}))
            home.credentials = replace(home.credentials, trust=home.credentials.trust.also_revoking(revoked))
            assert (await said(session, server))[0] == 401

    asyncio.run(story())
    assert len(home.heard) == 1


def test_a_node_speaks_for_itself_alone(home: Home) -> None:
    status, body = home.asks(headers=without("DRiP-Node-ID", DRiP_Node_ID="carla"))
    assert status == 403
    assert b"speaks for itself alone" in body
    assert home.heard == []


def test_the_policy_has_a_say(home: Home) -> None:
    home.decide = lambda who, action, target: Decision(action is not Action.PEER, "not today")
    status, body = home.asks()
    assert status == 403
    assert b"not today" in body
    assert home.heard == []


def test_who_asks_for_another_host_is_not_heard(home: Home) -> None:
    assert home.asks(headers={**HEADERS, "Host": "elsewhere.example"})[0] == 421
    assert home.heard == []


def test_a_token_makes_nobody_a_node(home: Home) -> None:
    assert home.asks(headers={**HEADERS, "Authorization": "Bearer wp_x"}, is_anonymous=True)[0] == 401


# What


@pytest.mark.parametrize("network", ["cd" * 32, "", NETWORK.upper(), NETWORK + " "[:0] + "0"])
def test_another_network_is_not_heard(home: Home, network: str) -> None:
    assert home.asks(headers=without("Waypost-Network", Waypost_Network=network))[0] == 403
    assert home.heard == []


def test_who_names_no_network_is_a_peer_of_the_draft_and_none_is_known_here(home: Home) -> None:
    assert home.asks(headers={})[0] == 403
    assert home.heard == []


@pytest.mark.parametrize("wire", ["2", "0", "", "x", "1.0"])
def test_another_version_of_the_messages_is_refused_as_such(home: Home, wire: str) -> None:
    status, body = home.asks(headers=without("Waypost-Wire", Waypost_Wire=wire))
    assert status == 400
    assert b"version 1" in body
    assert home.heard == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b"[1]",
        b"[[]]",
        b'[{"type":"nothing"}]',
        b'[{"type":"read"}]',
        BODY[:-1],
        BODY + b"]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'[{"type":"read","id":1e400}]',
        BODY.replace(b'"lamp"', b'"\xed\xa0\x80"'),
        BODY.replace(b'"lamp"', b'"' + b"x" * 256 + b'"'),
        gzip.compress(BODY, mtime=0),
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_no_array_of_messages_is_refused(home: Home, body: bytes) -> None:
    status, answer = home.asks(body)
    assert status == 400
    assert b'"status":400' in answer
    assert home.heard == []


def test_nothing_is_unpacked(home: Home) -> None:
    """A thousandfold of what was sent: RFC 9110, 8.4.  What is not in it as it is, is no JSON."""
    bomb = gzip.compress(b"[" + b" " * (64 << 20) + b"]")
    assert len(bomb) < PARCEL_MAX
    assert home.asks(bomb, {**HEADERS, "Content-Encoding": "gzip"})[0] == 400
    assert home.heard == []


def test_nothing_said_is_nothing_heard(home: Home) -> None:
    assert home.asks(b"[]") == (200, b"")
    assert home.heard == [("berta", ())]


def test_so_many_messages_and_no_more(home: Home) -> None:
    many = [parcel.spell(Read(number, "names", "lamp", 1)) for number in range(MESSAGES_MAX + 1)]
    assert home.asks(b"[" + b",".join(many[:-1]) + b"]")[0] == 200
    assert home.asks(b"[" + b",".join(many) + b"]")[0] == 400
    assert [len(messages) for _, messages in home.heard] == [MESSAGES_MAX]


def test_so_many_octets_and_no_more(home: Home) -> None:
    assert home.asks(BODY[:-1] + b" " * (PARCEL_MAX - len(BODY)) + b"]")[0] == 200
    assert home.asks(BODY[:-1] + b" " * (PARCEL_MAX - len(BODY) + 1) + b"]")[0] == 413
    assert len(home.heard) == 1


def test_while_the_disk_is_behind_it_is_said_again_later(home: Home) -> None:
    home.is_behind = True
    status, body = home.asks()
    assert status == 503
    assert b"say it again later" in body


def test_a_node_that_writes_slowly_is_let_go_and_holds_nobody_else(home: Home) -> None:
    async def story() -> None:
        home.limits = Limits(body_s=0.3)
        berta = home.authority.certify("peer", "berta")
        async with home.hearing() as server, client(home.authority, berta) as session:
            secured = context(home.authority, berta)
            reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port, ssl=secured)
            head = f"POST /reading HTTP/1.1\r\nHost: 127.0.0.1\r\nWaypost-Network: {NETWORK}\r\nContent-Length: 500\r\n"
            writer.write(head.encode() + b"\r\n[")
            assert (await said(session, server))[0] == 200
            assert (await reader.readline()).startswith(b"HTTP/1.1 408")
            writer.close()

    asyncio.run(story())
    assert len(home.heard) == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_what_is_said_is_posted(home: Home, method: str) -> None:
    async def story() -> int:
        async with home.hearing() as server, client(home.authority, home.authority.certify("peer", "berta")) as session:
            url = f"https://127.0.0.1:{server.address.port}/voting"
            async with session.request(method, url, data=BODY, headers=HEADERS) as answer:
                return answer.status

    assert asyncio.run(story()) == 405
    assert home.heard == []


@pytest.mark.parametrize(("host", "status"), [("node-2.example:8481", 401), ("elsewhere.example:8481", 421)])
def test_a_node_goes_by_the_name_that_it_is_reached_under(tmp_path: Path, host: str, status: int) -> None:
    """Its URL says it, and http.hosts need not say it again."""

    async def story() -> int:
        listen = ("127.0.0.1:0",)
        config = Config(
            dir=tmp_path,
            coap=Coap(listen=listen),
            coaps=Coaps(listen=()),
            http=Http(listen=listen),
            https=Https(listen=()),
            peers=Peers(listen=listen, url="https://node-2.example:8481"),
        )
        async with asyncio.timeout(60), Node(config) as node:
            made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
            async with aiohttp.ClientSession() as session:
                url = f"https://{node.listeners['peers']}/voting"
                async with session.post(url, data=BODY, headers={**HEADERS, "Host": host}, ssl=made) as answer:
                    return answer.status

    assert asyncio.run(story()) == status
