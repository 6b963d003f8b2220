"""What is served below /log/: by the node as far as it is asked, from files as far as they go."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from aiohttp import web

from waypost.api.server import application
from waypost.api.tiles import BODY_MAX, CHUNK, Tiles
from waypost.identity import ANONYMOUS, OPERATOR, Identity
from waypost.identity.admission import Gate
from waypost.identity.policy import Policy, default
from waypost.ledger.checkpoint import Checkpoint
from waypost.ledger.note import Line, Note
from waypost.ledger.questions import Reply, Serve
from waypost.ledger.tiles import Tile, encode_bundle
from waypost.rd.questions import Busy
from waypost.runtime.http import serve

NETWORK: Final = "ab" * 32
HEX: Final = "cd" * 32
BERTA: Final = Identity("certificate", "berta", ("peer",))
TILE: Final = bytes(range(256)) * 32
OCTETS: Final = "application/octet-stream"
NOT_THERE: Final = Reply(404, b"there is none\n")


def head(size: int) -> Reply:
    note = Note(Checkpoint("waypost/anna", size, bytes(32)).text, (Line("waypost/anna", b"1234", bytes(64)),))
    return Reply(200, note.encode())


@dataclass
class Home:
    """Below `folder` its files; `pages` is what the node answers, by method and path; `asked` what it was asked."""

    folder: Path
    pages: dict[tuple[str, str], object] = field(default_factory=dict)
    asked: list[Serve] = field(default_factory=list)
    who: Identity = ANONYMOUS
    policy: Policy = field(default_factory=default)
    gate: Gate = field(default_factory=lambda: Gate(0, 1))

    async def ask(self, question: object) -> object:
        assert isinstance(question, Serve)
        self.asked.append(question)
        return self.pages.get((question.method, question.path), NOT_THERE)

    async def identify(self, _: web.Request) -> Identity:
        return self.who

    def write(self, tile: Tile, data: bytes = TILE, log: str = "log") -> None:
        file = self.folder / "tiles" / log / tile.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    @property
    def paths(self) -> list[str]:
        return [question.path for question in self.asked]

    @asynccontextmanager
    async def serving(self, network: str | None = None) -> AsyncIterator["Reader"]:
        app = application(self.ask, dict, self.identify, self.policy.decide, self.gate, routes=())
        place = self.folder.joinpath
        Tiles(self.ask, place, self.identify, self.policy.decide, self.gate, network).serve_in(app)
        server = await serve(app, "127.0.0.1", 0)
        try:
            async with asyncio.timeout(30), aiohttp.ClientSession() as session:
                yield Reader(f"http://127.0.0.1:{server.address.port}/log/", session, network)
        finally:
            await server.close()


@dataclass
class Answer:
    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def is_kept(self) -> bool:
        return self.headers["Cache-Control"] == "max-age=31536000, immutable"


@dataclass
class Reader:
    url: str
    session: aiohttp.ClientSession
    network: str | None

    async def ask(self, path: str, method: str = "GET", body: bytes | None = None, **fields: str) -> Answer:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        if self.network is not None:
            headers.setdefault("Waypost-Network", self.network)
        async with self.session.request(method, self.url + path, data=body, headers=headers) as answer:
            return Answer(answer.status, await answer.read(), answer.headers)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_checkpoint_is_text_and_is_asked_for_anew_each_time(home: Home) -> None:
    async def story() -> None:
        home.pages["GET", "checkpoint"] = head(3)
        async with home.serving() as reader:
            answer = await reader.ask("checkpoint")
            assert (answer.status, answer.body) == (200, head(3).body)
            assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert answer.headers["Cache-Control"] == "no-cache"
            tag = answer.headers["ETag"]
            assert (await reader.ask("checkpoint", If_None_Match=tag)).status == 304
            whole = await reader.ask("checkpoint", "HEAD")
            assert (whole.status, whole.body, whole.headers["ETag"]) == (200, b"", tag)
            home.pages["GET", "checkpoint"] = head(4)
            assert (await reader.ask("checkpoint", If_None_Match=tag)).body == head(4).body

    asyncio.run(story())


@pytest.mark.parametrize(("size", "is_file"), [(255, False), (256, True), (1 << 40, True)])
def test_a_full_tile_is_a_file_once_a_checkpoint_has_it(home: Home, size: int, is_file: bool) -> None:
    """A file may be of a commit that failed: what is in it then never was in the log."""

    async def story() -> None:
        home.pages["GET", "checkpoint"] = head(size)
        home.write(Tile(0, 0, 256))
        async with home.serving() as reader:
            for _ in range(2):
                answer = await reader.ask("tile/0/000")
                assert answer.status == (200 if is_file else 404)
            if is_file:
                assert (answer.body, answer.headers["Content-Type"]) == (TILE, OCTETS)
                assert answer.is_kept
        assert home.paths.count("checkpoint") == (1 if is_file else 2), "a log never shrinks"
        assert home.paths.count("tile/0/000") == (0 if is_file else 2)

    asyncio.run(story())


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK, 16 << 20])
def test_a_bundle_is_sent_whole_however_large_it_is(home: Home, size: int) -> None:
    async def story() -> None:
        home.pages["GET", "checkpoint"] = head(256)
        bundle = (b"%08x" % size * (size // 8 + 1))[:size]
        home.write(Tile(-1, 0, 256), bundle)
        async with home.serving() as reader:
            answer = await reader.ask("tile/entries/000")
            assert (answer.status, answer.body == bundle) == (200, True)
            assert (answer.headers["Content-Length"], answer.is_kept) == (str(size), True)
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            whole = await reader.ask("tile/entries/000", "HEAD")
            assert (whole.status, whole.body, whole.headers["Content-Length"]) == (200, b"", str(size))
            assert (await reader.ask("tile/entries/000")).body == bundle

    asyncio.run(story())


@pytest.mark.parametrize(
    ("level", "size"), [(-1, 256), (0, 256), (1, 1 << 16), (2, 1 << 24)], ids=["entries", "0", "1", "2"]
)
def test_a_tile_of_any_level_is_there_when_all_below_it_is(home: Home, level: int, size: int) -> None:
    async def story() -> None:
        tile = Tile(level, 0, 256)
        home.write(tile)
        async with home.serving() as reader:
            home.pages["GET", "checkpoint"] = head(size - 1)
            assert (await reader.ask(tile.path)).status == 404
            home.pages["GET", "checkpoint"] = head(size)
            assert (await reader.ask(tile.path)).body == TILE

    asyncio.run(story())


def test_a_mirror_has_files_and_a_size_of_its_own(home: Home) -> None:
    async def story() -> None:
        home.pages["GET", "checkpoint"] = head(1 << 20)
        home.write(Tile(0, 0, 256), b"own")
        home.write(Tile(0, 0, 256), b"mirrored", f"mirror/{HEX}")
        async with home.serving() as reader:
            assert (await reader.ask("tile/0/000")).body == b"own"
            assert (await reader.ask(f"mirror/{HEX}/tile/0/000")).status == 404
            home.pages["GET", f"mirror/{HEX}/checkpoint"] = head(256)
            assert (await reader.ask(f"mirror/{HEX}/tile/0/000")).body == b"mirrored"
            assert (await reader.ask(f"mirror/{'EF' * 32}/tile/0/000")).status == 404

    asyncio.run(story())


def test_a_partial_tile_is_the_node_s_to_make(home: Home) -> None:
    async def story() -> None:
        home.pages["GET", "checkpoint"] = head(1_000)
        home.pages["GET", "tile/0/003.p/232"] = Reply(200, TILE[:64], OCTETS)
        async with home.serving() as reader:
            answer = await reader.ask("tile/0/003.p/232")
            assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, TILE[:64], OCTETS)
            assert answer.is_kept
        assert home.paths == ["checkpoint", "tile/0/003.p/232"]

    asyncio.run(story())


def test_the_size_of_one_log_says_nothing_of_another(home: Home) -> None:
    async def story() -> None:
        home.pages |= {("GET", "checkpoint"): head(1), ("GET", f"mirror/{HEX}/checkpoint"): head(1 << 20)}
        home.write(Tile(0, 0, 256))
        home.write(Tile(0, 0, 256), log=f"mirror/{HEX}")
        async with home.serving() as reader:
            assert (await reader.ask(f"mirror/{HEX}/tile/0/000")).status == 200
            assert (await reader.ask("tile/0/000")).status == 404

    asyncio.run(story())


@pytest.mark.parametrize("width", [1, 100, 255])
def test_a_partial_tile_of_one_that_is_full_is_cut_from_its_file(home: Home, width: int) -> None:
    async def story() -> None:
        entries = [b"%d" % number * number for number in range(256)]
        home.pages["GET", "checkpoint"] = head(256)
        home.write(Tile(0, 0, 256))
        home.write(Tile(-1, 0, 256), encode_bundle(entries))
        async with home.serving() as reader:
            hashes = await reader.ask(f"tile/0/000.p/{width}")
            assert (hashes.status, hashes.body, hashes.is_kept) == (200, TILE[: 32 * width], True)
            bundle = await reader.ask(f"tile/entries/000.p/{width}")
            assert (bundle.status, bundle.body) == (200, encode_bundle(entries[:width]))
        assert home.paths == ["checkpoint"]

    asyncio.run(story())


def test_a_large_part_of_a_bundle_is_sent_whole(home: Home) -> None:
    async def story() -> None:
        entries = [bytes([number]) * 4_000 for number in range(256)]
        home.pages["GET", "checkpoint"] = head(256)
        home.write(Tile(-1, 0, 256), encode_bundle(entries))
        async with home.serving() as reader:
            assert (await reader.ask("tile/entries/000.p/200")).body == encode_bundle(entries[:200])

    asyncio.run(story())


def test_a_bundle_that_is_damaged_is_the_node_s_to_judge(home: Home) -> None:
    async def story() -> None:
        home.pages["GET", "checkpoint"] = head(256)
        home.write(Tile(-1, 0, 256), b"\xff")
        async with home.serving() as reader:
            assert (await reader.ask("tile/entries/000.p/7")).status == 404
        assert home.paths[-1] == "tile/entries/000.p/7"

    asyncio.run(story())


def test_a_file_that_is_missing_is_the_node_s_to_answer(home: Home) -> None:
    async def story() -> None:
        home.pages["GET", "checkpoint"] = head(256)
        async with home.serving() as reader:
            answer = await reader.ask("tile/0/000")
            assert answer.status == 404
            assert answer.body == NOT_THERE.body
            assert answer.headers["Cache-Control"] == "no-store", "it may be there later"

    asyncio.run(story())


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0",
        "tile/8/000",
        "tile/0/x000/000",
        "tile/0/000.p/256",
        "tile/0/000.p/0",
        "tile/0/000/",
        "tile/0/tile/0/000",
        "tile/0/..%2f..%2f000",
        "tile/..%2f..%2f..%2fkeys%2fnode.pem",
        "tile/0/%00",
        "tile/-1/000",
        "mirror/log/tile/0/000",
        f"mirror/{HEX}/../../log/tile/0/000",
        "witness/log/checkpoint",
        "nothing",
        "",
    ],
)
def test_what_is_no_path_of_a_log_is_not_there(home: Home, path: str) -> None:
    async def story() -> None:
        home.pages["GET", "checkpoint"] = head(1 << 40)
        home.write(Tile(0, 0, 256))
        async with home.serving() as reader:
            assert (await reader.ask(path)).status == 404

    asyncio.run(story())


def test_evidence_is_named_by_its_digest_and_never_changes(home: Home) -> None:
    async def story() -> None:
        home.pages |= {("GET", "evidence"): Reply(200, b"[]"), ("GET", f"evidence/{HEX}"): Reply(200, b"proof")}
        async with home.serving() as reader:
            assert (await reader.ask(f"evidence/{HEX}")).is_kept
            assert not (await reader.ask("evidence")).is_kept

    asyncio.run(story())


def test_anybody_who_may_read_the_log_may_have_a_checkpoint_cosigned(home: Home) -> None:
    async def story() -> None:
        home.pages["POST", "add-checkpoint"] = Reply(409, b"7\n", "text/x.tlog.size")
        async with home.serving() as reader:
            answer = await reader.ask("add-checkpoint", "POST", b"old 3\n")
            assert (answer.status, answer.body) == (409, b"7\n")
            assert answer.headers["Content-Type"] == "text/x.tlog.size"
            assert answer.headers["Cache-Control"] == "no-store"
            assert (await reader.ask("add-checkpoint")).status == 405
        assert home.asked == [Serve("POST", "add-checkpoint", b"old 3\n", "")]

    asyncio.run(story())


def test_a_checkpoint_from_anybody_has_so_many_octets_and_no_more(home: Home) -> None:
    async def story() -> None:
        async with home.serving() as reader:
            assert (await reader.ask("add-checkpoint", "POST", bytes(BODY_MAX))).status == 404
            assert (await reader.ask("add-checkpoint", "POST", bytes(BODY_MAX + 1))).status == 413
        assert len(home.asked) == 1

    asyncio.run(story())


@pytest.mark.parametrize("path", ["heads", "evidence"])
def test_only_nodes_tell_of_heads_and_of_evidence(home: Home, path: str) -> None:
    async def story() -> None:
        home.pages["POST", path] = Reply(200)
        home.who = OPERATOR
        async with home.serving() as reader:
            assert (await reader.ask(path, "POST", b"x")).status in (404, 405)
        assert home.asked == []
        home.who = BERTA
        async with home.serving(NETWORK) as reader:
            assert (await reader.ask(path, "POST", b"x" * (BODY_MAX + 1))).status == 200
        assert home.asked == [Serve("POST", path, b"x" * (BODY_MAX + 1), "berta")]

    asyncio.run(story())


def test_nodes_are_known_by_name_whatever_they_ask(home: Home) -> None:
    async def story() -> None:
        home.who = BERTA
        home.pages |= {("GET", "keys"): Reply(200, b"note"), ("POST", "add-checkpoint"): Reply(200, b"line")}
        async with home.serving(NETWORK) as reader:
            assert (await reader.ask("keys")).body == b"note"
            assert (await reader.ask("add-checkpoint", "POST", b"old 0\n")).body == b"line"
        assert [question.node for question in home.asked] == ["berta", "berta"]

    asyncio.run(story())


@pytest.mark.parametrize(("method", "path"), [("GET", "checkpoint"), ("POST", "heads"), ("POST", "add-checkpoint")])
def test_a_node_of_another_network_is_not_answered(home: Home, method: str, path: str) -> None:
    async def story() -> None:
        home.who = BERTA
        async with home.serving(NETWORK) as reader:
            assert (await reader.ask(path, method, Waypost_Network="cd" * 32)).status == 403
            reader.network = None
            assert (await reader.ask(path, method)).status == 403
        assert home.asked == []

    asyncio.run(story())


@pytest.mark.parametrize(("method", "path"), [("GET", "tile/0/000"), ("POST", "heads"), ("POST", "add-checkpoint")])
def test_where_nodes_are_answered_the_policy_has_a_say(home: Home, method: str, path: str) -> None:
    async def story() -> None:
        home.policy = Policy.read({"deny": [{"who": ["certificate:berta"], "do": ["peer"]}]}, "strict")
        home.who = BERTA
        async with home.serving(NETWORK) as reader:
            assert (await reader.ask(path, method)).status == 403
        assert home.asked == []

    asyncio.run(story())


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        ({"do": ["read"]}, 200),
        ({"do": ["read"], "in": ["log"]}, 200),
        ({"do": ["read"], "in": ["records", "rd", "node"]}, 401),
        ({"do": ["look-up", "watch", "status"]}, 401),
        ({"do": ["read"], "sector": ["floor-1"]}, 403),
        ({"do": ["read"], "name": ["lamp-*"]}, 403),
    ],
)
def test_a_log_is_read_whole_or_not_at_all(home: Home, rule: dict[str, object], status: int) -> None:
    async def story() -> None:
        home.policy = Policy.read({"allow": [{"who": ["anyone"], **rule}]}, "a rule")
        home.pages |= {("GET", "checkpoint"): head(256), ("POST", "add-checkpoint"): Reply(200, b"line")}
        home.write(Tile(0, 0, 256))
        async with home.serving() as reader:
            assert (await reader.ask("checkpoint")).status == status
            assert (await reader.ask("tile/0/000")).status == status
            assert (await reader.ask("add-checkpoint", "POST", b"old 0\n")).status == status

    asyncio.run(story())


def test_who_asks_too_often_has_to_wait_unless_it_is_a_node(home: Home) -> None:
    async def story() -> None:
        home.gate = Gate(1, 2)
        home.who = Identity("certificate", "reader", ("reader",))
        home.pages["GET", "checkpoint"] = head(1)
        async with home.serving() as reader:
            answers = [await reader.ask("checkpoint") for _ in range(3)]
            assert [answer.status for answer in answers] == [200, 200, 429]
            assert "Retry-After" in answers[2].headers
        home.who = BERTA
        async with home.serving(NETWORK) as reader:
            assert [(await reader.ask("checkpoint")).status for _ in range(9)] == [200] * 9

    asyncio.run(story())


def test_while_the_disk_is_behind_files_are_still_served(home: Home) -> None:
    async def story() -> None:
        home.pages["GET", "checkpoint"] = head(256)
        home.write(Tile(0, 0, 256))
        async with home.serving() as reader:
            assert (await reader.ask("tile/0/000")).status == 200
            home.pages["GET", "checkpoint"] = Busy(2, "the disk is behind")
            assert (await reader.ask("tile/0/000")).status == 200
            answer = await reader.ask("checkpoint")
            assert (answer.status, answer.headers["Retry-After"]) == (503, "2")

    asyncio.run(story())


def test_a_page_of_another_origin_submits_nothing(home: Home) -> None:
    async def story() -> None:
        async with home.serving() as reader:
            answer = await reader.ask("add-checkpoint", "POST", b"old 0\n", Origin="https://elsewhere.example")
            assert answer.status == 403
        assert home.asked == []

    asyncio.run(story())


def test_a_node_needs_no_leave_to_read_where_nodes_are_answered(home: Home) -> None:
    async def story() -> None:
        home.policy = Policy.read({"allow": [{"who": ["role:peer"], "do": ["peer"]}]}, "closed")
        home.pages["GET", "checkpoint"] = head(1)
        home.who = BERTA
        async with home.serving(NETWORK) as reader:
            assert (await reader.ask("checkpoint")).status == 200
        async with home.serving() as reader:
            assert (await reader.ask("checkpoint")).status == 403

    asyncio.run(story())
