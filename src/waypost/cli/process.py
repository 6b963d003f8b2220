"""A node as a process of its own, which the demonstration may kill."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import Final

from waypost.errors import UnreachableError

START_S: Final = 30.0
STOP_S: Final = 10.0


class NodeProcess:
    """`coap` and `http` are addresses with ports; after the first start they are the real ones and stay."""

    def __init__(self, directory: Path, coap: str, http: str) -> None:
        self._directory = directory
        self.coap = coap
        self.http = http
        self.name = ""
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://{self.http}"

    async def start(self) -> None:
        """Until it is ready.  Raises UnreachableError with what the node said if it ends or is not ready in time."""
        log = self._directory / "log"
        settings = {"dir": str(self._directory / "state"), "coap-listen": self.coap, "http-listen": self.http}
        settings |= {"coaps-listen": "", "peers-listen": ""}
        settings["coap-transports"] = "udp"  # the number of a free UDP port may be taken over TCP
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
        self.coap, self.http = ready["listeners"]["coap"], ready["listeners"]["http"]

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


async def waypost(*args: str) -> str:
    """What a verb prints."""
    process = await asyncio.create_subprocess_exec(*_WAYPOST, *args, stdout=PIPE, env=clean_environment())
    out, _ = await process.communicate()
    return out.decode()


def clean_environment() -> dict[str, str]:
    """Without settings meant for another node."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}


_WAYPOST: Final = (sys.executable, "-m", "waypost")
