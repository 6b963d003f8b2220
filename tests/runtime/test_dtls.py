"""DTLS associations, datagram by datagram.  Deadlines are numbers we choose; OpenSSL keeps a clock of its own."""

import tracemalloc
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secured import LAMP, OTHER_LAMP, Authority, Client, Server, authority, holding

from waypost.engine import Endpoint
from waypost.identity import Identity, keys
from waypost.identity.anchors import Revoked
from waypost.identity.certificates import read_certificate
from waypost.runtime.associations import HANDSHAKE_S, SILENT_S, Limits
from waypost.runtime.hello import COOKIE_LIFETIME, ClientHello, Cookies
from waypost.runtime.secure import MTU, WITH_CERTIFICATE, WITH_KEY
from waypost.sim import udp_path

WHO = Identity("psk", "lamp", ("device",))


@pytest.fixture
def server() -> Server:
    return Server(holding(lamp=LAMP))


@pytest.fixture(scope="module")
def ours() -> Authority:
    return authority()


def first_hello(server: Server) -> bytes:
    client = Client(server, holding(lamp=LAMP))
    client.association.start(0.0)
    (hello,) = client.association.take_output()
    return hello


def test_a_pre_shared_key_says_who_it_is(server: Server) -> None:
    """RFC 4279; the session is opened once, and what is said comes out as it went in."""
    client = Client(server, holding(lamp=LAMP)).handshake()
    assert [session.who for session in server.opened] == [WHO]
    client.say(b"hello")
    assert server.received == [b"hello"]
    server.associations.send(server.opened[0], b"answer", 1.0)
    client.hear(server.take())
    assert client.heard == [b"answer"]


def test_a_certificate_says_who_it_is(ours: Authority) -> None:
    server = Server(ours.certify("peer", "node", lamp=LAMP))
    client = Client(server, ours.certify("device", "lamp-3")).handshake()
    assert [session.who for session in server.opened] == [Identity("certificate", "lamp-3", ("device",))]
    assert client.who == Identity("certificate", "node", ("peer",))
    assert max(client.sizes) <= MTU


def test_keys_and_certificates_are_taken_at_one_address(ours: Authority) -> None:
    server = Server(ours.certify("peer", "node", lamp=LAMP))
    Client(server, holding(lamp=LAMP), 1).handshake()
    Client(server, ours.certify("device", "lamp-3"), 2).handshake()
    assert [session.who.kind for session in server.opened if session.who] == ["psk", "certificate"]


def test_the_suites_of_small_devices_are_taken(ours: Authority) -> None:
    """RFC 7252, 9.1.3.1 and 9.1.3.3: those that are mandatory."""
    server = Server(ours.certify("peer", "node", lamp=LAMP))
    for suite, has in (
        (b"PSK-AES128-CCM8", holding(lamp=LAMP)),
        (b"ECDHE-ECDSA-AES128-CCM8", ours.certify("device", "lamp")),
    ):
        client = Client(server, has, suites=suite).handshake()
        assert client.association.channel.connection.get_cipher_name() == suite.decode()
    assert len(server.opened) == 2


def test_who_has_a_key_uses_it_and_needs_no_certificate(ours: Authority) -> None:
    """Many offer every suite that they know."""
    server = Server(ours.certify("peer", "node", lamp=LAMP))
    Client(server, holding(lamp=LAMP), suites=WITH_CERTIFICATE + b":" + WITH_KEY).handshake()
    assert [session.who for session in server.opened] == [WHO]


def test_forward_secrecy_comes_first(server: Server) -> None:
    client = Client(server, holding(lamp=LAMP)).handshake()
    assert client.association.channel.connection.get_cipher_name() == "ECDHE-PSK-CHACHA20-POLY1305"


@pytest.mark.parametrize("suite", [b"PSK-AES128-CBC-SHA256", b"AES128-SHA", b"ECDHE-ECDSA-AES128-SHA256"])
def test_what_is_old_is_refused(ours: Authority, suite: bytes) -> None:
    server = Server(ours.certify("peer", "node", lamp=LAMP))
    client = Client(server, holding(lamp=LAMP), suites=suite).handshake()
    assert (client.who, server.opened, server.associations.failed) == (None, [], {"protocol": 1})


def test_a_certificate_of_ed25519_is_taken(ours: Authority) -> None:
    server = Server(ours.certify("peer", "node"))
    Client(server, ours.certify("device", "lamp-3", key=keys.make_ed25519())).handshake()
    assert [session.who for session in server.opened] == [Identity("certificate", "lamp-3", ("device",))]


