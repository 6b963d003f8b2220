"""The draft's calls over HTTP: who may make them, what they are answered, and streams.  Notes on DRiP, 4.14 and 5.1."""

import asyncio
import base64
import http.client
import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from handmade import Rows
from literals import BELL, CURL, Shelf
from multidict import CIMultiDict
from serving import Answer

from waypost.api.literal import FAILURES, NDJSON, Literal
from waypost.api.server import application
from waypost.drip import calls
from waypost.drip.calls import BODY_MAX
from waypost.drip.learner import CHANGED_MAX
from waypost.drip.literal import Literal as Engine
from waypost.drip.literal import LiteralPeers, LiteralQuestion, ShowLiteral
from waypost.engine import Answer as Answered
from waypost.engine import Commit
from waypost.identity import ANONYMOUS, Identity
from waypost.identity.admission import Gate
from waypost.identity.policy import Decide, Policy, default
from waypost.identity.requests import digest_of
from waypost.rd.questions import Busy
from waypost.runtime.http import serve

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PROPAGATION = {"DRiP-Node-ID": "far", "DRiP-Node-Counter": "1"}
NOT_ALLOWED = Policy.read({"allow": [{"who": ["anyone"], "do": ["discover"]}]}, "policy.toml").decide


class Place:
    """A node with two peers of the draft, `bell` who listens and `curl` who does not; its disk takes no time.

    Who asks shows a certificate, of the name and the role in the header `Shows`: the handshake is tested elsewhere.
    """

    def __init__(self, decide: Decide, gate: Gate, stall_s: float) -> None:
        self.shelf = Shelf()
        self.busy = False
        self.revoked = False
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[object]] = {}
        ids = itertools.count(1)
        self.engine = Engine(
            "anna", (BELL, CURL), self.shelf, lambda _: "active", Random(1), ids, lambda committed, now: False
        )
        self.literal = Literal(
            "anna",
            {"bell": None, "curl": KEY.public_key().public_bytes_raw()},
            self.ask,
            self.identify,
            decide,
            gate,
            stall_s=stall_s,
        )

    async def identify(self, request: web.Request) -> Identity:
        kind, _, name = request.headers.get("Shows", "").partition(":")
        if not name:
            return ANONYMOUS
        return Identity("certificate", name, () if self.revoked else (kind,))

    async def ask(self, question: object) -> object:
        if self.busy:
            return Busy(1, "the disk is behind")
        assert isinstance(question, LiteralQuestion)
        id = next(self._ids)
        future = self._waiting[id] = asyncio.get_running_loop().create_future()
        self.engine.ask(id, question, asyncio.get_running_loop().time())
        self.settle()
        return await future

    async def put(self, *keys: str) -> None:
        """New versions."""
        for key in keys:
            new = self.shelf.put(key, "x")
            self.engine.changed(new.record.place, asyncio.get_running_loop().time())
        self.settle()

    def settle(self) -> None:
        for effect in self.engine.take_effects():
            for answer in effect.then if isinstance(effect, Commit) else (effect,):
                assert isinstance(answer, Answered)
                future = self._waiting.pop(answer.id)
                if not future.done():
                    future.set_result(answer.result)
        self.engine.check()


@dataclass
class Door:
    """What a program outside sees, and the node behind it."""

    place: Place
    port: int
    loop: asyncio.AbstractEventLoop

    def call(self, method: str, path: str, body: bytes = b"", shows: str = "peer:curl", **headers: str) -> Answer:
        connection = self.connect(method, path, body, shows, headers)
        response = connection.getresponse()
        answer = Answer(response.status, dict(response.headers), response.read())
        connection.close()
        return answer

    def connect(
        self, method: str, path: str, body: bytes = b"", shows: str = "peer:curl", headers: dict[str, str] | None = None
    ) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        given = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        connection.request(method, path, body or None, {"Shows": shows, **given})
        return connection

    def put(self, *keys: str) -> None:
        asyncio.run_coroutine_threadsafe(self.place.put(*keys), self.loop).result()

    def seen(self) -> LiteralPeers:
        answer = asyncio.run_coroutine_threadsafe(self.place.ask(ShowLiteral()), self.loop).result()
        assert isinstance(answer, LiteralPeers)
        return answer


@contextmanager
def opened(decide: Decide | None = None, gate: Gate | None = None, stall_s: float = 5.0) -> Iterator[Door]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def begin() -> tuple[Place, Any]:
        allowed, gated = decide or default().decide, Gate(0, 1) if gate is None else gate
        place = Place(allowed, gated, stall_s)
        place.engine.restore(Rows(), asyncio.get_running_loop().time())
        place.engine.take_effects()
        app = application(place.ask, dict, place.identify, allowed, gated, routes=())
        place.literal.serve_in(app)
        return place, await serve(app, "127.0.0.1", 0)

    place, server = asyncio.run_coroutine_threadsafe(begin(), loop).result()
    try:
        yield Door(place, server.address.port, loop)
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(name="door")
def a_door() -> Iterator[Door]:
    with opened() as door:
        yield door


