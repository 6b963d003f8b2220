"""Which event loop a node runs on, and that the other one does all the same."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from waypost.config import Coap, Coaps, Config, Http, Peers
from waypost.node import Node
from waypost.runtime.loop import Wanted, kind_of, maker


def made(wanted: Wanted) -> str:
    loop = maker(wanted)()
    try:
        return kind_of(loop)
    finally:
        loop.close()


@pytest.mark.parametrize(("wanted", "kind"), [("auto", "uvloop"), ("uvloop", "uvloop"), ("asyncio", "asyncio")])
def test_a_loop_is_the_one_that_was_asked_for(wanted: Wanted, kind: str) -> None:
    assert made(wanted) == kind


def test_where_uvloop_is_not_there_only_who_asks_for_it_is_told() -> None:
    lines = (
        "import sys",
        "sys.modules['uvloop'] = None",
        "from waypost.runtime.loop import kind_of, maker",
        "print(kind_of(maker('auto')()))",
        "maker('uvloop')",
    )
    ran = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert ran.stdout == "asyncio\n"
    assert ran.stderr.splitlines()[-1].startswith("waypost.errors.ConfigError: loop: uvloop is not there")


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_node_starts_and_ends_on_either(tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """With all its listeners; the processes that other tests start run on uvloop, the tests themselves do not."""
    config = Config(
        dir=tmp_path,
        coap=Coap(listen=("127.0.0.1:0",)),
        coaps=Coaps(listen=("127.0.0.1:0",)),
        http=Http(listen=("127.0.0.1:0",)),
        peers=Peers(listen=("127.0.0.1:0",)),
    )

    async def story() -> set[str]:
        async with asyncio.timeout(60), Node(config) as node:
            return set(node.listeners)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(story()) >= {"coap", "coap+tcp", "coaps", "coaps+tcp", "coap+ws", "http", "local", "peers"}
