"""OSCORE around an engine: what it lets in, what it lets out, and what it never does (RFC 8613)."""

import logging
from collections import defaultdict
from pathlib import Path as FilePath
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oscore_device import HOME, LAMP, SECRET, Device, Disk, Node, Script, udp

from waypost.coap.message import Message, decode
from waypost.coap.numbers import AMPLIFICATION_MAX, Code, Option, Type
from waypost.coap.oscore import request_head
from waypost.engine import Commit, Path, Send
from waypost.errors import ConfigError, StoreError
from waypost.identity import Identity
from waypost.identity.admission import Gate
from waypost.identity.oscore import SEQUENCE_FLOOR, SecurityContext
from waypost.runtime.context import BLOCK, SEQUENCE_MAX, Context
from waypost.runtime.oscore import HELD_MAX, Oscore, Refusal
from waypost.runtime.protecting import REASONS, counters, protect

VECTORS = FilePath(__file__).parents[1] / "vectors" / "oscore" / "rfc8613.txt"


def vectors() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for line in VECTORS.read_text().splitlines():
        if not line.startswith("#"):
            section, what, value = line.split()
            found[section][what] = "" if value == "-" else value
    return found


NO_CONTEXT = b"Security context not found"
VECTOR = vectors()


def settings(section: str) -> SecurityContext:
    vector = {what: bytes.fromhex(value) for what, value in VECTOR[section].items()}
    return SecurityContext(
        Identity("oscore", section),
        vector["master_secret"],
        vector["sender_id"],
        vector["recipient_id"],
        vector["master_salt"],
        vector.get("id_context"),
    )


def get(id: int = 1, *, type: Type = Type.CON, token: bytes = b"t", observe: int | None = None) -> Message:
    options: list[tuple[int, bytes]] = []
    if observe is not None:
        options.append((Option.OBSERVE, bytes([observe] * bool(observe))))
    options.append((Option.URI_PATH, b"rd"))
    return Message(type, Code.GET, id, token, options)


def content(id: int, payload: bytes = b"hello", *, type: Type = Type.ACK, observe: bytes | None = None) -> bytes:
    options: list[tuple[int, bytes]] = [] if observe is None else [(Option.OBSERVE, observe)]
    return Message(type, Code.CONTENT, id, b"t", options, payload).encode()


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def node(script: Script) -> Node:
    return Node(script)


@pytest.fixture
def device() -> Device:
    return Device()


def respond(script: Script, node: Node, data: bytes, number: int = -1) -> list[bytes]:
    """The engine answers the request that came `number`th, on its path."""
    script.effects.append(Send(script.received[number][1], data))
    return node.flush()


# vectors


@pytest.mark.parametrize("section", ["C.1.2", "C.2.2", "C.3.2"])
def test_nonces_of_the_specification(section: str) -> None:
    context = Context(settings(section), 1)
    assert context.nonce(b"\0", context.sender_id).hex() == VECTOR[section]["sender_nonce"]
    assert context.nonce(b"\0", context.recipient_id).hex() == VECTOR[section]["recipient_nonce"]


@pytest.mark.parametrize("section", ["C.4", "C.5", "C.6"])
def test_requests_of_the_specification(section: str, script: Script) -> None:
    vector = VECTOR[section]
    node = Node(script, settings(vector["context"]))
    assert (
        Context(settings(vector["context"]), 1).aad(settings(vector["context"]).recipient_id, b"\x14").hex()
        == (vector["aad"])
    )
    assert node.receive(bytes.fromhex(vector["protected"])) == []
    ((message, path),) = script.received
    assert message.encode().hex() == vector["plain"]
    assert path.who == Identity("oscore", vector["context"])


def test_answers_of_the_specification(script: Script) -> None:
    """C.7 and, with a Partial IV of its own, C.8."""
    node = Node(script, settings("C.1.2"))
    node.receive(bytes.fromhex(VECTOR["C.4"]["protected"]))
    for section in ("C.7", "C.8"):
        (data,) = respond(script, node, bytes.fromhex(VECTOR[section]["plain"]))
        assert data.hex() == VECTOR[section]["protected"]


# requests and answers


