"""docs/drip-02.md, typed at a running node: curl and openssl learn, and only addresses are changed.

Notes on DRiP, 4.14 and 5.1.
"""

import asyncio
import os
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from voting import claim

from waypost import Node
from waypost.config import Coap, Coaps, Config, Drip02, Http, Peers
from waypost.drip import calls
from waypost.drip.learner import CHANGED_MAX
from waypost.drip.literal import LiteralPeers, ShowLiteral
from waypost.drip.questions import Peers as InNetwork
from waypost.drip.questions import ShowPeers
from waypost.record import Committed

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "drip-02.md").read_text()
FREE = ("127.0.0.1:0",)


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def blocks(title: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", section(title), re.DOTALL | re.MULTILINE)


def configured(title: str, key: str = "") -> Drip02:
    """The peer of a section, with `key` where the page leaves it open."""
    (text,) = blocks(title, "toml")
    (peer,) = tomllib.loads(text.replace("…", key))["peers"]["drip_02"]
    return msgspec.convert(peer, Drip02)


class Shell:
    """Types in a folder; the page's node is the one at `peers`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.peers = ""
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}

    async def type(self, commands: str) -> str:
        commands = commands.replace("127.0.0.1:8481", self.peers).replace("wait=3600", "wait=5")
        process = await asyncio.create_subprocess_exec(
            "sh", "-eu", "-c", commands, cwd=self.folder, env=self.environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, errors = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, (out, errors)
        return out.decode()

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in (self.folder / name).read_text().splitlines()]


def committed_in(line: dict[str, Any]) -> Committed:
    fields = {name: value for name, value in line.items() if name not in ("headers", "certificate")}
    return msgspec.convert({"certificate": line["certificate"], "record": fields}, Committed)


@pytest.mark.peer("curl", "openssl")
def test_curl_alone_learns_as_the_page_says(tmp_path: Path) -> None:
    asyncio.run(story(tmp_path))


async def story(folder: Path) -> None:
    shell = Shell(folder)
    keys, by_token = blocks("With a JWT", "sh")
    peers = (configured("With a certificate"), configured("With a JWT", await shell.type(keys)))
    config = Config(
        dir=folder / "state",
        coap=Coap(listen=FREE),
        coaps=Coaps(listen=FREE),
        http=Http(listen=FREE),
        peers=Peers(listen=FREE, drip_02=peers),
    )
    async with Node(config) as node:
        shell.peers = node.listeners["peers"]
        shell.environment |= {"WAYPOST_DIR": str(folder / "state"), "NODE": node.name}
        first = await claim(node, "lamp", "on")
        joining, learning, following, voting, passing = blocks("With a certificate", "sh")
        await shell.type(joining)
        assert await shell.type(learning) == '{"state":"active"}'
        everything = shell.lines("everything.ndjson")
        assert [line["headers"]["DRiP-Sync-Complete"] for line in everything] == ["false", "true"]
        network = await node.ask(ShowPeers())
        assert isinstance(network, InNetwork)
        assert committed_in(everything[0]) == network.committed
        assert committed_in(everything[1]) == first
        literal = await node.ask(ShowLiteral())
        assert isinstance(literal, LiteralPeers)
        assert [(seen.name, seen.state) for seen in literal.seen] == [("curl-1", "active"), ("curl-2", None)]

        await asyncio.sleep(1.0)  # everything may be asked for once a second
        follows = asyncio.create_task(shell.type(following))
        while not (folder / "all.ndjson").exists() or len(shell.lines("all.ndjson")) < 2:
            await asyncio.sleep(0.02)
        second = await claim(node, "lamp", "off", first)
        await follows
        last = shell.lines("all.ndjson")[2]
        assert (committed_in(last), last["headers"]["DRiP-Transaction-Type"]) == (second, "update")

        assert await shell.type(voting) == ""
        assert await shell.type(passing) == ""

        shutil.copy(folder / "state" / "keys" / "ca.crt", folder / "ca.crt")
        state, *told = (await shell.type(by_token)).replace("}{", "}\n{", 1).splitlines()
        assert state == '{"state":"active"}'
        assert [committed_in(msgspec.json.decode(line)) for line in told] == [network.committed, second]


def test_the_page_tells_every_route_and_limit() -> None:
    for _, path in calls.ROUTES:
        assert path.partition("{")[0] in PAGE
    assert f"{CHANGED_MAX:,} keys" in PAGE
    assert f"{calls.BODY_MAX >> 10} KiB" in PAGE