def test_a_foreign_root_and_an_expired_certificate_are_refused_at_once(ours: Authority) -> None:
    server = Server(ours.certify("peer", "node"))
    foreign = replace(authority().certify("device", "lamp-3"), trust=ours.trust)
    stranger = Client(server, foreign).handshake()
    expired = Client(server, ours.certify("device", "lamp-3", days_ago=60), 4002).handshake()
    assert server.opened == []
    assert (stranger.ended, expired.ended) == ("certificate", "certificate")
    assert server.associations.failed == {"certificate": 2}
    assert server.associations.handshakes == 0


def test_who_shows_neither_key_nor_certificate_is_refused(ours: Authority) -> None:
    server = Server(ours.certify("peer", "node", lamp=LAMP))
    nobody = Client(server, holding()).handshake()
    assert server.opened == []
    assert nobody.ended is not None
    assert sum(server.associations.failed.values()) == 1


def test_a_wrong_key_is_met_with_silence_until_our_deadline(server: Server) -> None:
    """RFC 6347, 4.1.2.7: what does not verify is dropped."""
    client = Client(server, holding(lamp=OTHER_LAMP)).handshake(now=100.0)
    assert (server.opened, client.who, client.ended) == ([], None, None)
    assert server.associations.handshakes == 1
    server.associations.handle_timer(100.0 + HANDSHAKE_S - 0.001)
    assert server.associations.handshakes == 1
    server.associations.handle_timer(100.0 + HANDSHAKE_S)
    server.take()
    assert server.associations.handshakes == 0
    assert server.associations.failed == {"deadline": 1}
    assert server.failures == ["deadline"]


def test_an_unknown_name_is_told(server: Server) -> None:
    client = Client(server, holding(lamb=LAMP)).handshake()
    assert (client.ended, server.associations.failed) == ("key", {"key": 1})
    assert len(server.failures) == 1
    assert LAMP not in server.failures[0].encode()


def test_renewed_credentials_are_used_from_the_next_handshake_on(server: Server) -> None:
    server.credentials = holding(lamp=OTHER_LAMP)
    Client(server, holding(lamp=OTHER_LAMP)).handshake()
    assert len(server.opened) == 1
    home = authority()
    server.credentials = home.certify("peer", "node")
    Client(server, home.certify("device", "lamp"), 4002).handshake()
    assert len(server.opened) == 2


# Before there is anything to keep


@pytest.mark.parametrize("sources", [20_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_nothing_is_kept_for_forged_sources(server: Server, sources: int) -> None:
    """Each hello is answered with a cookie, smaller than it, and forgotten: a million take nothing."""
    hello, path = first_hello(server), udp_path("192.0.2.1", 1)
    ((_, answer),) = server.receive(hello, path, 0.0)
    assert len(answer) < len(hello)
    tracemalloc.start()
    try:
        server.receive(hello, path, 0.0)
        before = tracemalloc.get_traced_memory()[0]
        for number in range(sources):
            peer = Endpoint(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1)
            server.associations.receive_datagram(hello, replace(path, peer=peer), 0.0)
            server.associations.take_effects()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 20_000
    assert server.associations.handshakes == len(server.associations) == 0


def test_a_cookie_is_for_one_address_one_client_and_a_short_time(server: Server) -> None:
    cookies, peer = Cookies(Random(1)), Endpoint("192.0.2.1", 1)
    hello = ClientHello(bytes(6), bytes(32), b"", b"")

    def brought(cookie: bytes, random: bytes = bytes(32)) -> ClientHello:
        return ClientHello(bytes(6), random, b"", cookie)

    cookie = cookies.make(peer, hello, 0.0)
    assert cookies.accepts(peer, brought(cookie), 2 * COOKIE_LIFETIME - 0.1)
    assert not cookies.accepts(peer, brought(cookie), 2 * COOKIE_LIFETIME)
    assert not cookies.accepts(Endpoint("192.0.2.1", 2), brought(cookie), 0.0)
    assert not cookies.accepts(Endpoint("192.0.2.2", 1), brought(cookie), 0.0)
    assert not cookies.accepts(peer, brought(cookie, bytes([1]) * 32), 0.0)
    assert not cookies.accepts(peer, hello, 0.0)
    assert not Cookies(Random(2)).accepts(peer, brought(cookie), 0.0)


def test_a_hello_with_the_cookie_of_another_address_gets_a_cookie_and_no_more(server: Server) -> None:
    client = Client(server, holding(lamp=LAMP))
    client.association.start(0.0)
    (first,) = client.association.take_output()
    client.hear(server.receive(first, client.path, 0.0))
    (second,) = client.association.take_output()
    ((_, answer),) = server.receive(second, udp_path("192.0.2.66", 4001), 0.0)
    assert len(answer) < len(second)
    assert server.associations.handshakes == 0
    server.receive(second, client.path, 0.0)
    assert server.associations.handshakes == 1


def test_plain_coap_and_other_strangers_get_no_answer(server: Server) -> None:
    for data in (b"", b"\x40\x01\x00\x01", b"\x16", bytes([23]) + bytes(40), bytes([22]) + bytes(12)):
        assert server.receive(data, udp_path("192.0.2.1", 1), 0.0) == []
    assert sum(server.associations.dropped.values()) == 5


@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 255))
def test_no_bytes_raise_or_are_answered_with_more(data: bytes, position: int, octet: int) -> None:
    server = Server(holding(lamp=LAMP))
    hello = bytearray(first_hello(server))
    if position < len(hello):
        hello[position] = octet
    for datagram in (data, bytes(hello), bytes(hello[: len(data)]), bytes(hello) + data, bytes([22]) + data):
        for _, answer in server.receive(datagram, udp_path("192.0.2.1", 1), 0.0):
            assert len(answer) <= len(datagram)