def test_a_request_comes_in_plain_with_who_sent_it_and_its_answer_leaves_protected(
    script: Script, node: Node, device: Device
) -> None:
    data = device.protect(get())
    assert node.receive(data) == []
    ((message, path),) = script.received
    assert message == get()
    assert path.who == LAMP.who
    assert (path.transport, path.peer.host, path.peer.port, path.link) == ("udp", "192.0.2.7", 4000, HOME.link)
    assert not path.validated
    (answer,) = respond(script, node, content(1))
    assert b"hello" not in answer
    outer = decode(answer)
    assert (outer.type, outer.code, outer.id, outer.token) == (Type.ACK, Code.CHANGED, 1, b"t")
    assert outer.options == [(Option.OSCORE, b"")]  # the nonce of the request
    inner = device.unprotect(answer)
    assert (inner.code, inner.payload) == (Code.CONTENT, b"hello")
    assert node.oscore.unprotected == 1


def test_plain_messages_pass_as_they_are(script: Script, node: Node) -> None:
    for data in (get().encode(), b"\x60\0\0\1", b"", b"\x40", b"\xff" * 5):
        node.receive(data)
    assert script.raw == [get().encode(), b"\x60\0\0\1", b"", b"\x40", b"\xff" * 5]
    assert all(path is HOME for _, path in script.received if _.code)
    script.effects.append(Send(HOME, content(1)))
    assert node.flush() == [content(1)]
    assert node.disk.rows == {}  # nothing is reserved for who never comes


def test_protected_and_plain_of_one_address_are_told_apart(script: Script, device: Device) -> None:
    other = SecurityContext(Identity("oscore", "lamp-5"), SECRET[::-1], b"\x01", b"\x03")
    node = Node(script, LAMP, other)
    node.receive(get().encode())
    node.receive(device.protect(get(2)))
    node.receive(Device(other).protect(get(3)))
    tcp = Path("tcp", HOME.peer._replace(session=2), HOME.local, 2, HOME.who, validated=True, message_max=1152)
    node.receive(device.protect(get(4)), tcp)
    peers = [path.peer for _, path in script.received]
    assert len(set(peers)) == 4
    assert len({(peer.host, peer.port) for peer in peers}) == 1


def test_an_answer_on_a_connection_leaves_room_for_its_protection(script: Script, node: Node, device: Device) -> None:
    tcp = Path("tcp", HOME.peer._replace(session=2), HOME.local, 2, HOME.who, validated=True, message_max=1152)
    node.receive(device.protect(get(type=Type.NON)), tcp)
    limit = script.received[0][1].message_max
    assert limit is not None
    longest = content(1, bytes(limit - 10), type=Type.NON, observe=b"\xff\xff\xff")
    assert len(longest) == limit
    (answer,) = respond(script, node, longest)
    assert len(answer) <= 1152 - 5  # and as many for the longest Partial IV


def test_an_outer_code_and_outer_options_are_not_believed(script: Script, node: Node, device: Device) -> None:
    """8.2, 1: who stands between may write there what they like."""
    outer = decode(device.protect(get()))
    outer.options += [(Option.URI_PATH, b"forged"), (Option.NO_RESPONSE, b"\x1a")]
    outer.options.insert(0, (Option.URI_HOST, b"node.example"))
    node.receive(outer.encode())
    ((message, _),) = script.received
    assert message.options == [(Option.URI_HOST, b"node.example"), (Option.URI_PATH, b"rd")]


def test_an_acknowledgement_of_its_own_leaves_as_it_is(script: Script, node: Node, device: Device) -> None:
    """RFC 7252, 5.2.2: then the answer comes apart, and its acknowledgement finds the protected exchange."""
    node.receive(device.protect(get()))
    assert respond(script, node, b"\x60\0\0\1") == [b"\x60\0\0\1"]
    (answer,) = respond(script, node, content(77, type=Type.CON))
    assert device.unprotect(answer).payload == b"hello"
    node.receive(bytes((0x60, 0, 0, 77)))
    assert script.received[1][1] is script.received[0][1]
    node.receive(bytes((0x60, 0, 0, 78)))  # names nothing of ours
    assert script.received[2][1] is HOME
    node.receive(bytes((0x60, 0, 0, 77)), udp("192.0.2.8"))  # from elsewhere
    assert script.received[3][1].peer.session == 0


