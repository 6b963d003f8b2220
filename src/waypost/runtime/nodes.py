"""Connections to other nodes: who is at the other end is known before anything is said, and nobody is sent elsewhere.

With signatures a proxy may stand before the other node; a request is then signed by this node's key, for that one.

Source: notes on DRiP, 1.3 and 5.1; RFC 9421; RFC 9530.
"""

import asyncio
import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from waypost.errors import DeniedError
from waypost.identity.certificates import states_identity
from waypost.identity.credentials import Credentials
from waypost.identity.requests import Message, Sign, digest_of, signed
from waypost.runtime.line import Line
from waypost.runtime.tls import chain_of

NETWORK: Final = "Waypost-Network"  # header: the network's id, and the mark of the profile `ballot`
WIRE: Final = "Waypost-Wire"
WIRE_VERSION: Final = "1"
NODE_ID: Final = "DRiP-Node-ID"
COUNTER: Final = "DRiP-Node-Counter"
TO: Final = "Waypost-To"  # header: the name of the node that a signed request is for
CONTENT_DIGEST: Final = "Content-Digest"

CONNECTIONS_MAX: Final = 8  # to one node, of one session
REQUEST_S: Final = 10.0
CONNECT_S: Final = 3.0
ANSWER_S: Final = 3.0  # after the request is out: no disk stands between it and its answer
IDLE_S: Final = 20.0  # below what the other side waits for the next request


def begin_session(
    credentials: Callable[[], Credentials],
    name: str,
    source: str | None = None,
    *,
    proxied: bool = False,
    request_s: float = REQUEST_S,
) -> aiohttp.ClientSession:
    """To the node `name` and no other; `source` is the address that it speaks from."""
    return aiohttp.ClientSession(
        connector=Connector(credentials, lambda _: frozenset((name,)), source, proxied=proxied),
        timeout=aiohttp.ClientTimeout(total=request_s, connect=CONNECT_S, sock_read=ANSWER_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )


def signing_fields(
    method: str, path: str, body: bytes, headers: Mapping[str, str], name: str, to: str, sign: Sign
) -> dict[str, str]:
    """What is added to the `headers` of a request that the node `name` makes to the node `to`."""
    more = {CONTENT_DIGEST: digest_of(body), TO: to}
    fields = {field.lower(): text for field, text in (*headers.items(), *more.items())}
    return more | signed(Message(method, path, fields), name, sign, secrets.token_hex(16), int(time.time()))


def is_origin(text: str) -> bool:
    """Whether it is as https://node-2.example:8481: a node says where it is, and may say anything."""
    try:
        url = URL(text)
        return url.scheme == "https" and bool(url.host) and str(url.origin()) == text
    except ValueError:
        return False


class Connector(aiohttp.TCPConnector):
    """Lets no connection be used before the other end has shown whose it is.

    `source` is the address that connections come from, None for what the system chooses.  With `proxied` a certificate
    that is no node's will do: TLS has held it to the URL.
    """

    def __init__(
        self,
        credentials: Callable[[], Credentials],
        expected: Callable[[URL], frozenset[str]],
        source: str | None = None,
        *,
        proxied: bool = False,
    ) -> None:
        local = None if source is None else (source, 0)
        super().__init__(limit=0, limit_per_host=CONNECTIONS_MAX, keepalive_timeout=IDLE_S, local_addr=local)
        self._credentials = credentials
        self._expected = expected
        self._proxied = proxied

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[aiohttp.tracing.Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 -- as the library has it
    ) -> ResponseHandler:
        protocol = await super()._create_connection(req, traces, timeout)
        assert protocol.transport is not None
        try:
            _require(protocol.transport, self._credentials(), self._expected(req.url), self._proxied)
        except DeniedError:
            protocol.close()
            raise
        return protocol


async def dial(
    url: str,
    name: str,
    context: ssl.SSLContext,
    credentials: Credentials,
    source: str | None = None,
    *,
    proxied: bool = False,
) -> Line:
    """A connection to the node `name`, whose origin is `url`.

    Raises OSError, TimeoutError, and DeniedError if it is somebody else; ssl.SSLError is an OSError.
    """
    origin = URL(url)
    assert origin.host is not None  # is_origin() has looked
    assert origin.port is not None
    async with asyncio.timeout(CONNECT_S):
        transport, line = await asyncio.get_running_loop().create_connection(
            lambda: Line(credentials, answer_s=ANSWER_S, idle_s=IDLE_S),
            origin.host,
            origin.port,
            ssl=context,
            server_hostname=origin.host,
            local_addr=None if source is None else (source, 0),
        )
    try:
        _require(transport, credentials, frozenset((name,)), proxied)
    except DeniedError:
        line.abort()
        raise
    return line


def _require(
    transport: asyncio.BaseTransport, credentials: Credentials, expected: frozenset[str], proxied: bool
) -> None:
    """That one of those nodes is at the other end.  Raises DeniedError."""
    chain = chain_of(transport.get_extra_info("ssl_object"))
    if proxied and not states_identity(chain[0]):
        return  # a proxy, which the URL names
    who = credentials.certified(chain, time.time_ns() // 1_000_000)
    if "peer" not in who.roles or who.name not in expected:
        raise DeniedError(f"it is {who.subject}, and not who should be there")
