"""Certificates and trust files go from node to node, over real TLS: nodes that are who they should be, and others."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from http.client import HTTPSConnection
from pathlib import Path
from random import Random

import msgspec
import pytest
from aiohttp import web
from test_renewal import DAY, Network, own

from waypost.api.asking import Asking, only_peers
from waypost.api.joining import RENEWALS, Joining
from waypost.api.renewing import ASKED_MAX, Renewing
from waypost.api.routes import PEER_ROUTES
from waypost.api.schemas import Recertified, Recertify
from waypost.api.server import application
from waypost.identity import keys
from waypost.identity.admission import Gate
from waypost.identity.anchors import Revoked, our_anchor, seal_trust, with_anchor
from waypost.identity.certificates import Subject, issue, make_request, make_root, read_certificate
from waypost.identity.credentials import Credentials
from waypost.identity.policy import default
from waypost.runtime.host import wall_clock_ms
from waypost.runtime.http import serve
from waypost.runtime.tls import Contexts, client_context
from waypost.storage import authority, renewal
from waypost.storage.keyring import Keyring

NOW = wall_clock_ms() // 1_000 * 1_000  # OpenSSL has no other clock
SOON = 25  # days, after which the certificate of the node that joined ends: it is due


async def ask_nobody(_: object) -> object:
    raise AssertionError("neither a token nor the directory is asked")


@contextmanager
def serving(app: web.Application, credentials: Credentials) -> Iterator[str]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    made = serve(app, "127.0.0.1", 0, secured=Contexts(lambda: credentials).current)
    server = asyncio.run_coroutine_threadsafe(made, loop).result()
    try:
        yield f"https://127.0.0.1:{server.address.port}"
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def node(keyring: Keyring) -> web.Application:
    """What it serves on the port for peers."""
    asking = Asking(ask_nobody, lambda: keyring.credentials(NOW), lambda: NOW)
    return application(
        ask_nobody,
        dict,
        partial(only_peers, asking.identify),
        default().decide,
        Gate(0, 0),
        routes=PEER_ROUTES,
        joining=Joining(ask_nobody, keyring, lambda: NOW),
    )


@contextmanager
def running(keyring: Keyring) -> Iterator[str]:
    with serving(node(keyring), keyring.credentials(NOW)) as url:
        yield url


class Liar:
    """A node of the network that answers what it is told to."""

    def __init__(self, trust: bytes = b"", certified: Recertified | None = None) -> None:
        self.trust = trust
        self.certified = certified
        self.asked = 0

    @contextmanager
    def serving(self, credentials: Credentials) -> Iterator[str]:
        app = web.Application()
        app.router.add_get("/v1/trust", self._trust)
        app.router.add_post("/v1/renew", self._renew)
        with serving(app, credentials) as url:
            yield url

    @contextmanager
    def running(self, network: Network, role: str = "peer") -> Iterator[str]:
        key = keys.make_p256()
        made = network.founder.issue(Subject(role, "liar"), key.public_key(), NOW)
        trust = network.founder.credentials(NOW).trust
        with self.serving(Credentials(made.pem, keys.write_private(key), trust, {})) as url:
            yield url

    async def _trust(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(body=self.trust)

    async def _renew(self, _: web.Request) -> web.Response:
        self.asked += 1
        if self.certified is None:
            return web.Response(status=503)
        return web.Response(body=msgspec.json.encode(self.certified))


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(tmp_path, NOW, SOON)


def turn(network: Network, urls: Sequence[str]) -> None:
    credentials = network.joined.credentials(NOW)
    Renewing(network.joined, lambda: credentials, lambda: urls, rng=Random(1), wall_ms=lambda: NOW).turn(
        urls, credentials
    )


def asked(url: str, credentials: Credentials, request: bytes) -> tuple[int, bytes]:
    """What a node answers to a request for a certificate, whoever asks."""
    host, port = url.removeprefix("https://").split(":")
    connection = HTTPSConnection(host, int(port), context=client_context(credentials), timeout=10)
    body = msgspec.json.encode(Recertify(request.decode()))
    try:
        connection.request("POST", "/v1/renew", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def shown(network: Network, role: str, name: str) -> Credentials:
    key = keys.make_p256()
    made = network.founder.issue(Subject(role, name, ("h.example",)), key.public_key(), NOW)
    return Credentials(made.pem, keys.write_private(key), network.founder.credentials(NOW).trust, {})


def test_a_certificate_that_ends_soon_is_made_anew_for_the_same_name_and_hosts(network: Network) -> None:
    before, issued = own(network.joined), len(network.founder.issued())
    with running(network.founder) as url:
        turn(network, [url])
    now = own(network.joined)
    assert (now.uris, now.hosts) == (before.uris, before.hosts)
    assert now.not_after_ms == NOW + 365 * DAY
    assert now.serial != before.serial
    assert [(one.role, one.name, one.serial) for one in network.founder.issued()[issued:]] == [
        ("peer", "node-2", now.serial)
    ]
    assert network.founder.believed(NOW).all_revoked == Revoked()


def test_a_certificate_that_does_not_end_soon_is_left_alone(tmp_path: Path) -> None:
    network = Network(tmp_path, NOW)
    before = own(network.joined)
    with running(network.founder) as url:
        turn(network, [url])
    assert own(network.joined) == before


def test_the_next_is_asked_where_the_authority_is_not(network: Network) -> None:
    """Neither a node without the authority's key, nor one that is gone, nor one that lies, keeps the others from it."""
    key, signer = network.key, keys.make_p256()
    other = make_root(signer, NOW)
    made = issue(signer, other, Subject("peer", "node-2"), key.public_key(), NOW)
    liar = Liar(certified=Recertified(made.pem.decode(), other.pem.decode()))
    gone = "https://127.0.0.1:1"
    before = own(network.joined)
    with running(network.joined) as elsewhere, liar.running(network) as lying:
        turn(network, [gone, "http://127.0.0.1:1", "nonsense", elsewhere, lying])
        assert liar.asked == 1  # for a certificate alone: three were asked for a trust file before it
        assert own(network.joined) == before
        with running(network.founder) as url:
            turn(network, [gone, elsewhere, lying, url])
    assert own(network.joined).not_after_ms == NOW + 365 * DAY