def test_a_message_id_that_is_used_anew_in_plain_names_the_plain_message(
    script: Script, node: Node, device: Device
) -> None:
    node.receive(device.protect(get()))
    respond(script, node, content(77, type=Type.CON))
    script.effects += [Send(HOME, b"\x60\0\0\x4d"), Send(HOME, content(78, type=Type.CON))]
    node.flush()
    node.receive(bytes((0x60, 0, 0, 77)))
    assert script.received[-1][1] is script.received[0][1]  # an acknowledgement of ours has the peer's id
    script.effects.append(Send(HOME, content(77, type=Type.CON)))
    node.flush()
    node.receive(bytes((0x60, 0, 0, 77)))
    assert script.received[-1][1] is HOME


# observing


def test_each_notification_has_a_partial_iv_of_its_own(script: Script, node: Node, device: Device) -> None:
    """8.3.1; 4.1.3.5: outside FETCH and 2.05, inside an empty Observe."""
    data = device.protect(get(observe=0))
    assert decode(data).code == Code.FETCH
    node.receive(data)
    assert script.received[0][0] == get(observe=0)
    (first,) = respond(script, node, content(1, b"0", observe=b""))
    numbers = []
    for sequence in range(1, 4):
        told = content(50 + sequence, b"%d" % sequence, type=Type.NON, observe=b"%c" % sequence)
        (news,) = respond(script, node, told)
        outer = decode(news)
        assert outer.code == Code.CONTENT
        assert outer.options[0] == (Option.OBSERVE, b"%c" % sequence)
        numbers.append(outer.options[1])
        inner = device.unprotect(news)
        assert inner.payload == b"%d" % sequence
    assert decode(first).options == [(Option.OBSERVE, b""), (Option.OSCORE, b"")]
    assert numbers == [(Option.OSCORE, b"\x01" + bytes([number])) for number in range(3)]
    reset = bytes((0x70, 0, 0, 53))
    node.receive(reset)  # RFC 7641, 3.6: names the notification, and so the observation
    assert script.received[-1][1] is script.received[0][1]


def test_who_stands_between_does_not_register_or_cancel(script: Script, node: Node, device: Device) -> None:
    """4.1.3.5.1: the inner Observe counts."""
    outer = decode(device.protect(get(1)))
    outer.options.insert(0, (Option.OBSERVE, b""))
    node.receive(outer.encode())
    assert script.received[0][0] == get(1)
    outer = decode(device.protect(get(2, observe=0)))
    outer.options.pop(0)
    node.receive(outer.encode())
    assert script.received[1][0] == get(2, observe=0)
    node.receive(device.protect(get(3, observe=1)))
    assert script.received[2][0] == get(3, observe=1)


# nonces and replays


def test_a_nonce_is_used_once_whatever_is_sent(script: Script, node: Node, device: Device) -> None:
    node.receive(device.protect(get()))
    heads = [decode(data).options for _ in range(5) for data in respond(script, node, content(1))]
    assert len({str(head) for head in heads}) == 5


def test_a_request_that_comes_again_is_answered_with_the_same_octets(
    script: Script, node: Node, device: Device
) -> None:
    """RFC 7252, 4.5; and its nonce is used once."""
    data = device.protect(get())
    node.receive(data)
    assert node.receive(data) == []  # under way
    (answer,) = respond(script, node, content(1))
    respond(script, node, content(9, b"news", type=Type.NON))
    assert node.receive(data) == [answer]
    assert len(script.received) == 1


def test_captured_octets_from_elsewhere_are_a_replay(script: Script, node: Node, device: Device) -> None:
    """7.4: 4.01, not protected, not kept by proxies, and never more than three times what came."""
    data = device.protect(get())
    node.receive(data)
    respond(script, node, content(1))
    (answer,) = node.receive(data, udp("198.51.100.1"))
    refusal = decode(answer)
    assert (refusal.code, refusal.options, refusal.payload) == (
        Code.UNAUTHORIZED,
        [(Option.MAX_AGE, b"")],
        b"Replay detected",
    )
    assert node.receive(data, now=1000.0) != []  # from the same address, long after
    assert len(script.received) == 1
    assert node.oscore.refused == {"replay": 2}


def test_requests_may_overtake_each_other_within_the_window(script: Script, node: Node, device: Device) -> None:
    datagrams = [device.protect(get(number)) for number in range(40)]
    for number in (39, 8, 20, 7, 39):
        node.receive(datagrams[number], udp(port=5000 + len(script.received)))
    assert [message.id for message, _ in script.received] == [39, 8, 20]


