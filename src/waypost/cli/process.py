"""A node as a process of its own, which the demonstration may kill."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from waypost.errors import UnreachableError

START_S: Final = 30.0
STOP_S: Final = 10.0


class NodeProcess:
    """`coap`, `http` and `peers` are addresses with ports; after the first start they are the real ones and stay.

    `settings` are more of them, by the names of the flags.
    """

    def __init__(self, directory: Path, coap: str, http: str, peers: str, settings: Mapping[str, str]) -> None:
        self._directory = directory
        self._settings = settings
        self.coap = coap
        self.http = http
        self.peers = peers
        self.name = ""
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://{self.http}"

    @property
    def local(self) -> str:
        """The node's own socket, where whoever asks is the operator."""
        return f"unix://{self._directory / 'state' / 'waypost.sock'}"

    async def start(self) -> None:
        """Until it is ready.  Raises UnreachableError with what the node said if it ends or is not ready in time."""
        log = self._directory / "log"
        settings = {"dir": str(self._directory / "state"), "coap-listen": self.coap, "http-listen": self.http}
        settings |= {"coaps-listen": "", "peers-listen": self.peers}
        settings["coap-transports"] = "udp"  # the number of a free UDP port may be taken over TCP
        settings |= self._settings
        flags = [f"--{name}={value}" for name, value in settings.items()]
        with log.open("ab") as stderr:
            # A session of its own: Ctrl-C at the terminal is for the demonstration, which then stops the node.
            self._process = await asyncio.create_subprocess_exec(
                *_WAYPOST, "run", "-o", "json", *flags,
                stdin=DEVNULL, stdout=PIPE, stderr=stderr, env=clean_environment(), start_new_session=True,
            )  # fmt: skip
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_S):
                line = await self._process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            *_, last = ["it said nothing", *log.read_text(errors="replace").split("\n")[:-1]]
            raise UnreachableError(f"the node did not start: {last[:500]}")
        ready = json.loads(line)
        self.name = ready["node"]
        self.coap, self.http, self.peers = (ready["listeners"].get(name, "") for name in ("coap", "http", "peers"))

    async def kill(self) -> None:
        """As by `kill -9`: the node is told nothing."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except TimeoutError:
            await self.kill()


class Ran(NamedTuple):
    """How a verb ended, and what it printed on both streams."""

    code: int
    out: str
    error: str


async def waypost(*args: str) -> Ran:
    process = await asyncio.create_subprocess_exec(*_WAYPOST, *args, stdout=PIPE, stderr=PIPE, env=clean_environment())
    out, error = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), error.decode())


def clean_environment() -> dict[str, str]:
    """Without settings meant for another node."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}


_WAYPOST: Final = (sys.executable, "-m", "waypost")
