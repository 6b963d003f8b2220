"""Simple registration: what a device gets, and what nobody can make the directory do.  Time is a number we choose."""

import pytest
from speaking import Device, Node, option, shown

from waypost.coap.message import Message, block, uint
from waypost.coap.numbers import AMPLIFICATION_MAX, Code, Option, Type
from waypost.rd.engine import Settings
from waypost.rd.simple import (
    CACHED_MAX,
    CACHED_OCTETS_MAX,
    FETCHES_MAX,
    FETCHES_PER_SOURCE_MAX,
    FRESH_MAX,
    WAITING_MAX,
)

FORMAT = (int(Option.CONTENT_FORMAT), uint(40))
LINKS = "</sen/temp>;rt=temperature"


@pytest.fixture
def node() -> Node:
    return Node()


def probe(device: Device, uri: str = "/.well-known/rd?ep=node1", token: bytes = b"") -> Message:
    """The one message that comes back at once."""
    device.inbox.clear()
    device.put(device.message(Code.POST, uri, token=token))
    (message,) = device.inbox
    return message


def stranger(node: Node, host: str = "2001:db8:2::1", port: int = 5683) -> Device:
    return node.device(host, port, validated=False)


@pytest.mark.parametrize(
    ("uri", "ends"),
    [
        ("/.well-known/rd?ep=a", 90_000),
        ("/.well-known/core?ep=a", 86_400),
        ("/.well-known/core?ep=a&lt=6000", 6_000),
        ("/.well-known/rd/?ep=a&lt=6000", 6_000),
    ],
)
def test_both_forms_have_their_own_lifetime(node: Node, uri: str, ends: int) -> None:
    """RFC 9176, 5 and 5.1; draft -12, 5.3 and 5.3.1."""
    device = stranger(node)
    assert probe(device, uri).code == Code.GET
    device.serve(LINKS)
    client = node.device("2001:db8::c")
    node.advance(ends - 2)
    assert len(client.get("/rd-lookup/ep?ep=a")) == 1
    node.advance(3)
    assert client.get("/rd-lookup/ep?ep=a") == []


def test_parameters_are_kept_and_the_base_is_the_senders(node: Node) -> None:
    """RFC 9176, 5.1."""
    device = stranger(node, port=6553)
    probe(device, "/.well-known/rd?ep=a&d=hall&et=lamp")
    device.serve(LINKS)
    ((_, attributes),) = node.device().get("/rd-lookup/ep?d=hall")
    assert attributes >= {("ep", "a"), ("et", "lamp"), ("base", "coap://[2001:db8:2::1]:6553")}


