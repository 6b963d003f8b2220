"""Registrations at one node of the mesh, until they are told of at each of the others."""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any, Final

from load.closed import closed_loop, share
from load.mesh import Mesh
from load.web import Web

LINKS: Final = [{"href": "/s/temp", "attributes": [["rt", "temperature"], ["if", "sensor"]]}]
PAUSE_S: Final = 0.1  # between registrations: in a row they would gather
POLL_S: Final = 0.0005
QUIET_S: Final = 10.0  # without anything new: what is missing by then does not come


class Seen:
    """When each endpoint was first told of at one node; `anything` is set by each of them."""

    def __init__(self) -> None:
        self.when: dict[str, float] = {}
        self.is_synced = asyncio.Event()
        self.anything = asyncio.Event()

    async def watch(self, port: int) -> None:
        web = await Web.connect(port)
        async for told in web.lines("/v1/watch"):
            if told["event"] == "synced":
                self.is_synced.set()
            elif told["event"] == "put":
                self.when.setdefault(told["endpoint"]["ep"], time.perf_counter())
                self.anything.set()


class Registering:
    """One client that registers an endpoint after the other over HTTP; `born` is when it asked."""

    def __init__(self, web: Web, prefix: str) -> None:
        self._web, self._prefix, self._count = web, prefix, 0
        self.born: dict[str, float] = {}

    async def register(self) -> None:
        self._count += 1
        ep = f"{self._prefix}-{self._count}"
        body = {"ep": ep, "base": f"coap://{ep}.example.net", "lt": 86_400, "links": LINKS}
        self.born[ep] = time.perf_counter()
        status, answer = await self._web.ask("POST", "/v1/endpoints", json.dumps(body).encode())
        if status not in (200, 201):
            raise SystemExit(f"a registration was answered with {status}: {answer.decode(errors='replace')}")


async def gossip(mesh: Mesh, clients: int, seconds: float, alone: int) -> dict[str, Any]:
    """All clients at the first node, each with one registration under way; then `alone` of them, one after the other.

    `per_second` counts from the first registration to the last arrival at any node, where a watcher is told within
    50 ms.  `delays` of those that came one after the other are from the question to a lookup that finds it, at one of
    the others in turn.
    """
    first, *others = mesh.voters
    seen = [Seen() for _ in others]
    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(each.watch(voter.http)) for each, voter in zip(seen, others, strict=True)]
        for each in seen:
            await each.is_synced.wait()
        many = [Registering(await Web.connect(first.http), f"many-{number}") for number in range(clients)]
        began = time.perf_counter()
        stored = await closed_loop([each.register for each in many], seconds, mesh.pids)
        eps = [ep for each in many for ep in each.born]
        missing = await arrived(seen, eps)
        ended = max((when for each in seen for when in each.when.values()), default=began)
        for task in watching:
            task.cancel()
    delays = await found(Registering(await Web.connect(first.http), "alone"), [voter.http for voter in others], alone)
    return {
        "count": len(eps),
        "missing": missing,
        "per_second": len(eps) / max(ended - began, 1e-9),
        "stored": stored.figures(),
        "p50_ms": 1000 * share(delays, 0.5),
        "p99_ms": 1000 * share(delays, 0.99),
    }


async def found(one: Registering, ports: Sequence[int], count: int) -> list[float]:
    """Seconds of each registration, from the question to the first lookup elsewhere that has it."""
    webs, delays = [await Web.connect(port) for port in ports], []
    for number in range(count):
        await asyncio.sleep(PAUSE_S)
        await one.register()
        ep, born = next(reversed(one.born.items()))
        async with asyncio.timeout(QUIET_S):
            while f'"{ep}"'.encode() not in (await webs[number % len(webs)].ask("GET", f"/v1/endpoints?ep={ep}"))[1]:
                await asyncio.sleep(POLL_S)
        delays.append(time.perf_counter() - born)
    return delays


async def arrived(seen: Sequence[Seen], eps: Sequence[str]) -> int:
    """Wait for them at every node; how many arrivals are missing when nothing comes any more."""
    while True:
        missing = sum(ep not in each.when for each in seen for ep in eps)
        if not missing:
            return 0
        for each in seen:
            each.anything.clear()
        waits = [asyncio.ensure_future(each.anything.wait()) for each in seen]
        done, pending = await asyncio.wait(waits, timeout=QUIET_S, return_when=asyncio.FIRST_COMPLETED)
        for wait in pending:
            wait.cancel()
        if not done:
            return missing
        await asyncio.sleep(0.02)