@pytest.mark.parametrize(
    ("other", "code", "words"),
    [
        (SecurityContext(LAMP.who, SECRET, b"\x01", b"\x09"), Code.UNAUTHORIZED, NO_CONTEXT),
        (
            SecurityContext(LAMP.who, SECRET, b"\x01", b"\x02", b"", b"?"),
            Code.UNAUTHORIZED,
            b"Security context not found",
        ),
        (SecurityContext(LAMP.who, SECRET[::-1], b"\x01", b"\x02"), Code.BAD_REQUEST, b"Decryption failed"),
    ],
)
def test_who_has_another_context_is_refused_in_plain(
    script: Script, node: Node, other: SecurityContext, code: Code, words: bytes
) -> None:
    """8.2, 2 and 6."""
    data = Device(other).protect(get())
    (answer,) = node.receive(data)
    refusal = decode(answer)
    assert (refusal.type, refusal.code, refusal.id, refusal.token) == (Type.ACK, code, 1, b"t")
    assert (refusal.options, refusal.payload) == ([(Option.MAX_AGE, b"")], words)
    assert node.receive(Device(other).protect(get(2, type=Type.NON))) == []
    assert script.received == []
    assert node.oscore.refused == {"context" if code == Code.UNAUTHORIZED else "decryption": 2}
    assert node.disk.rows == {}


def test_who_asks_too_much_gets_no_refusal_either(script: Script, device: Device) -> None:
    disk = Disk()
    Node(script, disk=disk).receive(device.protect(get()))
    oscore = Oscore(script, (LAMP,), Random(1), lambda path, now: 0 if path.peer.host == HOME.peer.host else 5)
    oscore.restore(disk, 0.0)
    refused = Device(SecurityContext(LAMP.who, SECRET[::-1], b"\x01", b"\x02")).protect(get())
    for data in (refused, device.protect(get(2))):
        for path, count in ((udp("198.51.100.1"), 0), (HOME, 1)):
            oscore.receive_datagram(data, path, 1.0)
            disk.carry_out(oscore, 1.0)
            assert len(disk.sent) == count
            disk.sent.clear()
    assert oscore.refused == {"decryption": 2, "unproven": 2}


def test_a_malformed_option_is_a_bad_option(script: Script, node: Node) -> None:
    """8.2, 2."""
    (answer,) = node.receive(Message(Type.CON, Code.POST, 1, b"t", [(Option.OSCORE, b"\xff")], b"x" * 20).encode())
    refusal = decode(answer)
    assert (refusal.code, refusal.payload) == (Code.BAD_OPTION, b"Failed to decode COSE")


def test_no_refusal_is_longer_than_three_times_what_came(node: Node) -> None:
    for size in range(30):
        data = Message(Type.CON, Code.POST, 1, b"", [(Option.OSCORE, b"\x09\0")], bytes(size)).encode()
        for answer in node.receive(data, udp(port=2000 + size)):
            assert len(answer) <= AMPLIFICATION_MAX * len(data)


def test_what_is_authentic_but_no_request_is_refused(script: Script, node: Node) -> None:
    """Whoever has the key may send what it likes, too."""
    context = Context(SecurityContext(LAMP.who, SECRET, b"\x02", b"\x01", b"salt"), 1)
    for number, plaintext in enumerate((b"", b"\x45", b"\x00", b"\x01\xff", b"\x01\xe0", b"\x02\xf0", b"\xff\xff")):
        iv = bytes([number])
        ciphertext = context.encrypt(plaintext, context.aad(b"\x02", iv), context.nonce(iv, b"\x02"))
        message = Message(Type.CON, Code.POST, number, b"", [(Option.OSCORE, b"\x09" + iv + b"\x02")], ciphertext)
        (answer,) = node.receive(message.encode())
        assert decode(answer).code == Code.BAD_REQUEST
    assert script.received == []


def test_a_group_is_not_answered(script: Script, node: Node, device: Device) -> None:
    group = Path("udp", HOME.peer, HOME.local, 1, HOME.who, validated=False, group=True)
    assert node.receive(device.protect(get(type=Type.NON)), group) == []
    assert script.received == []


# the disk


def reserved(disk: Disk) -> list[int]:
    return [int.from_bytes(value, "big") for value in disk.rows.values()]


