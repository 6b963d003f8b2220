"""Records after the handshake, against OpenSSL's at the other end."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secured import LAMP, Authority, Client, Server, authority, holding

from waypost.runtime.records import SUITES, WINDOW

SPOKEN = [b"first", b"", b"x", bytes(range(256)) * 4, b"last"]


@pytest.fixture(scope="module")
def ours() -> Authority:
    return authority()


Open = Callable[..., tuple[Server, Client]]


@pytest.fixture(scope="module")
def opened(ours: Authority) -> Open:
    def make(suite: str = "PSK-AES128-CCM8") -> tuple[Server, Client]:
        """A server whose records have taken over: it has heard one message."""
        server = Server(ours.certify("peer", "node", lamp=LAMP))
        has = holding(lamp=LAMP) if "PSK" in suite else ours.certify("device", "lamp")
        client = Client(server, has, suites=suite.encode()).handshake()
        assert client.association.channel.connection.get_cipher_name() == suite
        client.say(b"zero")
        assert not hasattr(server.opened[0].association.channel, "connection")
        return server, client

    return make


def datagrams(client: Client, *messages: bytes) -> list[bytes]:
    for message in messages:
        client.association.send(message)
    return client.association.take_output()


@pytest.mark.parametrize("suite", SUITES)
def test_both_ends_understand_each_other_with_each_suite(opened: Open, suite: str) -> None:
    """RFC 5288, RFC 6655, RFC 7905: also after an answer that OpenSSL still gave, and for a thousand octets."""
    server, client = opened(suite)
    for message in filter(None, SPOKEN):
        client.say(message)
        server.associations.send(server.opened[0], message, 0.0)
        client.hear(server.take())
    assert server.received == [b"zero", *filter(None, SPOKEN)]
    assert client.heard == [*filter(None, SPOKEN)]


def test_a_record_is_heard_once_and_in_whatever_order_it_comes(opened: Open) -> None:
    """RFC 6347, 4.1.2.6."""
    server, client = opened()
    sent = datagrams(client, *(b"%d" % number for number in range(6)))
    for number in (1, 0, 1, 3, 2, 0, 5, 4, 5, 3):
        server.receive(sent[number], client.path, 0.0)
    assert server.received == [b"zero", b"1", b"0", b"3", b"2", b"5", b"4"]


def test_a_record_that_is_too_old_is_not_heard(opened: Open) -> None:
    server, client = opened()
    sent = datagrams(client, *(b"%d" % number for number in range(WINDOW + 1)))
    server.receive(sent[WINDOW], client.path, 0.0)
    server.receive(sent[0], client.path, 0.0)
    server.receive(sent[1], client.path, 0.0)
    assert server.received == [b"zero", b"%d" % WINDOW, b"1"]


def test_what_came_before_records_took_over_is_not_heard_again(opened: Open, ours: Authority) -> None:
    server = Server(ours.certify("peer", "node", lamp=LAMP))
    client = Client(server, holding(lamp=LAMP)).handshake()
    (first,) = datagrams(client, b"first")
    server.receive(first, client.path, 0.0)
    server.receive(first, client.path, 0.0)
    assert server.received == [b"first"]


def test_numbers_go_on_where_openssl_stopped(ours: Authority) -> None:
    """A nonce that was used twice would give the key away; the other end would take the record for a repeated one."""
    server = Server(ours.certify("peer", "node", lamp=LAMP))
    client = Client(server, holding(lamp=LAMP)).handshake()
    for message in (b"before", b"and again"):
        server.associations.send(server.opened[0], message, 0.0)
    client.say(b"zero")
    server.associations.send(server.opened[0], b"after", 0.0)
    client.hear(server.take())
    assert client.heard == [b"before", b"and again", b"after"]


def test_a_forged_number_keeps_nobody_out(ours: Authority) -> None:
    """Before records take over and after: only what verifies moves the window."""
    server = Server(ours.certify("peer", "node", lamp=LAMP))
    client = Client(server, holding(lamp=LAMP)).handshake()
    for message in (b"first", b"second"):
        (datagram,) = datagrams(client, message)
        forged = datagram[:5] + b"\x00\x00\xff\xff\xff\xff" + datagram[11:]
        server.receive(forged, client.path, 0.0)
        server.receive(datagram, client.path, 0.0)
    assert server.received == [b"first", b"second"]


def test_the_end_is_understood_either_way(opened: Open) -> None:
    server, client = opened()
    client.association.close()
    client.exchange()
    assert (len(server.ended), server.associations.ended) == (1, {"closed": 1})
    server, client = opened()
    server.associations.close()
    client.hear(server.take())
    assert client.ended == "closed"


@given(st.data())
def test_damage_is_dropped_in_silence(opened: Open, data: st.DataObject) -> None:
    server, client = opened()
    (datagram,) = datagrams(client, b"message")
    at = data.draw(st.integers(0, len(datagram) - 1))
    damaged = datagram[:at] + bytes([datagram[at] ^ data.draw(st.integers(1, 255))]) + datagram[at + 1 :]
    for each in (damaged, datagram[: data.draw(st.integers(0, len(datagram) - 1))]):
        assert server.receive(each, client.path, 0.0) == []
    assert server.received == [b"zero"]
    server.receive(datagram, client.path, 0.0)
    assert server.received == [b"zero", b"message"]


def test_a_repeated_end_of_the_handshake_is_no_message(ours: Authority) -> None:
    """A client whose last flight is on its way twice."""
    server = Server(ours.certify("peer", "node", lamp=LAMP))
    client = Client(server, holding(lamp=LAMP))
    client.association.start(0.0)
    flights: list[bytes] = []
    while sent := client.association.take_output():
        flights = sent
        for datagram in sent:
            client.hear(server.receive(datagram, client.path, 0.0))
    client.say(b"zero")
    for datagram in flights:
        server.receive(datagram, client.path, 0.0)
    client.say(b"one")
    assert server.received == [b"zero", b"one"]
