"""Both clients follow the feed, and take it up again where it broke off."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import pytest
from embedded import Embedded
from serving import Api, serving

from waypost import Client, Event, RemoteError, SyncClient, UnreachableError
from waypost.api.resuming import ENDPOINTS, WAIT_MAX_S, WAIT_S, Watch

Draw = Callable[[str, int, str | None], list[Event]]


def draw_waiting(url: str, number: int, since: str | None = None) -> list[Event]:
    with SyncClient(url) as client, closing(client.watch(since=since, rt="x")) as events:
        return [next(events) for _ in range(number)]


def draw_asynchronously(url: str, number: int, since: str | None = None) -> list[Event]:
    async def draw() -> list[Event]:
        async with Client(url) as client, aclosing(client.watch(since=since, rt="x")) as events:
            return [await anext(events) for _ in range(number)]

    return asyncio.run(draw())


DRAWS: Final[list[Draw]] = [draw_waiting, draw_asynchronously]


@pytest.fixture(params=DRAWS)
def draw(request: pytest.FixtureRequest) -> Draw:
    made: Draw = request.param
    return made


@contextmanager
def telling(*bodies: bytes | int) -> Iterator[tuple[str, list[str]]]:
    """A node that answers each request with the next of `bodies`, or a status, and ends it; and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = bodies[min(len(asked), len(bodies) - 1)]
            asked.append(self.path)
            self.send_response(body if isinstance(body, int) else 200)
            self.send_header("Content-Length", "0" if isinstance(body, int) else str(len(body) + 1))  # never whole
            self.end_headers()
            if isinstance(body, bytes):
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def api() -> Iterator[Api]:
    node = Embedded()
    with serving(node.ask, rows=node) as api:
        api.ask("POST", "/v1/endpoints?ep=a&base=coap://h", b"</t>;rt=x", {"Content-Type": "application/link-format"})
        yield api


def test_events_are_typed(draw: Draw, api: Api) -> None:
    put, synced = draw(api.url, 2, None)
    assert (put.event, put.ep, put.token) == ("put", "a", None)
    assert put.endpoint is not None
    assert put.endpoint.links is not None
    assert put.endpoint.links[0].href == "coap://h/t"
    assert synced.event == "synced"
    assert [event.event for event in draw(api.url, 1, synced.token)] == ["synced"]
    assert [event.event for event in draw(api.url, 3, "ab.1")] == ["reset", "put", "synced"]


def test_a_lost_connection_is_taken_up_where_it_was(draw: Draw) -> None:
    first = b'{"event":"synced","token":"ab.1"}\n{"event":"remove","token":"ab.2","ep":"a"}\n{"event":"rem'
    second = b'{"event":"heartbeat","token":"ab.7"}\n'
    third = b'{"event":"remove","token":"ab.8","ep":"b"}\n'
    with telling(first, second, third) as (url, asked):
        events = draw(url, 3, None)
    assert [event.token for event in events] == ["ab.1", "ab.2", "ab.8"]
    assert asked[:3] == ["/v1/watch?rt=x", "/v1/watch?since=ab.2&rt=x", "/v1/watch?since=ab.7&rt=x"]


def test_a_snapshot_that_broke_off_begins_anew(draw: Draw) -> None:
    partial = b'{"event":"put","ep":"a"}\n'
    with telling(partial, partial) as (url, asked):
        events = draw(url, 3, None)
    assert [event.event for event in events] == ["put", "reset", "put"]
    assert asked[:2] == ["/v1/watch?rt=x", "/v1/watch?rt=x"]


def test_a_node_that_refuses_is_not_asked_again(draw: Draw) -> None:
    with telling(400) as (url, asked), pytest.raises(RemoteError) as refused:
        draw(url, 1, "nonsense")
    assert refused.value.code == 400
    assert len(asked) == 1


def test_a_node_that_is_busy_for_a_while_is_asked_again_once_it_was_there(draw: Draw) -> None:
    with telling(b'{"event":"synced","token":"ab.1"}\n', 503, b'{"event":"remove","token":"ab.2"}\n') as (url, asked):
        assert [event.token for event in draw(url, 2, None)] == ["ab.1", "ab.2"]
    assert len(asked) == 3


def test_a_node_that_is_not_there_is_an_error(draw: Draw) -> None:
    with pytest.raises(UnreachableError):
        draw("http://127.0.0.1:1", 1, None)


@pytest.mark.parametrize("body", [b"hello\n", b'{"event":"other"}\n', b"[]\n"])
def test_what_is_no_event_is_no_node(body: bytes) -> None:
    watch = Watch(ENDPOINTS, (), None)
    with pytest.raises(UnreachableError, match="not a node"):
        list(watch.read(body))


def test_attempts_come_further_and_further_apart_until_an_event_comes() -> None:
    watch = Watch(ENDPOINTS, (), None)
    list(watch.connected())
    waits = [watch.lost(UnreachableError("gone")) for _ in range(12)]
    assert waits[:3] == [WAIT_S, 2 * WAIT_S, 4 * WAIT_S]
    assert waits[-1] == WAIT_MAX_S
    list(watch.read(b'{"event":"heartbeat","token":"ab.1"}\n'))
    assert watch.lost(UnreachableError("gone")) == WAIT_S


def test_an_event_may_come_in_any_pieces() -> None:
    watch = Watch(ENDPOINTS, (), None)
    data = b'{"event":"remove","token":"ab.1","ep":"a"}\n{"event":"synced","token":"ab.1"}\n'
    events = [event for octet in data for event in watch.read(bytes([octet]))]
    assert [event.event for event in events] == ["remove", "synced"]