def test_who_has_not_the_authority_says_so(network: Network) -> None:
    with running(network.joined) as url:
        status, _ = asked(url, shown(network, "peer", "node-2"), renewal.request(network.joined))
    assert status == 503


def test_a_request_for_another_name_gets_nothing(network: Network) -> None:
    issued = len(network.founder.issued())
    with running(network.founder) as url:
        for name in ("node-3", "", "node-2@theirs"):
            status, said = asked(url, network.joined.credentials(NOW), make_request(network.key, name or "?"))
            assert (status, b"another name" in said) == (403, True)
        assert asked(url, network.joined.credentials(NOW), b"nonsense")[0] == 400
    assert len(network.founder.issued()) == issued


def test_the_hosts_of_a_request_are_not_granted(network: Network) -> None:
    wanted = make_request(network.key, "node-2", ("bank.example",))
    with running(network.founder) as url:
        status, body = asked(url, network.joined.credentials(NOW), wanted)
    assert status == 200
    made = read_certificate(msgspec.json.decode(body, type=Recertified).certificate.encode())
    assert made.hosts == own(network.joined).hosts


def test_who_is_revoked_gets_nothing(network: Network) -> None:
    wanted = renewal.request(network.joined)
    authority.revoke(network.founder, Revoked(certificates=frozenset({own(network.joined).serial})), NOW)
    with running(network.founder) as url:
        assert asked(url, network.joined.credentials(NOW), wanted)[0] == 401
        authority.revoke(network.founder, Revoked(keys=frozenset({keys.fingerprint(network.key.public_key())})), NOW)
        status, said = asked(url, shown(network, "peer", "node-2"), wanted)
        assert (status, b"key is revoked" in said) == (403, True)


def test_only_peers_of_ours_are_renewed(network: Network) -> None:
    signer = keys.make_p256()
    other = make_root(signer, NOW)
    trust = network.founder.believed(NOW).trust
    foreign = with_anchor(trust, replace(our_anchor(other), known_as="theirs", roles=("peer",)))
    network.founder.write({"trust.json": seal_trust(foreign, network.operator)})
    key = keys.make_p256()
    theirs = issue(signer, other, Subject("peer", "node-9"), key.public_key(), NOW)
    credentials = Credentials(theirs.pem, keys.write_private(key), network.founder.credentials(NOW).trust, {})
    with running(network.founder) as url:
        status, said = asked(url, credentials, make_request(key, "node-9@theirs"))
        assert (status, b"another organisation" in said) == (403, True)
        assert asked(url, credentials, make_request(key, "node-9"))[0] == 403
        for role in ("device", "admin"):
            assert asked(url, shown(network, role, "x"), make_request(keys.make_p256(), "x"))[0] == 403


def test_a_name_is_renewed_a_few_times_and_then_seldom(network: Network) -> None:
    wanted, credentials = renewal.request(network.joined), network.joined.credentials(NOW)
    with running(network.founder) as url:
        told = [asked(url, credentials, wanted)[0] for _ in range(RENEWALS + 1)]
    assert told == [200] * RENEWALS + [429]