@pytest.mark.parametrize(
    ("uri", "payload", "words"),
    [
        ("/.well-known/rd?ep=a", "</a>", "no payload"),
        ("/.well-known/rd?ep=a&base=coap://h", "", "no base"),
        ("/.well-known/core?ep=a&con=coap://h", "", "no base"),
        ("/.well-known/rd", "", "needs a name"),
        ("/.well-known/rd?ep=" + 64 * "x", "", "64 octets"),
        ("/.well-known/rd?ep=a&lt=0", "", "lt must be"),
        ("/.well-known/rd?ep=a&rt=x", "", "rt is not a parameter"),
        ("/.well-known/rd?ep=a&page=1", "", "page is not a parameter"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_fetched(node: Node, uri: str, payload: str, words: str) -> None:
    """RFC 9176, 5.1 (no payload, no base) and 5."""
    answer = node.device().post(uri, payload)
    assert answer.code == Code.BAD_REQUEST
    assert words in answer.payload.decode()


@pytest.mark.parametrize("method", [Code.GET, Code.PUT, Code.DELETE])
def test_it_is_a_post(node: Node, method: Code) -> None:
    """RFC 9176, 5.1."""
    assert node.device().ask(method, "/.well-known/rd?ep=a").code == Code.METHOD_NOT_ALLOWED


def test_a_document_is_used_while_it_is_fresh(node: Node) -> None:
    """RFC 9176, 5.1: a device with one buffer, whose request is over when it serves, asks again."""
    device = stranger(node)
    probe(device, "/.well-known/rd?ep=a")
    device.serve(LINKS, Code.CONTENT, FORMAT, (int(Option.MAX_AGE), uint(600)))
    assert probe(device, "/.well-known/rd?ep=a").code == Code.CHANGED
    node.advance(599)
    assert probe(device, "/.well-known/rd?ep=b").code == Code.CHANGED
    node.advance(2)
    assert probe(device, "/.well-known/rd?ep=a").code == Code.GET


@pytest.mark.parametrize(("max_age", "fresh_s"), [(None, 60), (0, 0), (4_000_000_000, FRESH_MAX)])
def test_freshness_has_a_default_and_a_bound(node: Node, max_age: int | None, fresh_s: int) -> None:
    """RFC 7252, 5.10.5 and 5.6.1."""
    device = stranger(node)
    probe(device)
    options = [FORMAT] if max_age is None else [FORMAT, (int(Option.MAX_AGE), uint(max_age))]
    device.serve(LINKS, Code.CONTENT, *options)
    if fresh_s:
        node.advance(fresh_s - 1)
        assert probe(device).code == Code.CHANGED
    node.advance(2)
    assert probe(device).code == Code.GET


def test_the_port_is_part_of_who_it_is(node: Node) -> None:
    """RFC 9176, 5.1: the document of one endpoint is not another's."""
    probe(one := stranger(node, port=5683))
    one.serve(LINKS)
    assert probe(stranger(node, port=5684)).code == Code.GET


def test_registrations_that_come_meanwhile_wait_for_the_same_fetch(node: Node) -> None:
    """RFC 9176, 5.1."""
    device = stranger(node)
    probe(device, "/.well-known/rd?ep=a")
    device.put(device.message(Code.POST, "/.well-known/rd?ep=b"))
    assert len(device.inbox) == 1
    device.serve(LINKS)
    assert [message.code for message in device.inbox] == [Code.CHANGED, Code.CHANGED]
    assert len(node.device().get("/rd-lookup/ep")) == 2


# what a device may answer


@pytest.mark.parametrize(
    ("payload", "code", "options", "answer", "words"),
    [
        ("no links", Code.CONTENT, [FORMAT], Code.BAD_REQUEST, "expected <target>"),
        ("<relative>", Code.CONTENT, [FORMAT], Code.BAD_REQUEST, "needs a scheme"),
        ("", Code.NOT_FOUND, [], Code.BAD_GATEWAY, "4.04"),
        ("", Code.INTERNAL_SERVER_ERROR, [], Code.BAD_GATEWAY, "5.00"),
        ("{}", Code.CONTENT, [(int(Option.CONTENT_FORMAT), uint(50))], Code.BAD_GATEWAY, "Content-Format 50"),
        (LINKS, Code.CONTENT, [(9, b"critical")], Code.BAD_GATEWAY, "breaks the rules"),
        (LINKS, Code.CHANGED, [], Code.BAD_GATEWAY, "2.04"),
    ],
)
def test_a_bad_answer_is_told_in_words_and_stores_nothing(
    node: Node, payload: str, code: Code, options: list[tuple[int, bytes]], answer: Code, words: str
) -> None:
    """RFC 9176, 5.1; RFC 7252, 5.9.3."""
    device = stranger(node)
    probe(device)
    device.serve(payload, code, *options)
    (message,) = device.inbox
    assert message.code == answer
    assert words in message.payload.decode()
    assert node.device().get("/rd-lookup/ep") == []
    assert node.gauges()["fetches_under_way"] == 0


def test_links_without_a_content_format_are_taken(node: Node) -> None:
    """As in a registration: there is one format."""
    device = stranger(node)
    probe(device)
    device.serve(LINKS, Code.CONTENT, (int(Option.MAX_AGE), b"\1"))
    assert [message.code for message in device.inbox] == [Code.CHANGED]


def test_links_in_blocks_are_gathered(node: Node) -> None:
    """RFC 7959, 2.4."""
    device = stranger(node)
    links = ",".join(f"</{number}>;rt=x" for number in range(20)).encode()
    probe(device)
    blocks = [links[start : start + 64] for start in range(0, len(links), 64)]
    for number, part in enumerate(blocks):
        more = number + 1 < len(blocks)
        device.serve(part, Code.CONTENT, FORMAT, (int(Option.BLOCK2), block(number, more, 2)))
    assert [message.code for message in device.inbox] == [Code.CHANGED]
    assert len(node.device().get("/rd-lookup/res?ep=node1")) == 20


def test_links_without_end_are_cut_off(node: Node) -> None:
    """`document_octets_max`: nobody fills the memory by 10 MB of links."""
    device = stranger(node)
    probe(device)
    served = 0
    while device.inbox[0].code == Code.GET:
        part = b"</" + 1020 * b"a" + b">,"
        options = [FORMAT, (int(Option.BLOCK2), block(served, True, 6))]
        device.serve(part[:1024], Code.CONTENT, *options)
        served += 1
    assert device.inbox[0].code == Code.BAD_REQUEST
    assert b"too large" in device.inbox[0].payload
    assert served == Settings().document_octets_max // 1024 + 1
    assert node.gauges()["fetched_documents"] == 0


def test_who_resets_the_fetch_is_told(node: Node) -> None:
    """RFC 7252, 4.2."""
    device = stranger(node)
    fetch = probe(device)
    device.inbox.clear()
    device.put(Message(Type.RST, Code.EMPTY, fetch.id, b"", []))
    assert [message.code for message in device.inbox] == [Code.BAD_GATEWAY]


# strangers


def test_who_does_not_answer_is_fetched_from_once_and_asked_to_show_itself(node: Node) -> None:
    """RFC 9175, 2.4: the sender may be forged, so the fetch is not repeated."""
    device = stranger(node)
    probe(device)
    node.advance(10)
    fetch, acknowledgement, refusal = device.inbox
    assert (fetch.code, acknowledgement.type, refusal.code) == (Code.GET, Type.ACK, Code.UNAUTHORIZED)
    echo = option(refusal, Option.ECHO)
    assert echo
    device.inbox.clear()
    device.put(device.message(Code.POST, "/.well-known/rd?ep=node1", more=[(int(Option.ECHO), echo)]))
    node.advance(30)
    assert [message.code for message in device.inbox if message.code] == 4 * [Code.GET], "now it is repeated"
    node.advance(100)
    assert device.inbox[-1].code == Code.GATEWAY_TIMEOUT


def test_who_answers_needs_no_echo(node: Node) -> None:
    """RFC 9175, 2.4: our random token came back, so the second document comes with repetitions."""
    device = stranger(node)
    probe(device)
    device.serve("</a>", Code.CONTENT, FORMAT, (int(Option.MAX_AGE), b""))
    probe(device)
    node.advance(30)
    assert [message.code for message in device.inbox if message.code] == 4 * [Code.GET]


@pytest.mark.parametrize("token", [b"", b"12345678"])
@pytest.mark.parametrize("uri", ["/.well-known/rd?ep=a", "/.well-known/core?ep=a", "/.well-known/rd?ep=a&lt=1"])
@pytest.mark.parametrize("reaction", ["nothing", "reset", "acknowledge"])
def test_a_forged_sender_gets_at_most_three_times_what_came(node: Node, token: bytes, uri: str, reaction: str) -> None:
    """Design, "UDP answers at most three times": the fetch, its repetitions and the answer all count."""
    victim = stranger(node)
    fetch = probe(victim, uri, token)
    sent = victim.sent
    if reaction != "nothing":  # what a host that asked for nothing may do, without our token
        kind = Type.RST if reaction == "reset" else Type.ACK
        victim.put(Message(kind, Code.EMPTY, fetch.id, b"", []))
    node.advance(1_000)
    assert victim.received <= AMPLIFICATION_MAX * sent
    assert not node.gauges()["fetches_under_way"]


def test_a_repeated_post_is_answered_from_memory(node: Node) -> None:
    """RFC 7252, 4.5: nothing is fetched twice for it."""
    victim = stranger(node)
    message = victim.message(Code.POST, "/.well-known/rd?ep=a")
    for _ in range(5):
        victim.put(message)
    assert [item.code for item in victim.inbox] == [Code.GET]
    node.advance(1_000)
    for _ in range(5):
        victim.put(message)
    assert victim.received <= AMPLIFICATION_MAX * victim.sent


# limits


def test_fetches_are_bounded_in_all_and_from_one_source(node: Node) -> None:
    """FETCHES_PER_SOURCE_MAX, and half of FETCHES_MAX for who has not shown to be there."""
    for number in range(FETCHES_PER_SOURCE_MAX):
        assert probe(stranger(node, f"2001:db8:1::{number:x}")).code == Code.GET
    assert probe(stranger(node, "2001:db8:1::ffff")).code == Code.SERVICE_UNAVAILABLE, "a /64 is one source"
    for number in range(FETCHES_MAX // 2 - FETCHES_PER_SOURCE_MAX):
        assert probe(stranger(node, f"2001:db8:2:{number:x}::1")).code == Code.GET
    refused = probe(stranger(node, "2001:db8:3::1"))
    assert refused.code == Code.SERVICE_UNAVAILABLE
    assert option(refused, Option.MAX_AGE)
    assert probe(node.device("2001:db8:4::1")).code == Code.GET, "the others have the other half"
    node.advance(300)
    assert node.gauges()["fetches_under_way"] == 0


def test_those_who_wait_for_one_fetch_are_bounded(node: Node) -> None:
    """WAITING_MAX."""
    device = stranger(node)
    for number in range(WAITING_MAX + 1):
        device.put(device.message(Code.POST, f"/.well-known/rd?ep=n{number}"))
    assert [message.code for message in device.inbox] == [Code.GET, Code.SERVICE_UNAVAILABLE]


def test_documents_are_kept_within_bounds(node: Node) -> None:
    """CACHED_OCTETS_MAX, CACHED_MAX: the oldest go."""
    links = ",".join(f"</{number:01000}>" for number in range(60))
    many = CACHED_OCTETS_MAX // len(links) + 2
    assert many < CACHED_MAX
    for number in range(many):
        device = node.device(f"2001:db8:5:{number:x}::1")
        probe(device)
        parts = [links[start : start + 1024] for start in range(0, len(links), 1024)]
        for index, part in enumerate(parts):
            device.serve(part, Code.CONTENT, FORMAT, (int(Option.BLOCK2), block(index, index + 1 < len(parts), 6)))
        assert [message.code for message in device.inbox] == [Code.CHANGED]
    assert node.gauges()["fetched_documents"] == CACHED_OCTETS_MAX // len(links)
    for number in range(CACHED_MAX + 1):
        probe(device := node.device(f"2001:db8:6:{number:x}::1"))
        device.serve("</a>")
    assert node.gauges()["fetched_documents"] == CACHED_MAX


def test_it_can_be_turned_off() -> None:
    """RFC 9176, 5.1: there may be security reasons."""
    device = Node(Settings(simple=False)).device()
    assert device.post("/.well-known/rd?ep=a").code == Code.FORBIDDEN


def test_with_freshness_by_echo_nothing_is_fetched_for_a_stranger() -> None:
    """RFC 9176, 5.1: SHOULD verify that the sender intends to register."""
    node = Node(Settings(freshness="echo"))
    device = stranger(node)
    refused = probe(device)
    assert refused.code == Code.UNAUTHORIZED
    echo = option(refused, Option.ECHO)
    assert echo
    device.inbox.clear()
    device.put(device.message(Code.POST, "/.well-known/rd?ep=node1", more=[(int(Option.ECHO), echo)]))
    device.serve(LINKS)
    assert [message.code for message in device.inbox] == [Code.CHANGED]
    assert node.device().get("/rd-lookup/res") == shown("<coap://[2001:db8:2::1]/sen/temp>;rt=temperature")


def test_a_registration_by_links_and_a_simple_one_are_the_same_name(node: Node) -> None:
    """RFC 9176, 5: one registration for (ep, d), its location stays."""
    device = node.device("2001:db8:2::1")
    location = device.register("/rd?ep=a", "</old>")
    probe(device, "/.well-known/rd?ep=a")
    device.serve(LINKS)
    ((href, _),) = device.get("/rd-lookup/ep")
    assert href == location
    assert device.get("/rd-lookup/res") == shown("<coap://[2001:db8:2::1]/sen/temp>;rt=temperature")
