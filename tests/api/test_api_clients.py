"""The two clients tell the same stories, to the real directory."""

import asyncio
import inspect
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import msgspec
import pytest
from embedded import Embedded
from serving import Api, serving

import waypost
from waypost import Client, Endpoint, Link, RemoteError, SyncClient, UnreachableError
from waypost.api import calls, schemas
from waypost.errors import ConfigError, StateError

TEMPERATURE: Final = Link("/t", attributes=(("rt", "temperature indoor"), ("ct", "0"), ("obs", None)))
HUMIDITY: Final = Link("/h", "/", (("rt", 'hu"mi\\dity'),))


class Blocking:
    """The asynchronous client with the synchronous one's manners."""

    def __init__(self, url: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = Client(url, **options)

    def __enter__(self) -> "Blocking":
        self._runner.run(self._client.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.close())
        self._runner.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            result = getattr(self._client, name)(*arguments, **options)
            return self._runner.run(result) if inspect.iscoroutine(result) else self._drawn(result)

        return call

    def _drawn(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        async def draw() -> Any:
            return await anext(items, None)

        while (item := self._runner.run(draw())) is not None:
            yield item


Kind = Callable[..., Any]


KINDS: Final[list[Kind]] = [SyncClient, Blocking]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    made: Kind = request.param
    return made


@pytest.fixture
def api() -> Iterator[Api]:
    with serving(Embedded().ask) as api:
        yield api


@pytest.fixture
def client(kind: Kind, api: Api) -> Iterator[Any]:
    with kind(api.url) as client:
        yield client


def test_an_endpoint_is_registered_found_renewed_and_unregistered(client: Any) -> None:
    registered = client.register(
        "lamp/3 ü",
        base="coap://[2001:db8::1]",
        d="hall",
        lt=600,
        attributes=[("et", "a b&c"), ("on", None)],
        links=[TEMPERATURE, HUMIDITY],
    )
    assert registered.created
    shown = client.get(registered.id)
    assert shown == Endpoint(
        registered.id,
        "lamp/3 ü",
        "hall",
        "coap://[2001:db8::1]",
        600,
        600.0,
        (("et", "a b&c"), ("on", None)),
        (
            Link("coap://[2001:db8::1]/t", attributes=TEMPERATURE.attributes),
            Link("coap://[2001:db8::1]/h", "coap://[2001:db8::1]/", HUMIDITY.attributes),
        ),
    )
    for criteria in ([("et", "a b&c")], [("on", None)], [("rt", "indoor"), ("d", "hal*")], [("ep", "lamp/3 ü")]):
        found = list(client.find("endpoints", criteria))
        assert [endpoint.id for endpoint in found] == [registered.id]
        assert found[0].links is None
    assert list(client.find("links", rt='hu"mi\\dity')) == [shown.links[1]]
    assert list(client.find(et="else")) == []
    renewed = client.renew(registered.id, lt=60, base="coap://elsewhere", attributes=[("et", "d")])
    assert (renewed.lt, renewed.base, renewed.links[0].href) == (60, "coap://elsewhere", "coap://elsewhere/t")
    assert renewed.attributes == (("on", None), ("et", "d")) or renewed.attributes == (("et", "d"), ("on", None))
    client.unregister(registered.id)
    with pytest.raises(RemoteError) as gone:
        client.get(registered.id)
    assert gone.value.code == 404


def test_registering_again_keeps_the_id(client: Any) -> None:
    first = client.register("lamp", base="coap://lamp", links=[TEMPERATURE])
    again = client.register("lamp", base="coap://lamp")
    assert (again.id, again.created) == (first.id, False)
    assert client.get(first.id).links == ()


def test_many_are_read_page_by_page_in_one_order(client: Any) -> None:
    ids = [client.register(f"lamp{number}", base="coap://lamp", links=[TEMPERATURE]).id for number in range(7)]
    for count in (1, 3, 7, 100):
        assert [endpoint.id for endpoint in client.find(count=count)] == ids
        assert len(list(client.find("links", count=count, rt="temperature"))) == 7


def test_pages_are_asked_for_only_as_they_are_drawn(client: Any, api: Api) -> None:
    for number in range(3):
        client.register(f"lamp{number}", base="coap://lamp")
    found = client.find(count=1)
    assert next(found).ep == "lamp0"
    asked = b'waypost_http_requests_total{method="GET",route="/v1/endpoints",status="200"} 1.0'
    assert asked in api.ask("GET", "/metrics").body


def test_registrations_move_and_names_are_kept_out(client: Any) -> None:
    client.register("lamp", base="coap://lamp", links=[Link("/t")])
    client.register("door", base="coap://door")
    (lamp,) = client.export(ep="lamp")
    assert (lamp.ep, lamp.links) == ("lamp", "</t>")
    client.evict(lamp.id, for_s=60)
    (eviction,) = client.evictions()
    assert (eviction.id, eviction.ep) == (lamp.id, "lamp")
    line = msgspec.json.encode(lamp)
    assert [error.line for error in client.take(line).errors] == [1]
    client.readmit(lamp.id)
    assert client.take(line, dry_run=True).imported == 1
    assert client.take(line).imported == 1
    assert [entry.ep for entry in client.export()] == ["door", "lamp"]


def test_an_export_is_refused_or_unreachable_like_any_other_call(kind: Kind, client: Any) -> None:
    with pytest.raises(RemoteError, match="an export has no pages"):
        list(client.export(count="5"))
    with kind("http://127.0.0.1:1") as nobody, pytest.raises(UnreachableError):
        list(nobody.export())


def test_metrics_are_the_figures_of_status_in_other_words(client: Any) -> None:
    lines = client.metrics().splitlines()
    assert f"waypost_registrations {client.status().gauges['registrations']:.1f}" in lines


def test_the_status_counts(client: Any) -> None:
    client.register("lamp", base="coap://lamp")
    status = client.status()
    assert (status.version, status.ready, status.checks) == (waypost.__version__, True, {"store": True})
    assert status.gauges["registrations"] == 1


@pytest.mark.parametrize(
    ("story", "code", "sentence"),
    [
        (lambda client: client.register("", base="coap://lamp"), 400, "`$.ep`"),
        (lambda client: client.register("a" * 64, base="coap://lamp"), 400, "`$.ep`"),
        (lambda client: client.register("ü" * 32, base="coap://lamp"), 400, "64 octets"),
        (lambda client: client.register("a\n", base="coap://lamp"), 400, "control character"),
        (lambda client: client.register("lamp", base="coap://lamp", d="\x7f"), 400, "control character"),
        (lambda client: client.register("lamp", base="coap://lamp", lt=0), 400, "`$.lt`"),
        (lambda client: client.register("lamp", base="coap://lamp?x"), 400, "query"),
        (lambda client: client.register("lamp", base="coap://[fe80::1%25eth0]"), 400, "zone"),
        (lambda client: client.register("lamp", base="lamp"), 400, "absolute URI"),
        (lambda client: client.register("lamp", base="coap://lamp", attributes=[("href", "/")]), 400, "href"),
        (lambda client: client.register("lamp", base="coap://lamp", links=[Link("t")]), 400, "leading"),
        (lambda client: client.register("lamp", base="coap://lamp", links=[Link("//x/t")]), 400, "leading"),
        (lambda client: client.renew("nothing"), 404, ""),
        (lambda client: client.unregister("../status"), 404, ""),
        (lambda client: client.get(""), 404, "no such path"),
        (lambda client: list(client.find(count=5000)), 400, "1 to 1000"),
    ],
)
def test_what_the_node_refuses_is_a_remote_error_with_its_sentence(
    client: Any, story: Callable[[Any], object], code: int, sentence: str
) -> None:
    """RFC 9176, 5 and appendix C."""
    with pytest.raises(RemoteError) as refused:
        story(client)
    assert refused.value.code == code
    assert sentence in str(refused.value)
    assert client.status().gauges["registrations"] == 0


def test_nobody_there_is_unreachable(kind: Kind) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (
        kind(f"http://127.0.0.1:{port}") as client,
        pytest.raises(UnreachableError, match="connection refused") as lost,
    ):
        client.status()
    assert lost.value.hint


def test_somebody_who_does_not_answer_is_unreachable(kind: Kind) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with kind(url, timeout_s=0.05) as client, pytest.raises(UnreachableError, match="too long"):
            client.status()


def test_a_connection_that_the_node_closed_meanwhile_is_made_anew(kind: Kind) -> None:
    def serve_twice(server: socket.socket) -> None:
        body = b'{"version":"1","ready":true,"checks":{},"counters":{},"gauges":{}}'
        for _ in range(2):
            peer, _address = server.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve_twice, args=(server,))
        thread.start()
        with kind(f"http://127.0.0.1:{server.getsockname()[1]}") as client:
            assert client.status().version == "1"
            assert client.status().version == "1"
        thread.join()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8480",
        "coap://127.0.0.1",
        "http://",
        "http://[::1",
        "http://a:99999",
        "http://a/b",
        "http://u:p@a",
    ],
)
def test_an_address_that_is_none_is_refused_at_once(kind: Kind, url: str) -> None:
    with pytest.raises(ConfigError):
        kind(url)