def part(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def jwt(jti: str, **claims: Any) -> str:
    now = int(time.time())
    given = {"iss": "curl", "aud": "anna", "iat": now, "exp": now + 60, "jti": jti} | claims
    signed = f"{part(json.dumps({'alg': 'EdDSA'}).encode())}.{part(json.dumps(given).encode())}"
    return f"{signed}.{part(KEY.sign(signed.encode()))}"


# who may call


@pytest.mark.parametrize("scheme", ["", "Bearer ", "bearer  "])
def test_a_token_shows_who_calls_with_or_without_bearer(door: Door, scheme: str) -> None:
    answer = door.call("GET", "/state", shows="", Authorization=scheme + jwt(scheme or "bare"))
    assert (answer.status, answer.json) == (200, {"state": "active"})


def test_a_token_is_used_once(door: Door) -> None:
    token = jwt("one")
    assert door.call("GET", "/state", shows="", Authorization=token).status == 200
    again = door.call("GET", "/state", shows="", Authorization=token)
    assert again.status == 401
    assert again.headers["WWW-Authenticate"] == "Bearer"
    assert "used before" in again.problem["detail"]


@pytest.mark.parametrize("claims", [{"iss": "bell"}, {"aud": "berta"}, {"exp": 1}])
def test_a_token_that_is_not_good_is_refused_though_there_is_a_certificate(door: Door, claims: dict[str, Any]) -> None:
    assert door.call("GET", "/state", Authorization=jwt("x", **claims)).status == 401


def test_a_token_with_a_digest_is_for_that_body_alone(door: Door) -> None:
    """RFC 9530: who stands between may read the token, and say nothing else with it."""
    body = b'{"state":"active"}'
    for number, (sent, status) in enumerate(((body, 200), (b'{"state":"sync"}', 401), (b"", 401))):
        headers = {"shows": "", "Authorization": jwt(str(number), digest=digest_of(body))}
        answer = door.call("POST", "/heartbeat/node/curl", sent, **headers)
        assert answer.status == status
    assert "another body" in answer.problem["detail"]


def test_who_guesses_tokens_is_slowed_down(door: Door) -> None:
    answers = [door.call("GET", "/state", shows="", Authorization="a.b.c").status for _ in range(FAILURES + 1)]
    assert answers == [401] * FAILURES + [429]
    assert door.call("GET", "/state").status == 200


@pytest.mark.parametrize(
    ("shows", "status"),
    [("peer:curl", 200), ("peer:bell", 200), ("peer:other", 403), ("device:curl", 403), ("admin:curl", 403), ("", 401)],
)
def test_a_configured_peer_alone_is_answered(door: Door, shows: str, status: int) -> None:
    assert door.call("GET", "/state", shows=shows).status == status


def test_the_policy_has_the_last_word() -> None:
    with opened(NOT_ALLOWED) as door:
        assert door.call("GET", "/state").status == 403
        assert door.call("GET", "/state", shows="", Authorization=jwt("one")).status == 403


def test_who_calls_too_often_is_told_to_come_back() -> None:
    with opened(gate=Gate(0.01, 2)) as door:
        answers = [door.call("GET", "/state") for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert int(answers[-1].headers["Retry-After"]) >= 1


# what is answered


def test_two_hundred_means_received(door: Door) -> None:
    for method, path, body in (
        ("POST", "/voting", b"{}"),
        ("POST", "/commit", b"{}"),
        ("POST", "/voting/peernode/far/response/yes", b""),
        ("POST", "/votingphase/node/far/response/no", b""),
        ("POST", "/node/far/response/yes", b""),
        ("POST", "/heartbeat/node/bell", b"synchronizing"),
        ("POST", "/node/bell/active", b""),
        ("POST", "/sync/node/bell", b""),
    ):
        answer = door.call(method, path, body, "peer:bell", **PROPAGATION)
        assert (answer.status, answer.body) == (200, b""), path
    bell, _ = door.seen().seen
    assert (bell.state, bell.follows) == ("active", True)
    assert door.place.engine.counts["votings_refused"] == 1


def test_what_is_malformed_is_refused_and_told_why(door: Door) -> None:
    refused = door.call("POST", "/voting", b"{}")
    assert refused.status == 400
    assert "DRiP-Node-Counter" in refused.problem["detail"]
    assert door.call("POST", "/heartbeat/node/curl", b"alive").status == 400
    assert door.call("POST", "/voting", b"x" * (BODY_MAX + 1), **PROPAGATION).status == 413
    assert door.call("POST", "/votings", b"{}").status == 404
    assert door.call("DELETE", "/commit").status == 405
    assert door.seen().seen[1].heard_s is None


def test_who_speaks_for_another_is_refused(door: Door) -> None:
    assert door.call("POST", "/heartbeat/node/bell", b"active").status == 403
    assert door.call("PUT", "/sync/node/bell").status == 403


def test_while_the_disk_is_behind_it_says_so(door: Door) -> None:
    door.place.busy = True
    answer = door.call("PUT", "/sync/node/curl")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


# streams


def lines(body: bytes) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in body.splitlines()]


def test_everything_is_the_answer_to_a_request_to_sync(door: Door) -> None:
    door.put(*map(str, range(100)))
    answer = door.call("PUT", "/sync/node/curl")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == NDJSON
    assert "Preference-Applied" not in answer.headers
    told = lines(answer.body)
    assert [line["key"] for line in told] == ["roster", *map(str, range(100))]
    assert [line["headers"][calls.COMPLETE] for line in told] == ["false"] * 100 + ["true"]
    assert not door.seen().seen[1].follows


def test_everything_can_be_asked_for_once_a_second(door: Door) -> None:
    assert door.call("PUT", "/sync/node/curl").status == 200
    refused = door.call("POST", "/sync/node/curl")
    assert refused.status == 429
    assert int(refused.headers["Retry-After"]) >= 1


def test_who_prefers_to_wait_is_told_what_changes(door: Door) -> None:
    with stream(door, "wait=20") as response:
        assert response.headers["Preference-Applied"] == "wait=20"
        assert msgspec.json.decode(response.readline())["key"] == "roster"
        door.put("lamp")
        told = msgspec.json.decode(response.readline())
        assert (told["key"], told["headers"][calls.TYPE]) == ("lamp", "update")
        door.put("lamp")
        assert msgspec.json.decode(response.readline())["version"] == 2


@contextmanager
def stream(door: Door, prefer: str) -> Iterator[http.client.HTTPResponse]:
    connection = door.connect("PUT", "/sync/node/curl", headers={"Prefer": prefer})
    response = connection.getresponse()
    try:
        yield response
    finally:
        response.close()
        connection.close()


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("wait", "wait=3600"),
        ('respond-async, Wait = "7"; x=1', "wait=7"),
        ("wait=999999999", "wait=3600"),
        ("wait=0", None),
        ("wait=-1", None),
        ("wait=9999999999", None),
        ("wait=soon", None),
        ("return=minimal", None),
    ],
)
def test_how_long_is_as_the_preference_says_within_an_hour(door: Door, prefer: str, applied: str | None) -> None:
    """RFC 7240, 2: what is not understood is not there."""
    with stream(door, prefer) as response:
        assert response.headers.get("Preference-Applied") == applied


