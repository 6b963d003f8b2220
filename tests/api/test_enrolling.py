"""Joining believes nothing that the token does not vouch for: nodes that lie, one way each."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import msgspec
import pytest
from aiohttp import web

from waypost.api.enrolling import Enrolled, enrol
from waypost.api.schemas import Join, Joined, Root
from waypost.errors import ConfigError, DeniedError, RemoteError, UnreachableError
from waypost.identity import keys
from waypost.identity.anchors import Trust, our_anchor, seal_trust
from waypost.identity.certificates import DAY_MS, Certificate, Subject, issue, make_root, read_request
from waypost.identity.credentials import Credentials
from waypost.identity.token import Shown
from waypost.runtime.host import wall_clock_ms
from waypost.runtime.http import serve
from waypost.runtime.tls import server_context

SECRET = bytes(range(32))


class Authority:
    def __init__(self) -> None:
        self.key = keys.make_p256()
        self.root = make_root(self.key, wall_clock_ms())
        self.operator = keys.make_ed25519()

    @property
    def token(self) -> str:
        return Shown("abcdefgh", SECRET, keys.fingerprint(self.root.public)).text

    @property
    def trust(self) -> Trust:
        return Trust(1, self.root.not_after_ms, (our_anchor(self.root),))

    def issue(self, role: str, name: str, public: keys.PublicKey) -> Certificate:
        return issue(self.key, self.root, Subject(role, name), public, wall_clock_ms())

    def joined(self, public: keys.PublicKey, role: str = "device", name: str = "lamp") -> Joined:
        return Joined(
            role,
            name,
            self.issue(role, name, public).pem.decode(),
            self.root.pem.decode(),
            keys.write_public(self.operator.public_key()).decode(),
            seal_trust(self.trust, self.operator).decode(),
        )


class Liar:
    """A node that says what it is told to; `heard` are the tokens that came."""

    def __init__(self, authority: Authority) -> None:
        self.shown = authority  # whose certificate it shows,
        self.role = "peer"  # in which role
        self.root = authority.root  # which root it names
        self.answer: Callable[[keys.PublicKey], Joined | web.Response] = authority.joined
        self.heard: list[str] = []

    @contextmanager
    def serving(self) -> Iterator[str]:
        key = keys.make_p256()
        made = self.shown.issue(self.role, "node", key.public_key())
        context = server_context(Credentials(made.pem, keys.write_private(key), self.shown.trust, {}))
        app = web.Application()
        app.router.add_get("/v1/join", self._root)
        app.router.add_post("/v1/join", self._join)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        server = asyncio.run_coroutine_threadsafe(serve(app, "127.0.0.1", 0, secured=lambda: context), loop).result()
        try:
            yield f"https://127.0.0.1:{server.address.port}"
        finally:
            asyncio.run_coroutine_threadsafe(server.close(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _root(self, _: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(Root(self.root.pem.decode(), "whatever")))

    async def _join(self, request: web.Request) -> web.Response:
        wanted = msgspec.json.decode(await request.read(), type=Join)
        self.heard.append(wanted.token)
        answer = self.answer(read_request(wanted.request.encode()).public)
        return answer if isinstance(answer, web.Response) else web.Response(body=msgspec.json.encode(answer))


@pytest.fixture
def ours() -> Authority:
    return Authority()


@pytest.fixture
def liar(ours: Authority) -> Liar:
    return Liar(ours)


def joining(liar: Liar, token: str, key: keys.PrivateKey | None = None) -> Enrolled:
    with liar.serving() as url:
        return enrol(token, url, key or keys.make_p256(), wall_ms=wall_clock_ms())


def test_who_tells_the_truth_is_believed(ours: Authority, liar: Liar) -> None:
    key = keys.make_p256()
    enrolled = joining(liar, ours.token, key)
    assert (enrolled.role, enrolled.name, enrolled.root) == ("device", "lamp", ours.root)
    assert keys.fingerprint(enrolled.certificate.public) == keys.fingerprint(key.public_key())
    assert liar.heard == [ours.token]


def test_a_node_of_another_root_never_sees_the_token(ours: Authority) -> None:
    liar = Liar(Authority())
    with pytest.raises(DeniedError, match="another root"):
        joining(liar, ours.token)
    assert liar.heard == []


def test_a_node_that_names_our_root_and_has_another_never_sees_the_token(ours: Authority) -> None:
    liar = Liar(Authority())
    liar.root = ours.root
    with pytest.raises(DeniedError, match="not of the root"):
        joining(liar, ours.token)
    assert liar.heard == []


def test_a_device_of_our_own_authority_never_sees_the_token(ours: Authority, liar: Liar) -> None:
    """A certificate of our root is not a role (notes on reliability, D3)."""
    liar.role = "device"
    with pytest.raises(DeniedError, match="not of the root"):
        joining(liar, ours.token)
    assert liar.heard == []


def test_a_root_that_is_none_is_not_believed(ours: Authority, liar: Liar) -> None:
    key = keys.make_p256()
    liar.root = ours.issue("peer", "node", key.public_key())
    pinned = Shown("abcdefgh", SECRET, keys.fingerprint(key.public_key())).text
    with pytest.raises(DeniedError, match="another root"):
        joining(liar, pinned)
    assert liar.heard == []


def test_a_certificate_for_another_key_is_not_taken(ours: Authority, liar: Liar) -> None:
    other = keys.make_p256().public_key()
    liar.answer = lambda _: ours.joined(other)
    with pytest.raises(DeniedError, match="another key"):
        joining(liar, ours.token)


@pytest.mark.parametrize("change", [{"name": "door"}, {"role": "admin"}])
def test_a_certificate_for_another_name_or_role_than_is_said_is_not_taken(
    ours: Authority, liar: Liar, change: dict[str, str]
) -> None:
    liar.answer = lambda public: msgspec.structs.replace(ours.joined(public), **change)
    with pytest.raises(DeniedError, match="for another"):
        joining(liar, ours.token)


def test_a_certificate_of_another_root_is_not_taken(ours: Authority, liar: Liar) -> None:
    liar.answer = Authority().joined
    with pytest.raises(DeniedError, match="no root that is trusted"):
        joining(liar, ours.token)


def test_a_trust_file_must_be_signed_and_have_the_root(ours: Authority, liar: Liar) -> None:
    other = Authority()
    unsigned = keys.write_public(other.operator.public_key()).decode()
    liar.answer = lambda public: msgspec.structs.replace(ours.joined(public), operator=unsigned)
    with pytest.raises(DeniedError, match="signed"):
        joining(liar, ours.token)
    without = seal_trust(other.trust, ours.operator).decode()
    liar.answer = lambda public: msgspec.structs.replace(ours.joined(public), trust=without)
    with pytest.raises(DeniedError, match="does not have the root"):
        joining(liar, ours.token)
    expired = seal_trust(replace(ours.trust, expires_ms=wall_clock_ms() - DAY_MS), ours.operator).decode()
    liar.answer = lambda public: msgspec.structs.replace(ours.joined(public), trust=expired)
    with pytest.raises(DeniedError, match="expired"):
        joining(liar, ours.token)


def test_an_operators_key_of_another_kind_is_not_taken(ours: Authority, liar: Liar) -> None:
    public = keys.write_public(keys.make_p256().public_key()).decode()
    liar.answer = lambda key: msgspec.structs.replace(ours.joined(key), operator=public)
    with pytest.raises(DeniedError, match="Ed25519"):
        joining(liar, ours.token)


def test_a_refusal_is_passed_on_with_its_reason(ours: Authority, liar: Liar) -> None:
    problem = {"type": "about:blank", "title": "x", "detail": "the token has expired", "instance": "/"}
    for status, kind in ((403, DeniedError), (503, RemoteError)):
        body = msgspec.json.encode(problem | {"status": status})
        liar.answer = lambda _, body=body, status=status: web.Response(status=status, body=body)  # type: ignore[misc]
        with pytest.raises(kind, match="the token has expired"):
            joining(liar, ours.token)


def test_what_is_no_node_is_told_so(ours: Authority, liar: Liar) -> None:
    liar.answer = lambda _: web.Response(body=b"<html>")
    with pytest.raises(UnreachableError, match="not a node"):
        joining(liar, ours.token)


def test_a_url_must_be_https(ours: Authority) -> None:
    with pytest.raises(ConfigError, match="TLS"):
        enrol(ours.token, "http://127.0.0.1:1", keys.make_p256(), wall_ms=wall_clock_ms())