def test_a_newer_trust_file_goes_from_node_to_node(network: Network) -> None:
    authority.renew_trust(network.founder, network.operator, 400, NOW)
    with running(network.founder) as url:
        turn(network, [url])
        assert network.joined.believed(NOW).trust == network.founder.believed(NOW).trust
        assert network.joined.believed(NOW).trust.version == 2
        seen = (network.joined.folder / "trust.json").stat().st_ino
        turn(network, [url])
    assert (network.joined.folder / "trust.json").stat().st_ino == seen
    with running(network.joined) as url:  # and on from there
        connection = HTTPSConnection(
            "127.0.0.1", int(url.rpartition(":")[2]), context=client_context(shown(network, "peer", "node-3"))
        )
        for known, status in (('"1"', 200), ('"2"', 304)):
            connection.request("GET", "/v1/trust", headers={"If-None-Match": known})
            answer = connection.getresponse()
            assert (answer.status, answer.headers["ETag"]) == (status, '"2"')
            assert answer.read() == (network.founder.read("trust.json", bytes) if status == 200 else b"")
        connection.close()


def test_a_node_whose_trust_file_has_expired_still_takes_the_next(network: Network) -> None:
    assert renewal.take_trust(network.joined, network.next_trust(expires_ms=NOW + DAY), NOW)
    network.founder.write({"trust.json": network.next_trust(expires_ms=NOW + 400 * DAY)})
    credentials, later = network.joined.credentials(NOW), NOW + 2 * DAY
    with running(network.founder) as url:
        renewing = Renewing(network.joined, lambda: credentials, lambda: [url], wall_ms=lambda: later)
        renewing.turn([url], credentials)
    assert network.joined.believed(later).trust.version == 3


def test_who_is_a_node_elsewhere_and_none_here_is_not_believed(network: Network) -> None:
    """A root of another organisation may certify whom the operator says, and nodes only if that is said."""
    signer, key = keys.make_p256(), keys.make_p256()
    other = make_root(signer, NOW)
    anchor = replace(our_anchor(other), known_as="theirs", roles=("device",))
    assert renewal.take_trust(network.joined, network.next_trust(anchors=(*network.trust.anchors, anchor)), NOW)
    made = issue(signer, other, Subject("peer", "node-9"), key.public_key(), NOW)
    liar = Liar(network.next_trust())
    with liar.serving(Credentials(made.pem, keys.write_private(key), network.joined.credentials(NOW).trust, {})) as url:
        turn(network, [url])
    assert liar.asked == 0


@pytest.mark.parametrize("kind", ["forged", "rolled back", "expired", "nonsense"])
def test_a_trust_file_that_is_not_to_be_believed_is_not_taken_from_anybody(network: Network, kind: str) -> None:
    first = network.joined.read("trust.json", bytes)
    assert renewal.take_trust(network.joined, network.next_trust(), NOW)
    trust = {
        "forged": network.next_trust(keys.make_ed25519()),
        "rolled back": first,
        "expired": network.next_trust(expires_ms=NOW),
        "nonsense": b"nonsense",
    }[kind]
    before = network.joined.read("trust.json", bytes)
    liar = Liar(trust)
    with liar.running(network) as url:
        turn(network, [url])
    assert liar.asked == 2  # and for a certificate
    assert network.joined.read("trust.json", bytes) == before


def test_what_is_no_node_is_told_nothing_and_not_believed(network: Network) -> None:
    liar = Liar(network.next_trust())
    before = network.joined.read("trust.json", bytes)
    with liar.running(network, role="admin") as url:
        turn(network, [url])
    with Liar(network.next_trust()).running(stranger(network)) as url:
        turn(network, [url])
    assert liar.asked == 0
    assert network.joined.read("trust.json", bytes) == before


def stranger(network: Network) -> Network:
    (network.joined.directory.parent / "stranger").mkdir()
    return Network(network.joined.directory.parent / "stranger", NOW)


def test_a_few_are_asked_for_a_trust_file_and_all_for_a_certificate(network: Network) -> None:
    liars = [Liar() for _ in range(ASKED_MAX + 2)]
    with ExitStack() as stack:
        urls = [stack.enter_context(liar.running(network)) for liar in liars]
        turn(network, urls)
    assert [liar.asked for liar in liars] == [2, 2, 2, 1, 1]


def test_it_asks_by_itself_while_it_runs_and_no_more_afterwards(network: Network) -> None:
    async def story(url: str) -> None:
        renewing = Renewing(
            network.joined, lambda: network.joined.credentials(NOW), lambda: [url], rng=Random(1), wall_ms=lambda: NOW
        )
        task = asyncio.create_task(renewing.follow())
        while own(network.joined).not_after_ms < NOW + 300 * DAY:
            await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with running(network.founder) as url:
        asyncio.run(story(url))
