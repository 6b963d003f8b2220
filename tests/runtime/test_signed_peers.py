"""Signed requests through a proxy that ends TLS: the node behind it knows who speaks, and takes nobody else's word."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from secured import authority

from waypost.api.asking import Asking, only_peers
from waypost.api.mesh import Hearing
from waypost.api.problem import Refusal
from waypost.assembly.installation import Reach
from waypost.drip.messages import RosterRequest
from waypost.drip.outbox import Tell
from waypost.drip.parcel import Said
from waypost.identity.policy import default
from waypost.identity.requests import Signatures
from waypost.runtime.http import serve
from waypost.runtime.peers import Peers

NETWORK: Final = "ab" * 32
KEY: Final = Ed25519PrivateKey.from_private_bytes(b"anna".ljust(32))
PUBLIC: Final = KEY.public_key().public_bytes_raw()


class Street:
    """Anna speaks to berta, who stands behind a proxy; `heard` is what berta took, `answers` what anna was told."""

    def __init__(self, folder: Path) -> None:
        self.roots, self.chain = folder / "roots.pem", folder / "proxy.pem"
        _certify(self.roots, self.chain)
        self.heard: list[tuple[str, Sequence[Said]]] = []
        self.statuses: list[int] = []

    @asynccontextmanager
    async def behind_a_proxy(self, name: str = "berta", *, signatures: bool = True) -> AsyncIterator[str]:
        """Its URL: what ends TLS there asks for no certificate, and its own is nobody's of the network."""

        async def nothing(question: object) -> object:
            return None

        taken = Signatures({"anna": PUBLIC}.get) if signatures else None
        hearing = Hearing(
            partial(only_peers, Asking(nothing).identify), default().decide, self._hear, NETWORK, None, taken, name
        )
        app = web.Application(middlewares=[self._note])
        hearing.serve_in(app)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain)
        server = await serve(app, "127.0.0.1", 0, secured=lambda: context)
        try:
            yield f"https://127.0.0.1:{server.address.port}"
        finally:
            await server.close()

    @asynccontextmanager
    async def anna(self, url: str, key: Ed25519PrivateKey | None = KEY) -> AsyncIterator[Peers]:
        credentials = authority().certify("peer", "anna")
        sign = None if key is None else key.sign
        peers = Peers("anna", lambda: credentials, lambda *_: True, lambda *_: None, sign=sign)
        peers.outside(Reach(NETWORK, {"berta": url}, {"anna": PUBLIC.hex()}))
        try:
            async with asyncio.timeout(30):
                yield peers
        finally:
            await peers.close()

    def _hear(self, node: str, messages: Sequence[Said]) -> bool:
        self.heard.append((node, messages))
        return True

    @web.middleware
    async def _note(self, request: web.Request, handler: object) -> web.StreamResponse:
        assert callable(handler)
        try:
            answer = await handler(request)
        except Refusal as error:
            answer = web.Response(status=error.code, text=str(error))
        assert isinstance(answer, web.StreamResponse)
        self.statuses.append(answer.status)
        return answer


def _certify(roots: Path, chain: Path) -> None:
    """A root of the world's, and what it says of 127.0.0.1."""
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "everybody's root")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a proxy")])
    now = datetime.now(UTC)

    def begun(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        dated = x509.CertificateBuilder().not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
        return dated.subject_name(subject).issuer_name(root_name).public_key(public).serial_number(1)

    root = begun(root_name, root_key.public_key()).add_extension(x509.BasicConstraints(True, None), critical=True)
    hosts = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    proxy = begun(name, key.public_key()).add_extension(hosts, critical=False)
    roots.write_bytes(root.sign(root_key, SHA256()).public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain.write_bytes(private + proxy.sign(root_key, SHA256()).public_bytes(Encoding.PEM))


@pytest.fixture
def street(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Street:
    street = Street(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(street.roots))
    return street


async def _said(street: Street, peers: Peers) -> None:
    peers.outside(Tell("berta", RosterRequest(1)))
    while not (street.statuses or peers.counts["failed"]):
        await asyncio.sleep(0.01)


def test_a_node_behind_a_proxy_knows_who_speaks(street: Street) -> None:
    async def story() -> None:
        async with street.behind_a_proxy() as url, street.anna(url) as peers:
            await _said(street, peers)
            assert street.heard == [("anna", (RosterRequest(1),))]
            assert peers.counts["failed"] == 0

    asyncio.run(story())


def test_a_signature_by_another_key_is_refused(street: Street) -> None:
    async def story() -> None:
        async with street.behind_a_proxy() as url, street.anna(url, Ed25519PrivateKey.generate()) as peers:
            await _said(street, peers)
            assert street.statuses == [401]
            assert street.heard == []

    asyncio.run(story())


def test_a_request_for_another_node_is_refused(street: Street) -> None:
    async def story() -> None:
        async with street.behind_a_proxy("carla") as url, street.anna(url) as peers:
            await _said(street, peers)
            assert street.statuses == [403]
            assert street.heard == []

    asyncio.run(story())


def test_signatures_count_for_nothing_where_they_are_off(street: Street) -> None:
    async def story() -> None:
        async with street.behind_a_proxy(signatures=False) as url, street.anna(url) as peers:
            await _said(street, peers)
            assert street.statuses == [401]
            assert street.heard == []

    asyncio.run(story())


def test_without_signatures_a_proxy_is_not_spoken_to(street: Street) -> None:
    async def story() -> None:
        async with street.behind_a_proxy() as url, street.anna(url, None) as peers:
            await _said(street, peers)
            assert peers.counts["failed"] == 1
            assert street.statuses == []

    asyncio.run(story())


def test_a_proxy_that_the_url_does_not_name_is_not_spoken_to(street: Street) -> None:
    async def story() -> None:
        async with street.behind_a_proxy() as url, street.anna(url.replace("127.0.0.1", "localhost")) as peers:
            await _said(street, peers)
            assert peers.counts["failed"] == 1
            assert street.statuses == []

    asyncio.run(story())
