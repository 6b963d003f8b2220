"""Everything below /log/, by everybody: the log's part of the matrix, on the listener for all and on that for nodes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp
import pytest
from aiohttp import web
from rights import ASKERS, policy

from waypost.api.server import application
from waypost.api.tiles import OF_NODES, PAGES, SUBMIT, Tiles
from waypost.identity.admission import Gate
from waypost.ledger.checkpoint import Checkpoint
from waypost.ledger.note import Line, Note
from waypost.ledger.questions import Reply, Serve
from waypost.runtime.http import serve

NETWORK: Final = "ab" * 32
NAMES: Final = {"{origin:[0-9a-f]{64}}": "cd" * 32, "{digest:[0-9a-f]{64}}": "ef" * 32, "{tile:.+}": "0/000.p/1"}
EMPTY: Final = Note(Checkpoint("waypost/anna", 0, bytes(32)).text, (Line("waypost/anna", b"1234", bytes(64)),))
# Who may read a log, which has no parts: whoever may read some sectors or names alone may not.
READERS: Final = {"operator", "admin", "reader"}
# Who may what nodes may, where nodes are answered.
NODES: Final = {"operator", "admin", "peer"}


def paths() -> list[tuple[str, str]]:
    """Every method and path, with names in it."""
    found = [("GET", page) for page in PAGES] + [("HEAD", page) for page in PAGES]
    found += [("POST", call) for call in (SUBMIT, *OF_NODES)]
    for pattern, name in NAMES.items():
        found = [(method, path.replace(pattern, name)) for method, path in found]
    return found


def statuses(asker: str, network: str | None, asked: list[Serve]) -> dict[tuple[str, str], int]:
    rules = policy()

    async def answer(question: object) -> object:
        assert isinstance(question, Serve)
        asked.append(question)
        return Reply(200, EMPTY.encode())

    async def identify(_: web.Request) -> object:
        return ASKERS[asker]

    async def story() -> dict[tuple[str, str], int]:
        gate = Gate(0, 1)
        app = application(answer, dict, identify, rules.decide, gate, routes=())  # type: ignore[arg-type]
        Tiles(answer, _nowhere, identify, rules.decide, gate, network).serve_in(app)  # type: ignore[arg-type]
        server = await serve(app, "127.0.0.1", 0)
        headers = {"Waypost-Network": NETWORK}
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{server.address.port}", headers=headers) as session:
                return {each: await _status(session.request, *each) for each in paths()}
        finally:
            await server.close()

    return asyncio.run(story())


async def _status(request: Callable[..., Awaitable[aiohttp.ClientResponse]], method: str, path: str) -> int:
    answer = await request(method, f"/log/{path}")
    await answer.read()
    return answer.status


def _nowhere(name: str) -> object:
    raise AssertionError(f"{name} is no full tile")


@pytest.mark.parametrize("asker", ASKERS)
def test_on_the_listener_for_all(asker: str) -> None:
    asked: list[Serve] = []
    for (method, path), status in statuses(asker, None, asked).items():
        if method == "POST" and path in OF_NODES:
            assert status in (404, 405), (path, status)
        elif asker in READERS:
            assert status == 200, (method, path)
        else:
            assert status == (401 if asker == "anonymous" else 403), (method, path)
    assert bool(asked) == (asker in READERS)
    assert {question.node for question in asked} <= {""}


@pytest.mark.parametrize("asker", ASKERS)
def test_on_the_listener_for_nodes(asker: str) -> None:
    asked: list[Serve] = []
    for (method, path), status in statuses(asker, NETWORK, asked).items():
        expected = 200 if asker in NODES else 401 if asker == "anonymous" else 403
        assert status == expected, (method, path)
    assert {question.node for question in asked} <= {ASKERS[asker].name}
    assert bool(asked) == (asker in NODES)
