"""The node's own socket: for its owner alone, after a death too, and under any path."""

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from waypost.errors import ConfigError
from waypost.runtime import local
from waypost.runtime.http import Limits, serve_locally

GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def serving(path: Path, limits: Limits = Limits()) -> AsyncIterator[None]:  # noqa: B008
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    server = await serve_locally(app, path, limits)
    try:
        async with asyncio.timeout(10):
            yield
    finally:
        await server.close()


async def answered(path: Path, request: bytes = GET) -> bytes:
    def ask() -> bytes:
        with local.connect(path, 10.0) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(1_000), b""))

    return await asyncio.to_thread(ask)


def test_whoever_owns_it_may_open_it_and_nobody_else(tmp_path: Path) -> None:
    async def story() -> None:
        path = tmp_path / local.NAME
        async with serving(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert (await answered(path)).endswith(b"hello")
        (tmp_path / "beside").touch()
        assert stat.S_IMODE((tmp_path / "beside").stat().st_mode) & 0o400, "the mask is as it was"

    asyncio.run(story())


def test_what_a_dead_node_left_gives_way(tmp_path: Path) -> None:
    path = tmp_path / local.NAME
    local.bind(path).close()
    assert path.is_socket()
    with pytest.raises(ConnectionRefusedError):
        local.connect(path, 1.0)

    async def story() -> None:
        async with serving(path):
            assert (await answered(path)).endswith(b"hello")

    asyncio.run(story())


def test_a_path_may_be_longer_than_an_address(tmp_path: Path) -> None:
    """unix(7): sun_path has 108 octets."""
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)

    async def story() -> None:
        async with serving(folder / local.NAME):
            assert (await answered(folder / local.NAME)).endswith(b"hello")

    asyncio.run(story())
    assert (folder / local.NAME).is_socket()


def test_a_socket_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    async def story() -> None:
        with pytest.raises(ConfigError, match=r"nowhere/waypost\.sock: No such file"):
            async with serving(tmp_path / "nowhere" / local.NAME):
                pass

    asyncio.run(story())


def test_connections_are_bounded_there_too(tmp_path: Path) -> None:
    async def story() -> None:
        path = tmp_path / local.NAME
        async with serving(path, Limits(connections=1)):
            with local.connect(path, 10.0):
                assert (await answered(path, b"")).startswith(b"HTTP/1.1 503")

    asyncio.run(story())