@given(st.data())
def test_damaged_datagrams_of_a_handshake_raise_nothing(data: st.DataObject) -> None:
    server = Server(holding(lamp=LAMP))
    client = Client(server, holding(lamp=LAMP))
    client.association.start(0.0)
    for _ in range(6):
        for datagram in client.association.take_output():
            damaged = bytearray(datagram)
            for _ in range(data.draw(st.integers(0, 2))):
                damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
            client.hear(server.receive(bytes(damaged), client.path, 0.0))


# Limits, and what ends an association


def test_handshakes_under_way_are_limited_in_all_and_for_each_source() -> None:
    server = Server(holding(lamp=LAMP), Limits(handshakes=3, handshakes_per_source=2))
    wrong = holding(lamp=OTHER_LAMP)
    for port in range(3):
        Client(server, wrong, port, "192.0.2.1").handshake()
    assert (server.associations.handshakes, server.associations.failed) == (2, {"full": 1})
    for port in range(2):
        Client(server, wrong, port, f"192.0.2.{port + 2}").handshake()
    assert (server.associations.handshakes, server.associations.failed) == (3, {"full": 2})
    server.associations.handle_timer(HANDSHAKE_S)
    Client(server, holding(lamp=LAMP), 9, "192.0.2.1").handshake()
    assert len(server.opened) == 1


def test_the_one_silent_longest_makes_room_and_is_told() -> None:
    server = Server(holding(lamp=LAMP), Limits(associations=3, associations_per_source=2))
    first, second, third = (
        Client(server, holding(lamp=LAMP), port, host).handshake()
        for port, host in ((1, "192.0.2.1"), (2, "192.0.2.1"), (3, "192.0.2.2"))
    )
    first.say(b"still here")
    newcomer = Client(server, holding(lamp=LAMP), 4, "192.0.2.1")  # its source has two: the silent one of these goes
    newcomer.association.start(0.0)
    while datagrams := newcomer.association.take_output():
        for datagram in datagrams:
            sent = server.receive(datagram, newcomer.path, 0.0)
            for client in (first, second, third, newcomer):
                client.hear(sent)
    assert [session.key[0].port for session in server.ended] == [2]
    assert (second.ended, first.ended, third.ended) == ("closed", None, None)
    Client(server, holding(lamp=LAMP), 5, "192.0.2.3").handshake()  # all are taken: the one of all goes
    assert [session.key[0].port for session in server.ended] == [2, 3]
    assert server.associations.ended == {"room": 2}


def test_an_association_ends_when_its_certificate_or_its_key_is_revoked(ours: Authority) -> None:
    """Notes on reliability, D1; others, and those who showed a shared key, stay."""
    server = Server(ours.certify("peer", "node", lamp=LAMP))
    shown = [ours.certify("device", name) for name in ("lamp-1", "lamp-2", "lamp-3")]
    for port, credentials in enumerate(shown, 1):
        Client(server, credentials, port).handshake()
    Client(server, holding(lamp=LAMP), 4).handshake()
    first, second, _ = (read_certificate(credentials.chain) for credentials in shown)
    server.associations.revoke(Revoked(certificates=frozenset({first.serial})))
    server.take()
    assert [session.key[0].port for session in server.ended] == [1]
    server.associations.revoke(Revoked(keys=frozenset({keys.fingerprint(second.public)})))
    server.take()
    assert [session.key[0].port for session in server.ended] == [1, 2]
    assert server.associations.ended == {"revoked": 2}
    assert len(server.associations) == 2