def test_nothing_leaves_before_its_sequence_numbers_are_durable(script: Script, node: Node, device: Device) -> None:
    """B.1.1; the first answer waits as well: from then on a restart is noticed."""
    node.disk.stuck = True
    node.receive(device.protect(get(observe=0)))
    assert respond(script, node, content(1, observe=b"")) == []
    assert respond(script, node, content(2, type=Type.NON, observe=b"\x01")) == []
    node.disk.commit(node.oscore, 1.0)
    answers = node.flush()
    assert [device.unprotect(answer).payload for answer in answers] == [b"hello", b"hello"]
    assert reserved(node.disk) == [BLOCK]


def test_a_reservation_is_written_before_what_its_request_brings_about(
    script: Script, node: Node, device: Device
) -> None:
    node.disk.stuck = True
    script.effects.append(Commit())
    node.receive(device.protect(get()))
    first, second = node.disk.commits
    assert first.puts
    assert second == Commit()


def test_what_follows_a_commit_is_protected_too(script: Script, node: Node, device: Device) -> None:
    node.receive(device.protect(get()))
    script.effects.append(Commit(then=(Send(script.received[0][1], content(1)), Send(HOME, content(2)))))
    protected, plain = node.flush()
    assert device.unprotect(protected).payload == b"hello"
    assert plain == content(2)


def test_an_acknowledgement_that_holds_a_request_is_none(script: Script, node: Node, device: Device) -> None:
    """RFC 7252, 4.2: the engine drops it."""
    data = device.protect(get(type=Type.ACK))
    assert node.receive(data) == []
    assert script.raw == [data]


def test_the_next_block_is_reserved_while_there_are_numbers_left(script: Script, node: Node, device: Device) -> None:
    node.receive(device.protect(get(observe=0)))
    seen = set()
    for number in range(3 * BLOCK):
        (news,) = respond(script, node, content(number & 0xFFFF, type=Type.NON, observe=b"\x01"))
        seen.add(decode(news).options[1])
    assert len(seen) == 3 * BLOCK
    assert reserved(node.disk) == [4 * BLOCK]


def test_what_waits_for_the_disk_has_a_limit(script: Script, node: Node, device: Device) -> None:
    node.disk.stuck = True
    node.receive(device.protect(get(observe=0)))
    node.receive(device.protect(get(2)), now=2.0)
    for number in range(HELD_MAX + 5):
        respond(script, node, content(number, type=Type.NON, observe=b"\x01"))
    assert node.oscore.unsent == 5
    assert len(node.disk.commits) == 1  # one reservation at a time
    node.disk.stuck = False
    node.disk.commit(node.oscore, 1.0)
    assert len(node.flush()) == HELD_MAX


def test_a_context_ends_with_its_sequence_numbers(script: Script, device: Device) -> None:
    """7.2.1: then nothing is sent with it any more."""
    disk = Disk()
    Node(script, disk=disk).receive(device.protect(get()))
    (row,) = disk.rows
    disk.rows[row] = (SEQUENCE_MAX - 1).to_bytes(8, "big")
    node = Node(script, disk=disk)
    answers = [answer for number in range(2, 6) for answer in node.receive(device.protect(get(number)))]
    assert [decode(answer).options for answer in answers] == [
        [(Option.OSCORE, b"\x05" + number.to_bytes(5, "big"))] for number in (SEQUENCE_MAX - 1, SEQUENCE_MAX)
    ]
    assert node.oscore.unsent == 2
    assert reserved(disk) == [SEQUENCE_MAX + 1]


def echo_of(answer: Message) -> bytes:
    ((number, value),) = answer.options
    assert number == Option.ECHO
    return value


