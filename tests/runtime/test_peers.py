"""What one node says to others, on real connections: a server made by hand writes down what it is sent."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final

import pytest
from secured import Authority, authority

from waypost.assembly.installation import Reach
from waypost.drip import parcel
from waypost.drip.envelope import Envelope, Pass
from waypost.drip.messages import (
    MESSAGES_MAX,
    Admit,
    Commit,
    Message,
    Nack,
    No,
    Poll,
    Promise,
    Read,
    ReadAnswer,
    RosterRequest,
    VoteCall,
)
from waypost.drip.outbox import Tell
from waypost.drip.parcel import Said
from waypost.drip.rumours import Beat, Have, Probe, Prune, Rumour, Whisper
from waypost.identity.anchors import Revoked
from waypost.identity.certificates import read_certificate
from waypost.identity.credentials import Credentials
from waypost.record import Ballot, Committed, Record, Stamp
from waypost.record.gossiped import Moment
from waypost.runtime.nodes import ANSWER_S
from waypost.runtime.peers import GATHER_S, LATE_S, QUEUE_MAX, UNDER_WAY_MAX, Link, Peers
from waypost.runtime.tls import server_context
from waypost.sim.people import member

NETWORK: Final = "ab" * 32
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
BUSY: Final = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
BALLOT: Final = Ballot(1, 1, "anna")
READ: Final = Read(1, "names", "lamp", 1)
PROBE: Final = Probe("carla")
BEAT: Final = Beat(1, False, "active", 1, 1, 0, Moment(0, 0), "00" * 32, 1, ())
SLOT: Final = ("names", "lamp", 1, BALLOT)


def record(value: str = "on") -> Record:
    return Record(
        namespace="names",
        key="lamp",
        version=1,
        prev="",
        holder="00" * 32,
        home="anna",
        value=value,
        author="00" * 32,
        hlc=Stamp(0, 0),
        txid="0" * 32,
        cites=(),
        signature="00" * 64,
    )


@dataclass
class Request:
    line: str
    headers: dict[str, str]
    messages: tuple[Said, ...]
    certificate: bytes | None
    connection: int


class Server:
    """A node made by hand, at `url`; what it answers, and whether it does, is as it is told."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials
        self.answer: bytes | None = OK  # None: never
        self.requests: list[Request] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> "Server":
        context = server_context(self.credentials)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def request_after(self, before: int) -> None:
        await until(lambda: len(self.requests) > before)

    @property
    def heard(self) -> list[Said]:
        return [message for request in self.requests for message in request.messages]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        number = self.connections
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                line, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
                headers = dict(field.split(": ", 1) for field in fields)
                body = await reader.readexactly(int(headers["Content-Length"]))
                shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                self.requests.append(Request(line, headers, parcel.read(body), shown, number))
                if self.answer is not None:
                    writer.write(self.answer)
                    await writer.drain()


class Home:
    """The node that speaks, anna; `reached` is what it was told of others."""

    def __init__(self) -> None:
        self.authority = authority()
        self.credentials = self.authority.certify("peer", "anna")
        self.reached: list[tuple[str, bool]] = []
        self.own: list[Said] = []

    def server(self, name: str = "berta", role: str = "peer") -> Server:
        return Server(self.authority.certify(role, name))

    def hear(self, node: str, messages: Sequence[Said]) -> bool:
        assert node == "anna"
        self.own += messages
        return True

    @asynccontextmanager
    async def speaking(self, urls: Mapping[str, str] | None = None) -> AsyncIterator[Peers]:
        peers = Peers("anna", lambda: self.credentials, self.hear, lambda *told: self.reached.append(told))
        if urls is not None:
            peers.outside(Reach(NETWORK, urls))
        try:
            async with asyncio.timeout(30):
                yield peers
        finally:
            await peers.close()

    @asynccontextmanager
    async def between(self, server: Server, name: str = "berta") -> AsyncIterator[Peers]:
        await server.start()
        try:
            async with self.speaking({name: server.url}) as peers:
                yield peers
        finally:
            await server.stop()