def test_the_asynchronous_client_is_used_inside_its_context() -> None:
    async def story() -> None:
        with pytest.raises(StateError):
            await Client("http://127.0.0.1:1").status()

    asyncio.run(story())


def test_the_twins_have_the_same_methods() -> None:
    def signatures(kind: type) -> dict[str, object]:
        methods = {name: method for name, method in vars(kind).items() if not name.startswith("_")}
        return {name: inspect.signature(method).parameters.keys() for name, method in methods.items()}

    assert signatures(Client) == signatures(SyncClient)


def test_a_next_page_elsewhere_is_not_followed() -> None:
    for next in ("http://evil.example/v1/endpoints", "//evil.example/", "v1/endpoints"):
        with pytest.raises(RemoteError):
            calls.following(calls.endpoints((), 1), schemas.Endpoints((), next))


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"version": 1}', b"\xff"])
def test_an_answer_that_is_not_a_nodes_is_unreachable(body: bytes) -> None:
    with pytest.raises(UnreachableError, match="not a node"):
        calls.read(calls.status(), 200, {}, body)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"detail": 1}'])
def test_a_refusal_without_a_problem_document_has_its_status(body: bytes) -> None:
    with pytest.raises(RemoteError, match="status 502") as refused:
        calls.read(calls.status(), 502, {"Retry-After": "3"}, body)
    assert (refused.value.code, refused.value.hint) == (502, "try again in 3 s")
