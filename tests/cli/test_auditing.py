"""The verb that follows a log of anybody's: served as files, honest, damaged, and of two histories."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
from logbook import KEY, ORIGIN, POLICY, vkey
from people import key_of

from waypost.cli.verbs import call
from waypost.ledger.checkpoint import Checkpoint, sign_head
from waypost.ledger.note import Algorithm, Key
from waypost.ledger.tiles import bundles, encode_bundle, tiles
from waypost.ledger.tree import Tree

ENTRIES_OF: Final = [b"entry %d" % number for number in range(600)]


class Served:
    """`files` by path; `asked` are the paths that were asked for; `later` is what the log has when asked next."""

    def __init__(self) -> None:
        self.later: list[list[bytes]] = []
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.url = ""

    def write(self, entries: list[bytes], key: Key = KEY, signer: str = "log") -> None:
        tree = Tree()
        tree.extend(entries)
        size = len(entries)
        head = sign_head(Checkpoint(ORIGIN, size, tree.root()), key, key_of(signer).sign)
        self.files = {tile.path: tree.tile(tile.level, tile.index, tile.width) for tile in tiles(0, size)}
        for bundle in bundles(0, size):
            start = bundle.index * 256
            self.files[bundle.path] = encode_bundle(entries[start : start + bundle.width])
        self.files["checkpoint"] = head.note.encode()


@pytest.fixture
def served() -> Iterator[Served]:
    log = Served()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.removeprefix("/some/log/")
            log.asked.append(path)
            if path == "checkpoint" and log.later:
                log.write(log.later.pop(0))
            data = log.files.get(path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        log.url = f"http://127.0.0.1:{server.server_address[1]}/some/log/"
        log.write(ENTRIES_OF)
        yield log
        server.shutdown()
        thread.join()


Run = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "head"


@pytest.fixture
def run(served: Served, state: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*more: str, key: Key = KEY) -> tuple[int, Any, str]:
        served.asked.clear()
        code = call(["log", "audit", served.url, "--key", key.encode(), "--state", str(state), *more, "-o", "json"])
        told = capsys.readouterr()
        return code, json.loads(told.out or "null"), told.err

    return run


def test_a_whole_log_is_read_to_its_last_entry_and_its_head_remembered(run: Run, served: Served, state: Path) -> None:
    code, audited, _ = run()
    assert code == 0
    assert (audited["origin"], audited["size"], audited["entries"]) == (ORIGIN, 600, 600)
    assert set(served.asked) == set(served.files)
    assert state.read_bytes() == served.files["checkpoint"]


def test_only_what_came_since_is_read_unless_all_is_wanted(run: Run, served: Served, state: Path) -> None:
    run()
    served.write([*ENTRIES_OF, b"one more"])
    code, audited, _ = run()
    assert (code, audited["size"]) == (0, 601)
    assert "tile/entries/000" not in served.asked
    assert state.read_bytes() == served.files["checkpoint"]
    code, audited, _ = run("--whole")
    assert (code, audited["entries"]) == (0, 601)


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/002.p/88", "tile/entries/001", "tile/entries/002.p/88"])
@pytest.mark.parametrize("gone", [False, True])
def test_a_damaged_file_is_named(run: Run, served: Served, state: Path, path: str, gone: bool) -> None:
    if gone:
        del served.files[path]
    else:
        data = bytearray(served.files[path])
        data[-1] ^= 1
        served.files[path] = bytes(data)
    code, audited, error = run()
    assert (code, audited) == (5, None)
    assert path in json.loads(error)["error"]
    assert not state.exists()


def test_a_head_that_another_key_signed_is_refused(run: Run) -> None:
    assert run(key=vkey("stranger", ORIGIN, Algorithm.ED25519))[0] == 5


def forked(state: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, fault: str) -> None:
    """The proof that was kept convinces whoever trusts the log's key."""
    policy = tmp_path / "policy"
    policy.write_bytes(POLICY.encode())
    assert call(["verify", f"{state}.evidence", "--policy", str(policy), "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["fault"] == fault


def test_two_roots_for_one_size_are_proven(
    run: Run, served: Served, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    before = state.read_bytes()
    served.write([b"other", *ENTRIES_OF[1:]])
    code, _, error = run()
    assert code == 5
    assert f"{state}.evidence" in json.loads(error)["hint"]
    assert state.read_bytes() == before
    forked(state, capsys, tmp_path, "same size")


@pytest.mark.parametrize("more", [1, 168, 424, 1000])
def test_a_log_that_grew_from_another_past_is_proven(
    run: Run, served: Served, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: int
) -> None:
    run()
    before = state.read_bytes()
    served.write([b"other", *ENTRIES_OF[1:], *(b"new %d" % number for number in range(more))])
    code, _, error = run()
    assert code == 5
    assert "rewritten" in error
    assert state.read_bytes() == before
    forked(state, capsys, tmp_path, "inconsistent growth")


def test_a_fork_is_proven_of_a_log_that_has_grown_past_its_head(
    run: Run, served: Served, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    other = [b"other", *ENTRIES_OF[1:], *(b"new %d" % number for number in range(168))]
    served.write(other[:601])
    head = served.files["checkpoint"]
    served.write(other)  # full tiles have taken the places of the partial ones
    served.files["checkpoint"] = head
    assert run()[0] == 5
    forked(state, capsys, tmp_path, "inconsistent growth")


def test_a_log_that_went_back_is_a_complaint_and_no_proof(run: Run, served: Served, state: Path) -> None:
    run()
    served.write(ENTRIES_OF[:300])
    code, _, error = run()
    assert code == 5
    assert "had 600 before" in error
    assert Path(f"{state}.refused").read_bytes() == served.files["checkpoint"]
    assert not Path(f"{state}.evidence").exists()


def test_a_fork_whose_tiles_are_withheld_is_a_complaint_and_no_proof(run: Run, served: Served, state: Path) -> None:
    run()
    served.write([b"other", *ENTRIES_OF[1:], b"new"])
    del served.files["tile/0/002.p/89"]
    assert run()[0] == 5
    assert Path(f"{state}.refused").exists()
    assert not Path(f"{state}.evidence").exists()


def test_it_follows_until_the_log_lies(served: Served, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served.later = [ENTRIES_OF, [*ENTRIES_OF, b"a"], [*ENTRIES_OF, b"b"]]
    line = ["log", "audit", served.url, "--key", KEY.encode(), "--state", str(state), "--follow", "--every", "1s"]
    assert call([*line, "-o", "jsonl"]) == 5
    told = capsys.readouterr()
    assert [json.loads(text)["size"] for text in told.out.splitlines()] == [600, 601]
    assert "two roots" in told.err


@pytest.mark.parametrize(
    ("url", "code"), [("http://127.0.0.1:1/log", 3), ("ftp://x/", 2), ("http://h:x/", 2), ("http://", 2)]
)
def test_a_log_that_is_not_there_is_told(url: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["log", "audit", url, "--key", KEY.encode()]) == code
    capsys.readouterr()


def test_a_server_without_a_log_is_told(run: Run, served: Served) -> None:
    served.files = {}
    assert run()[0] == 1


def test_what_is_no_key_or_no_head_is_refused(run: Run, state: Path) -> None:
    assert run(key=vkey("log", ORIGIN))[0] == 2  # a cosigner's
    state.write_bytes(b"x")
    assert run()[0] == 2