def test_a_stranger_makes_no_room(ours: Authority) -> None:
    server = Server(holding(lamp=LAMP), Limits(associations=1))
    Client(server, holding(lamp=LAMP), 1).handshake()
    Client(server, holding(lamp=OTHER_LAMP), 2).handshake()
    assert server.ended == []


def test_an_idle_association_is_ended_with_a_word() -> None:
    server = Server(holding(lamp=LAMP), Limits(idle_s=60.0))
    client = Client(server, holding(lamp=LAMP)).handshake(now=0.0)
    client.say(b"here", now=30.0)
    server.associations.handle_timer(89.9)
    assert server.take() == []
    server.associations.handle_timer(90.0)
    client.hear(server.take())
    assert (client.ended, len(server.ended), server.associations.ended) == ("closed", 1, {"idle": 1})


def test_who_says_nothing_after_the_handshake_is_ended_soon(server: Server) -> None:
    Client(server, holding(lamp=LAMP), 1).handshake(now=0.0)
    Client(server, holding(lamp=LAMP), 2).handshake(now=0.0).say(b"here", now=1.0)
    server.associations.handle_timer(SILENT_S)
    server.take()
    assert [session.key[0].port for session in server.ended] == [1]


def test_a_client_that_leaves_is_forgotten(server: Server) -> None:
    client = Client(server, holding(lamp=LAMP)).handshake()
    client.association.close()
    client.exchange()
    assert (len(server.ended), len(server.associations)) == (1, 0)


def test_closing_tells_everybody(server: Server) -> None:
    client = Client(server, holding(lamp=LAMP)).handshake()
    server.associations.close()
    client.hear(server.take())
    assert (client.ended, len(server.ended)) == ("closed", 1)
    assert server.associations.next_timer() is None


# A new handshake from the same address: RFC 6347, 4.2.8


def test_a_client_that_restarted_comes_back_and_the_old_association_ends_then(server: Server) -> None:
    Client(server, holding(lamp=LAMP)).handshake()
    again = Client(server, holding(lamp=LAMP)).handshake()
    assert [len(server.opened), server.ended] == [2, [server.opened[0]]]
    again.say(b"back")
    assert server.received == [b"back"]
    assert server.associations.ended == {"replaced": 1}


def test_who_comes_back_as_another_is_another(server: Server) -> None:
    server.credentials = holding(lamp=LAMP, door=OTHER_LAMP)
    Client(server, holding(lamp=LAMP)).handshake()
    Client(server, holding(door=OTHER_LAMP)).handshake()
    assert [session.who.name for session in server.opened if session.who] == ["lamp", "door"]
    assert server.ended == [server.opened[0]]


def test_a_handshake_that_fails_leaves_the_association_alone(server: Server) -> None:
    client = Client(server, holding(lamp=LAMP)).handshake()
    Client(server, holding(lamp=OTHER_LAMP)).handshake()
    client.say(b"in between")
    server.associations.handle_timer(HANDSHAKE_S)
    client.say(b"after")
    assert server.received == [b"in between", b"after"]
    assert server.ended == []


def test_a_handshake_that_is_begun_anew_takes_the_place_of_the_first(server: Server) -> None:
    Client(server, holding(lamp=OTHER_LAMP)).handshake()
    Client(server, holding(lamp=LAMP)).handshake()
    assert len(server.opened) == 1
    assert server.associations.handshakes == 0


def test_a_repeated_hello_of_an_association_begins_nothing(server: Server) -> None:
    client = Client(server, holding(lamp=LAMP))
    client.association.start(0.0)
    (first,) = client.association.take_output()
    client.hear(server.receive(first, client.path, 0.0))
    (second,) = client.association.take_output()
    client.hear(server.receive(second, client.path, 0.0))
    client.exchange()
    assert len(server.opened) == 1
    assert server.receive(second, client.path, 1.0) == []
    assert server.associations.handshakes == 0


def test_a_record_that_is_repeated_is_heard_once(server: Server) -> None:
    """RFC 6347, 4.1.2.6."""
    client = Client(server, holding(lamp=LAMP)).handshake()
    client.association.send(b"once")
    (datagram,) = client.association.take_output()
    server.receive(datagram, client.path, 0.0)
    server.receive(datagram, client.path, 0.0)
    assert server.received == [b"once"]