def test_a_wait_ends_well(door: Door) -> None:
    begin = time.monotonic()
    answer = door.call("PUT", "/sync/node/curl", Prefer="wait=1")
    assert len(lines(answer.body)) == 1  # and the last chunk came, or this would have raised
    assert time.monotonic() - begin >= 1.0
    assert not door.seen().seen[1].follows


def test_a_wait_ends_well_when_the_node_stops() -> None:
    begin = time.monotonic()
    with opened() as door:
        connection = door.connect("PUT", "/sync/node/curl", headers={"Prefer": "wait"})
        response = connection.getresponse()
        response.readline()
    assert response.read() == b""
    assert time.monotonic() - begin < 5.0
    connection.close()


def test_a_stream_whose_reader_falls_behind_breaks_off(door: Door) -> None:
    """So that nobody takes it for whole."""
    with stream(door, "wait=20") as response:
        response.readline()
        door.put(*map(str, range(CHANGED_MAX + 40)))  # at once: the node cannot tell one of them meanwhile
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()
    assert door.place.engine.counts["behind"] == 1


def test_who_may_not_any_more_is_told_nothing_more(door: Door) -> None:
    with stream(door, "wait=20") as response:
        response.readline()
        door.place.revoked = True
        door.put("lamp")
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()


def test_what_the_policy_revokes_ends_a_stream_of_a_token_too() -> None:
    policy = default()
    with opened(policy.decide) as door:
        headers = {"Prefer": "wait=20", "Authorization": jwt("one")}
        connection = door.connect("PUT", "/sync/node/curl", shows="", headers=headers)
        response = connection.getresponse()
        response.readline()
        policy.revoke("token:curl")
        door.put("lamp")
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()
        connection.close()


def test_two_tokens_at_once_are_none(door: Door) -> None:
    async def ask() -> int:
        async with aiohttp.ClientSession() as session:
            headers = CIMultiDict([("Authorization", jwt("one")), ("Authorization", jwt("two"))])
            async with session.get(f"http://127.0.0.1:{door.port}/state", headers=headers) as answer:
                return answer.status

    assert asyncio.run(ask()) == 401