def test_after_a_restart_a_request_must_prove_to_be_fresh(script: Script, device: Device) -> None:
    """B.1.2."""
    disk = Disk()
    node = Node(script, disk=disk)
    old = [device.protect(get(number)) for number in range(3)]
    node.receive(old[0])
    again = Node(script, disk=disk)
    (answer,) = again.receive(device.protect(get(7)))
    assert decode(answer).options == [(Option.OSCORE, b"\x02" + BLOCK.to_bytes(2, "big"))]  # none used before
    asked = device.unprotect(answer)
    assert (asked.code, asked.payload) == (Code.UNAUTHORIZED, b"")
    (elsewhere,) = again.receive(old[0], udp("198.51.100.1"))  # a replay costs a number, and does nothing
    assert decode(elsewhere).options != decode(answer).options
    assert len(script.received) == 1
    proof = get(8)
    proof.options.append((Option.ECHO, echo_of(asked)))
    fresh = device.protect(proof)
    assert again.receive(fresh) == []
    message, path = script.received[1]
    assert message == proof
    assert path.validated  # what was sent to its address came back
    (done,) = respond(script, again, content(8))
    assert device.unprotect(done).payload == b"hello"
    for datagram in (*old, fresh):
        (refused,) = again.receive(datagram, udp("198.51.100.1"))
        assert decode(refused).payload == b"Replay detected"
    again.receive(device.protect(get(9)))
    assert len(script.received) == 3
    assert not script.received[2][1].validated
    assert again.oscore.refused == {"unproven": 2, "replay": 4}


def test_an_echo_value_of_another_address_or_start_proves_nothing(script: Script, device: Device) -> None:
    disk = Disk()
    Node(script, disk=disk).receive(device.protect(get()))
    node = Node(script, disk=disk)
    (answer,) = node.receive(device.protect(get(2)))
    proof = get(3)
    proof.options.append((Option.ECHO, echo_of(device.unprotect(answer))))
    node.receive(device.protect(proof), udp("192.0.2.8"))
    assert len(script.received) == 1
    again = Oscore(script, (LAMP,), Random(2))
    again.restore(disk, 0.0)
    again.receive_datagram(device.protect(proof), HOME, 1.0)
    assert len(script.received) == 1


def test_sequence_numbers_go_with_the_keys_and_not_with_the_name(script: Script, device: Device) -> None:
    """A context under another name does not begin at 0 again."""
    disk = Disk()
    Node(script, disk=disk).receive(device.protect(get()))
    renamed = SecurityContext(Identity("oscore", "kitchen"), SECRET, b"\x01", b"\x02", b"salt\0")  # HMAC pads it so
    node = Node(script, renamed, disk=disk)
    (answer,) = node.receive(device.protect(get(2)))
    assert decode(answer).options == [(Option.OSCORE, b"\x02" + BLOCK.to_bytes(2, "big"))]


def test_a_restored_node_goes_on_above_all_that_it_may_have_used(script: Script, device: Device) -> None:
    """Whether the context has a row of its own or not, it is not new: what comes must prove to be fresh (B.1.2)."""
    disk = Disk()
    disk.rows["meta", SEQUENCE_FLOOR] = (70_000).to_bytes(8, "big")
    node = Node(script, disk=disk)
    (answer,) = node.receive(device.protect(get()))
    assert decode(answer).options == [(Option.OSCORE, b"\x03" + (70_000).to_bytes(3, "big"))]
    assert script.received == []
    again = Node(script, disk=disk)
    (answer,) = again.receive(device.protect(get(2)))
    assert decode(answer).options == [(Option.OSCORE, b"\x03" + (70_000 + BLOCK).to_bytes(3, "big"))]


def test_a_row_that_cannot_be_read_stops_the_start(script: Script, device: Device) -> None:
    disk = Disk()
    Node(script, disk=disk).receive(device.protect(get()))
    (row,) = disk.rows
    disk.rows[row] = b"?"
    with pytest.raises(StoreError, match="lamp-4"):
        Node(script, disk=disk)


# contexts


def test_contexts_that_would_share_nonces_or_an_id_are_refused(script: Script) -> None:
    def context(name: str, **changed: bytes) -> SecurityContext:
        values = {"master_secret": SECRET, "sender_id": b"\x01", "recipient_id": b"\x02", **changed}
        return SecurityContext(Identity("oscore", name), **values)

    with pytest.raises(ConfigError, match="'a' and 'b' share a secret"):
        Oscore(script, (context("a"), context("b", recipient_id=b"\x03")), Random(1))
    with pytest.raises(ConfigError, match="'a' and 'b' have the same recipient id"):
        Oscore(script, (context("a"), context("b", master_secret=SECRET[::-1])), Random(1))
    Oscore(script, (context("a"), context("b", id_context=b"b"), context("c", id_context=b"")), Random(1))


