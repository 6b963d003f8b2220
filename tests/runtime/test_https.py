"""HTTP over TLS: handshakes that are not made, certificates that change, and whom a client stands for."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web
from secured import Authority, authority

from waypost.identity.credentials import Credentials
from waypost.runtime.http import HttpServer, Limits, serve
from waypost.runtime.tls import Contexts, chain_of

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Home:
    """A node's keys, which may be exchanged."""

    def __init__(self) -> None:
        self.authority = authority()
        self.credentials = self.authority.certify("peer", "node")
        self.limits = Limits()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[HttpServer]:
        async def chain(request: web.Request) -> web.Response:
            shown = chain_of(request.get_extra_info("ssl_object"))
            return web.Response(text=" ".join(certificate.hex() for certificate in shown))

        app = web.Application()
        app.router.add_get("/", chain)
        server = await serve(app, "127.0.0.1", 0, self.limits, Contexts(lambda: self.credentials).current)
        try:
            async with asyncio.timeout(20):
                yield server
        finally:
            await server.close()


@pytest.fixture
def home() -> Home:
    return Home()


def context(authority: Authority, shown: Credentials | None = None) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_verify_locations(cadata=authority.root.der)
    if shown is not None:
        file = os.memfd_create("shown")
        os.write(file, shown.key + shown.chain)
        made.load_cert_chain(f"/proc/self/fd/{file}")
        os.close(file)
    return made


async def get(server: HttpServer, client: ssl.SSLContext) -> tuple[bytes, bytes]:
    """The server's certificate, and its answer."""
    reader, writer = await asyncio.open_connection(*server.address[:2], ssl=client)
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    try:
        writer.write(GET)
        return certificate, await reader.read()
    finally:
        await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def refuses(server: HttpServer, client: ssl.SSLContext) -> bool:
    """TLS 1.3: the client has done its part of the handshake before it hears what the server thinks of it."""
    try:
        return not (await get(server, client))[1]
    except OSError:
        return True


def test_a_client_shows_a_certificate_or_none(home: Home) -> None:
    async def story() -> None:
        lamp = home.authority.certify("device", "lamp")
        async with home.serving() as server:
            _, answer = await get(server, context(home.authority))
            assert answer.endswith(b"\r\n\r\n")
            _, answer = await get(server, context(home.authority, lamp))
            own = ssl.PEM_cert_to_DER_cert(lamp.chain.decode()).hex().encode()
            assert answer.split(b"\r\n\r\n")[1].split()[0] == own
            assert (server.done, sum(server.failed.values())) == (2, 0)

    asyncio.run(story())


def test_a_certificate_of_a_stranger_and_an_expired_one_end_the_handshake(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with home.serving() as server:
            for wrong in (authority().certify("peer", "n"), home.authority.certify("peer", "n", days_ago=60)):
                assert await refuses(server, context(home.authority, wrong))
            while server.places.taken:
                await asyncio.sleep(0)
            assert server.failed == {"certificate": 2}
            assert server.done == 0
        first, second = (record.getMessage() for record in caplog.records)
        assert first.startswith("refused the certificate of 127.0.0.1: ")
        assert "expired" in second

    asyncio.run(story())


def test_an_older_tls_is_not_spoken(home: Home) -> None:
    async def story() -> None:
        client = context(home.authority)
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        async with home.serving() as server:
            assert await refuses(server, client)
            assert not await refuses(server, context(home.authority))

    asyncio.run(story())


def test_keys_that_were_renewed_are_shown_at_the_next_handshake(home: Home) -> None:
    async def story() -> None:
        async with home.serving() as server:
            before, _ = await get(server, context(home.authority))
            home.credentials = home.authority.certify("peer", "node")
            after, _ = await get(server, context(home.authority))
            assert before != after
            again, _ = await get(server, context(home.authority))
            assert after == again

    asyncio.run(story())


def test_a_root_that_is_trusted_later_is_taken_later(home: Home) -> None:
    async def story() -> None:
        other = authority()
        shown = context(home.authority, other.certify("peer", "n"))
        async with home.serving() as server:
            assert await refuses(server, shown)
            both = home.credentials.trust.anchors + other.trust.anchors
            trust = type(home.credentials.trust)(2, home.credentials.trust.expires_ms, both)
            home.credentials = Credentials(home.credentials.chain, home.credentials.key, trust, {})
            assert (await get(server, shown))[1].startswith(b"HTTP/1.1 200")

    asyncio.run(story())


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05"])
def test_a_handshake_that_is_not_made_ends_and_gives_its_place_back(home: Home, data: bytes) -> None:
    home.limits = Limits(handshake_s=0.2)

    async def story() -> None:
        async with home.serving() as server:
            reader, writer = await asyncio.open_connection(*server.address[:2])
            writer.write(data)
            while not server.places.taken:
                await asyncio.sleep(0)
            with suppress(ConnectionError):
                assert b"HTTP" not in await reader.read()
            assert server.places.taken == 0
            assert sum(server.failed.values()) == 1
            await closed(writer)

    asyncio.run(story())


def test_handshakes_count_among_the_connections(home: Home) -> None:
    home.limits = Limits(connections=1)

    async def story() -> None:
        async with home.serving() as server:
            _, silent = await asyncio.open_connection(*server.address[:2])
            while not server.places.taken:
                await asyncio.sleep(0)
            assert await refuses(server, context(home.authority))
            assert server.places.refused == 1
            await closed(silent)

    asyncio.run(story())


def test_the_server_closes_while_a_handshake_is_under_way(home: Home) -> None:
    async def story() -> None:
        async with home.serving() as server:
            _, silent = await asyncio.open_connection(*server.address[:2])
            while not server.places.taken:
                await asyncio.sleep(0)
        await closed(silent)

    asyncio.run(story())


def test_no_session_is_resumed(home: Home) -> None:
    """Or a certificate that was revoked would be shown no more."""

    async def story() -> None:
        client = context(home.authority, home.authority.certify("device", "lamp"))
        async with home.serving() as server:
            reader, writer = await asyncio.open_connection(*server.address[:2], ssl=client)
            writer.write(GET)
            await reader.read()
            session = writer.get_extra_info("ssl_object").session
            assert session is None or not session.has_ticket
            await closed(writer)

    asyncio.run(story())
