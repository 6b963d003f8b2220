"""Statements that a node enters in its log: each signed by a client, verified, on disk, and under a signed head."""

import asyncio
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from nacl.signing import SigningKey

from load.closed import Job, closed_loop
from load.servers import HOST
from load.trees import per_second
from load.web import Web
from waypost.api.logged import NewStatement
from waypost.config import Coap, Coaps, Config, Http, Peers
from waypost.identity.keys import verifies
from waypost.ledger.questions import Enter, Entered, ShowLog, Shown
from waypost.ledger.statement import Statement
from waypost.node import Node
from waypost.record.wire import encode

KIND: Final = "bench"
BODY: Final[dict[str, object]] = {"text": "x" * 128}
CONNECTIONS: Final = 64  # to its API, which takes 128
READY_S: Final = 10.0
EXPECTED: Final = 12_000  # statements a second that are signed before a run, so that clients cost nothing while it runs

Figures = dict[str, Any]


class Signer:
    """One client's chain of statements, some of them made before they are wanted."""

    def __init__(self) -> None:
        self._key = SigningKey.generate()
        self._signer = bytes(self._key.verify_key).hex()
        self._prev = ""
        self._ready: deque[Statement] = deque()

    def prepare(self, count: int) -> None:
        for _ in range(count - len(self._ready)):
            self._ready.append(self._make())

    def next(self) -> Statement:
        return self._ready.popleft() if self._ready else self._make()

    def _make(self) -> Statement:
        at_ms = time.time_ns() // 1_000_000
        unsigned = Statement(at_ms, BODY, KIND, self._prev, self._signer)
        self._prev = unsigned.hash
        return unsigned.signed(lambda message: self._key.sign(message).signature)


async def entering(folder: Path, clients: Sequence[int], seconds: float) -> Figures:
    """So many at once, each waits for its own: put to a node in this process, without HTTP; then over HTTP."""
    nobody: tuple[str, ...] = ()
    config = Config(
        dir=folder,
        coap=Coap(listen=nobody),
        coaps=Coaps(listen=nobody),
        http=Http(listen=(f"{HOST}:0",)),
        peers=Peers(listen=nobody),
    )
    found: Figures = {"verify": verified(), "octets": len(Signer().next().encode())}
    async with Node(config) as node:
        await ready(node)
        token = f"Authorization: Bearer {await node.first_token()}\r\n"
        port = int(node.listeners["http"].rpartition(":")[2])
        for count in clients:
            found[f"asked {count}"] = await measured([ask(node, signer) for signer in signers(count, seconds)], seconds)
        webs = [await Web.connect(port) for _ in range(CONNECTIONS)]
        for count in (each for each in clients if each <= CONNECTIONS):
            jobs = [post(web, token, signer) for web, signer in zip(webs, signers(count, seconds), strict=False)]
            found[f"http {count}"] = await measured(jobs, seconds)
        found["entries"] = (await shown(node)).size
    started = time.perf_counter()
    async with Node(config) as node:
        found["start_s"] = time.perf_counter() - started
        assert (await shown(node)).size >= found["entries"]
    return found


def signers(count: int, seconds: float) -> Iterator[Signer]:
    for _ in range(count):
        signer = Signer()
        signer.prepare(int(EXPECTED * seconds / count) if count > 1 else int(EXPECTED * seconds / 8))
        yield signer


async def measured(jobs: list[Job], seconds: float) -> Figures:
    return (await closed_loop(jobs, seconds, [os.getpid()])).figures()


def ask(node: Node, signer: Signer) -> Job:
    async def enter() -> None:
        entered = await node.ask(Enter(signer.next().encode()))
        assert isinstance(entered, Entered), entered

    return enter


def post(web: Web, token: str, signer: Signer) -> Job:
    async def enter() -> None:
        statement = signer.next()
        body = NewStatement(**{name: getattr(statement, name) for name in NewStatement.__struct_fields__})
        status, answer = await web.ask("POST", "/v1/log/statements", encode(body), token)
        assert status == 201, answer

    return enter


async def ready(node: Node) -> None:
    """It founds a network at its first start, and signs once it knows that it is alone."""
    async with asyncio.timeout(READY_S):
        while (await shown(node)).state != "signing":
            await asyncio.sleep(0.05)


async def shown(node: Node) -> Shown:
    log = await node.ask(ShowLog())
    assert isinstance(log, Shown)
    return log


def verified() -> float:
    """Ed25519 signatures that one core verifies in a second: none of the rates can be higher."""
    key = SigningKey.generate()
    signed = key.sign(bytes(400))
    public = bytes(key.verify_key)
    return per_second(2_000, lambda: [verifies(public, signed.signature, signed.message) for _ in range(2_000)])