@pytest.mark.parametrize(
    "changed",
    [
        {"master_secret": b"short"},
        {"master_secret": bytes(65)},
        {"sender_id": bytes(8)},
        {"recipient_id": bytes(8)},
        {"recipient_id": b"\x01"},
        {"id_context": bytes(65)},
        {"master_salt": bytes(65)},
    ],
)
def test_a_context_that_cannot_be_is_refused_without_its_secret(changed: dict[str, bytes]) -> None:
    values = {"master_secret": SECRET, "sender_id": b"\x01", "recipient_id": b"\x02", **changed}
    with pytest.raises(ConfigError, match="lamp-4") as refusal:
        SecurityContext(LAMP.who, **values)
    assert SECRET.hex() not in str(refusal.value)


def test_no_text_shows_a_secret() -> None:
    assert repr(LAMP) == "SecurityContext(of oscore:lamp-4)"


def test_the_log_shows_neither_secret_nor_salt_nor_nonce(
    script: Script, device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    device.protect(get())  # it tells its own
    caplog.clear()
    node = protect(script, (LAMP,), Random(1), Gate(0, 1))
    assert node is not None
    node.restore(Disk(), 0.0)
    node.receive_datagram(device.protect(get(2)), HOME, 1.0)
    assert script.received
    context = Context(LAMP, 1)
    for secret in (SECRET, LAMP.master_salt, context.nonce(b"\0", b"\x01"), context.nonce(b"\1", b"\x02")):
        assert secret.hex() not in caplog.text


def test_a_node_without_contexts_is_as_it_was(script: Script) -> None:
    assert protect(script, (), Random(1), Gate(0, 1)) is None
    assert counters(None)["oscore_unprotected"] == 0


def test_every_reason_is_counted_under_its_name(script: Script) -> None:
    assert {refusal.value[0] for refusal in Refusal} | {"answer", "group", "unproven"} == set(REASONS)


# requests of ours


def asking(id: int = 500) -> bytes:
    path: list[tuple[int, bytes]] = [(Option.URI_PATH, b".well-known"), (Option.URI_PATH, b"core")]
    return Message(Type.CON, Code.GET, id, b"ourtoken", path).encode()


def test_a_request_of_ours_and_its_answer_are_protected(script: Script, node: Node, device: Device) -> None:
    """RFC 9176, 5.1: what registers simply is asked for its links.  The same octets leave when it is sent again."""
    node.receive(device.protect(get()))
    path = script.received[0][1]
    script.effects.append(Send(path, asking()))
    (data,) = node.flush()
    script.effects.append(Send(path, asking()))
    assert node.flush() == [data]
    assert device.read(data).encode() == asking()
    answer = device.protect(Message(Type.ACK, Code.CONTENT, 500, b"ourtoken", [], b"</temp>"))
    node.receive(answer, udp("192.0.2.8"))  # not from whom it was sent to: passed on as it is
    assert script.received[-1][0].options != []
    node.receive(answer[:-1] + bytes([answer[-1] ^ 1]))
    assert node.oscore.refused == {"answer": 1}
    keys = Context(SecurityContext(LAMP.who, SECRET, b"\x02", b"\x01", b"salt"), 1)
    iv = request_head(decode(data)).partial_iv
    ciphertext = keys.encrypt(b"\x01", keys.aad(b"\x01", iv), keys.nonce(iv, b"\x01"))  # authentic, and a request
    node.receive(Message(Type.ACK, Code.CHANGED, 500, b"ourtoken", [(Option.OSCORE, b"")], ciphertext).encode())
    assert node.oscore.refused == {"answer": 2}
    node.receive(answer)
    assert script.received[-1][0].payload == b"</temp>"
    assert script.received[-1][1] is path
    node.receive(answer)  # RFC 8613, 7.4: one answer is taken
    assert script.received[-1][0].payload != b"</temp>"


# whatever comes


@given(st.lists(st.binary(max_size=60), max_size=5), st.binary(max_size=12), st.integers(0, 255), st.integers(0, 255))
def test_nothing_that_comes_raises(datagrams: list[bytes], option: bytes, first: int, code: int) -> None:
    script = Script()
    node = Node(script)
    protected = Device().protect(get())
    wrapped = Message(Type.CON, Code.POST, 1, b"", [(Option.OSCORE, option)], bytes(20)).encode()
    for data in (*datagrams, wrapped, bytes((first, code)) + protected[2:], protected[:code], protected):
        for answer in node.receive(data):
            assert len(answer) <= AMPLIFICATION_MAX * len(data)