@pytest.fixture
def home() -> Home:
    return Home()


@pytest.fixture
def ours(home: Home) -> Authority:
    return home.authority


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def tell(peers: Peers, *messages: Message, node: str = "berta") -> None:
    for message in messages:
        peers.outside(Tell(node, message))


# What is on the wire


@pytest.mark.parametrize(
    ("message", "path", "kind"),
    [
        (Poll(*SLOT, None), "/voting", "update"),
        (VoteCall(record(), BALLOT, None), "/voting", "update"),
        (Envelope("anna", 1, "berta", 1, 0, (READ,), "00" * 64), "/voting", "update"),
        (Promise(*SLOT, 1, None), "/voting/peernode/berta/response/yes", "update"),
        (Nack(*SLOT, BALLOT), "/voting/peernode/berta/response/no", "update"),
        (No(*SLOT, "busy", "", None, ()), "/voting/peernode/berta/response/no", "update"),
        (Commit(Committed(record(), None)), "/commit", "update"),
        (Have((bytes(16),)), "/commit", "update"),
        (BEAT, "/heartbeat/node/anna", "update"),
        (PROBE, "/heartbeat/node/anna", "update"),
        (RosterRequest(1), "/sync/node/anna", "sync"),
        (READ, "/reading", "update"),
        (ReadAnswer(1, 1, None, False), "/reading", "update"),
        (Admit(member("anna")), "/joining", "update"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_each_message_is_one_of_the_drafts_calls_with_its_headers(
    home: Home, message: Message | Rumour | Envelope, path: str, kind: str
) -> None:
    async def story() -> None:
        server = home.server()
        async with home.between(server) as peers:
            match message:
                case Envelope():
                    peers.outside(Pass("berta", message))
                case Have() | Beat() | Probe():
                    peers.outside(Whisper("berta", (message,)))
                case _:
                    peers.outside(Tell("berta", message))  # type: ignore[arg-type]
            await until(lambda: server.requests)
        (request,) = server.requests
        assert request.line == f"POST {path} HTTP/1.1"
        assert request.messages == (message,)
        ours = {name: value for name, value in request.headers.items() if name.startswith(("DRiP-", "Waypost-"))}
        assert ours == {
            "DRiP-Node-ID": "anna",
            "DRiP-Node-Counter": "1",
            "DRiP-Node-Counter-reset": "false",
            "DRiP-Transaction-Type": kind,
            "Waypost-Network": NETWORK,
            "Waypost-Wire": "1",
        }
        assert request.headers["Content-Type"] == "application/json"
        assert not {"Cookie", "Authorization", "Content-Encoding", "Transfer-Encoding"} & request.headers.keys()

    asyncio.run(story())


def test_the_counter_grows_with_each_request(home: Home) -> None:
    async def story() -> None:
        server = home.server()
        async with home.between(server) as peers:
            for _ in range(5):
                before = len(server.requests)
                tell(peers, READ)
                await server.request_after(before)
        assert [request.headers["DRiP-Node-Counter"] for request in server.requests] == ["1", "2", "3", "4", "5"]
        assert {request.connection for request in server.requests} == {1}, "and the connection stays"

    asyncio.run(story())


def test_who_asks_to_be_let_in_says_so_in_a_request_of_its_own(home: Home) -> None:
    """It may be all that is heard of a node that was given new keys."""

    async def story() -> None:
        server = home.server()
        async with home.between(server) as peers:
            tell(peers, READ)
            tell(peers, Admit(member("anna")))
            tell(peers, RosterRequest(1))
            await until(lambda: len(server.requests) == 2)
        said = {request.line.split()[1]: request.messages for request in server.requests}
        assert said == {"/joining": (Admit(member("anna")),), "/reading": (READ, RosterRequest(1))}

    asyncio.run(story())


def test_what_is_said_in_one_turn_of_the_loop_goes_in_one_request_on_the_call_of_the_first(home: Home) -> None:
    async def story() -> None:
        server = home.server()
        said: list[Message] = [
            Read(1, "names", "lamp", 1),
            Poll(*SLOT, None),
            RosterRequest(1),
            Read(2, "names", "lamp", 1),
        ]
        async with home.between(server) as peers:
            tell(peers, *said)
            await until(lambda: server.heard)
        (request,) = server.requests
        assert (request.line, request.headers["DRiP-Transaction-Type"]) == ("POST /reading HTTP/1.1", "update")
        assert request.messages == tuple(said)

    asyncio.run(story())


def test_what_may_wait_goes_with_what_may_not(home: Home) -> None:
    async def story() -> None:
        server = home.server()
        async with home.between(server) as peers:
            for _ in range(2):  # the first opens the connection, so that nothing but the lanes decides
                before = len(server.requests)
                peers.outside(Whisper("berta", (Have((bytes(16),)),)))
                tell(peers, READ)
                await server.request_after(before)
        assert [request.messages for request in server.requests] == [(READ, Have((bytes(16),)))] * 2

    asyncio.run(story())


def test_the_more_goes_at_once_the_longer_the_next_gathers_and_who_says_one_thing_waits_for_nothing() -> None:
    link = Link("https://127.0.0.1:1")

    def say(count: int) -> float:
        """So much at a time, for a while; how long what comes next waits."""
        for _ in range(50):
            for _ in range(count):
                link.asked.put(parcel.READING, b"{}")
            link.take(link.asked, 100.0)
        return link.asked.due() - 100.0

    assert say(1) == pytest.approx(0.0, abs=1e-6)
    assert say(2) == pytest.approx(GATHER_S / 2, abs=1e-4)
    assert 0.9 * GATHER_S < say(20) < GATHER_S
    assert say(1) == pytest.approx(0.0, abs=1e-4)
    link.asked.under_way = 1
    assert say(1) == pytest.approx(LATE_S)


def test_more_than_one_body_holds_goes_in_several(home: Home) -> None:
    async def story() -> None:
        server = home.server()
        async with home.between(server) as peers:
            tell(peers, *(Read(number, "names", "lamp", 1) for number in range(MESSAGES_MAX + 1)))
            await until(lambda: len(server.heard) == MESSAGES_MAX + 1)
        assert sorted(len(request.messages) for request in server.requests) == [1, MESSAGES_MAX]

    asyncio.run(story())


def test_what_a_node_says_to_itself_stays_at_home_and_comes_in_the_next_turn(home: Home) -> None:
    async def story() -> None:
        async with home.speaking({}) as peers:
            tell(peers, READ, node="anna")
            assert home.own == []
            await until(lambda: home.own)
        assert home.own == [READ]

    asyncio.run(story())


# Who is there


def foreign(name: str) -> Credentials:
    return authority().certify("peer", name)


@pytest.mark.parametrize("who", ["another name", "a device", "another authority", "expired"])
def test_nothing_is_said_to_who_is_not_the_node_that_is_meant(home: Home, ours: Authority, who: str) -> None:
    async def story() -> None:
        shown = {
            "another name": lambda: ours.certify("peer", "carla"),
            "a device": lambda: ours.certify("device", "berta"),
            "another authority": lambda: foreign("berta"),
            "expired": lambda: ours.certify("peer", "berta", days_ago=40),
        }
        server = Server(shown[who]())
        async with home.between(server) as peers:
            tell(peers, READ)
            await until(lambda: home.reached)
            assert peers.counts["failed"] == 1
        assert home.reached == [("berta", False)]
        assert server.requests == []

    asyncio.run(story())


def test_nothing_more_is_said_on_a_connection_once_its_certificate_is_revoked(home: Home) -> None:
    async def story() -> None:
        server = home.server()
        async with home.between(server) as peers:
            tell(peers, READ)
            await until(lambda: home.reached)
            revoked = Revoked(certificates=frozenset({read_certificate(server.credentials.chain).serial}))
            home.credentials = replace(home.credentials, trust=home.credentials.trust.also_revoking(revoked))
            tell(peers, READ)
            await until(lambda: len(home.reached) > 1)
        assert home.reached == [("berta", True), ("berta", False)]
        assert len(server.requests) == 1

    asyncio.run(story())


def test_a_renewed_certificate_is_shown_from_the_next_request_on(home: Home, ours: Authority) -> None:
    async def story() -> None:
        server = home.server()
        async with home.between(server) as peers:
            tell(peers, READ)
            await until(lambda: len(server.requests) == 1)
            home.credentials = ours.certify("peer", "anna")
            tell(peers, READ)
            await until(lambda: len(server.requests) == 2)
            assert peers.counts["failed"] == 0
        before, after = server.requests
        assert None is not before.certificate != after.certificate is not None

    asyncio.run(story())


def test_where_another_node_has_moved_in_nothing_is_said_that_was_meant_for_the_one_before(home: Home) -> None:
    """Two of the roster with one URL: connections to the one are not used for the other."""

    async def story() -> None:
        server = await home.server("berta").start()
        async with home.speaking({"berta": server.url, "carla": server.url}) as peers:
            tell(peers, READ, node="berta")
            await until(lambda: ("berta", True) in home.reached)
            tell(peers, Poll(*SLOT, None), node="carla")
            await until(lambda: ("carla", False) in home.reached)
        await server.stop()
        assert server.heard == [READ]

    asyncio.run(story())


def test_a_node_that_has_moved_is_spoken_to_where_it_is_now_and_not_blamed_for_before(home: Home) -> None:
    async def story() -> None:
        silent, server = home.server(), await home.server().start()
        silent.answer = None
        async with home.between(silent) as peers:
            tell(peers, READ)
            await until(lambda: silent.requests)
            peers.outside(Reach(NETWORK, {"berta": server.url}))
            tell(peers, Poll(*SLOT, None))
            await until(lambda: home.reached)
            await asyncio.sleep(0.1)
        await server.stop()
        assert home.reached == [("berta", True)]
        assert server.heard == [Poll(*SLOT, None)]

    asyncio.run(story())


def test_an_answer_sends_nobody_elsewhere(home: Home) -> None:
    async def story() -> None:
        bait = await asyncio.start_server(lambda reader, writer: caught.append(1), "127.0.0.1", 0)
        caught: list[int] = []
        port = bait.sockets[0].getsockname()[1]
        server = home.server()
        server.answer = (
            f"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:{port}/\r\nContent-Length: 0\r\n\r\n"
        ).encode()
        async with home.between(server) as peers:
            tell(peers, READ)
            await until(lambda: peers.counts["refused"])
            await asyncio.sleep(0.1)
        bait.close()
        assert caught == []

    asyncio.run(story())


@pytest.mark.parametrize(
    "url", ["", "http://127.0.0.1:1", "https://127.0.0.1:1/path", "https://", "https://[", "ftp://x"]
)
def test_a_place_that_is_none_is_not_looked_for(home: Home, url: str) -> None:
    async def story() -> None:
        async with home.speaking({"berta": url}) as peers:
            tell(peers, READ)
            assert peers.counts == {"unreachable": 1}
            await asyncio.sleep(0.02)
            assert home.reached == []

    asyncio.run(story())


# Who is slow, or away


def test_a_node_that_never_answers_counts_as_not_reached_and_what_waits_for_it_is_bounded(home: Home) -> None:
    async def story() -> None:
        server = home.server()
        server.answer = None
        began = asyncio.get_running_loop().time()
        async with home.between(server) as peers:
            tell(peers, READ)
            await until(lambda: server.requests)
            large = VoteCall(record("x" * 30_000), BALLOT, None)
            size = len(parcel.spell(large))
            rounds = 3 * QUEUE_MAX // size
            for _ in range(rounds):
                tell(peers, large)
            assert peers.counts["overflowed"] == rounds - QUEUE_MAX // size
            await until(lambda: home.reached)
            took = asyncio.get_running_loop().time() - began
            assert ANSWER_S <= took < ANSWER_S + 3
            assert home.reached[0] == ("berta", False)

    asyncio.run(story())


def test_requests_that_wait_for_a_node_are_few_whatever_is_said_to_it(home: Home) -> None:
    async def story() -> None:
        server = home.server()
        server.answer = None
        async with home.between(server) as peers:
            for number in range(100):
                tell(peers, Read(number, "names", "lamp", 1))
                await asyncio.sleep(0.005)
            assert peers.gauges()["peers_waiting_bytes"] > 30 * len(parcel.spell(READ)), "the rest waits for those"
        assert 1 <= len(server.requests) <= 2 * UNDER_WAY_MAX
        assert server.connections <= 2 * UNDER_WAY_MAX

    asyncio.run(story())


def test_a_node_that_comes_back_is_spoken_to_again(home: Home) -> None:
    async def story() -> None:
        server = await home.server().start()
        await server.stop()
        async with home.speaking({"berta": server.url}) as peers:
            tell(peers, READ)
            await until(lambda: home.reached)
            assert home.reached == [("berta", False)]
            tell(peers, READ)
            assert peers.counts["unreachable"] == 1, "so soon it is not tried again"
            for _ in range(40):
                tell(peers, READ)
                await asyncio.sleep(0.02)
            failed = peers.counts["failed"]
            assert 2 <= failed <= 5, "each time it is left alone twice as long"
            await server.start()
            for number in itertools.count():
                tell(peers, Read(number, "names", "lamp", 1))
                await asyncio.sleep(0.02)
                if home.reached[-1][1]:
                    break
        await server.stop()
        assert home.reached.count(("berta", True)) == 1
        assert home.reached.count(("berta", False)) == peers.counts["failed"]

    asyncio.run(story())


def test_who_refuses_is_there_and_what_it_refused_is_not_said_again(home: Home) -> None:
    async def story() -> None:
        server = home.server()
        server.answer = BUSY
        async with home.between(server) as peers:
            tell(peers, READ)
            await until(lambda: peers.counts["refused"])
            await asyncio.sleep(0.05)
            assert peers.counts == {"refused": 1, "requests": 1}
        assert len(server.requests) == 1
        assert home.reached == [("berta", True)]

    asyncio.run(story())


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 20_000 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
    ],
    ids=["octets", "length", "large", "ssh"],
)
def test_an_answer_that_is_none_is_a_failure_and_no_more(home: Home, answer: bytes) -> None:
    async def story() -> None:
        server = home.server()
        server.answer = answer
        async with home.between(server) as peers:
            tell(peers, READ)
            await until(lambda: home.reached)
            assert peers.counts["failed"] == 1

    asyncio.run(story())


def test_an_answer_without_end_is_not_read(home: Home) -> None:
    async def story() -> None:
        server = home.server()
        server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + bytes(100_000)
        async with home.between(server) as peers:
            tell(peers, READ)
            await until(lambda: home.reached)
            tell(peers, READ)
            await until(lambda: peers.counts["requests"] == 2)
        assert home.reached == [("berta", True)]
        assert server.connections == 2

    asyncio.run(story())


def test_a_server_without_tls_is_told_nothing(home: Home) -> None:
    async def story() -> None:
        heard: list[bytes] = []

        async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.append(await reader.read(4_096))
            writer.close()

        plain = await asyncio.start_server(note, "127.0.0.1", 0)
        url = f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}"
        async with home.speaking({"berta": url}) as peers:
            tell(peers, READ)
            await until(lambda: home.reached)
        plain.close()
        assert home.reached == [("berta", False)]
        assert all(b"lamp" not in data for data in heard)

    asyncio.run(story())


def test_it_closes_with_requests_under_way(home: Home) -> None:
    async def story() -> None:
        server = home.server()
        server.answer = None
        async with home.between(server) as peers:
            tell(peers, READ)
            peers.outside(Whisper("berta", (Prune(), BEAT)))
            await until(lambda: server.requests)
        assert home.reached == []

    asyncio.run(story())
