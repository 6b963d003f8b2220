"""The second act of the demonstration: four more nodes join the first, vote, are cut off and come together again.

Each node speaks from a loopback address of its own, and what it says to the others goes through cables that can be cut.
People use the verbs, as you would.
"""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from waypost.api.sync import SyncClient
from waypost.api.voted import Claimed, Peers, Standing
from waypost.cli.cables import Cables
from waypost.cli.ending import Exit
from waypost.cli.process import NodeProcess, Ran, waypost
from waypost.cli.reports import Error, Verified
from waypost.runtime.addresses import listen_address

SIZE: Final = 5
MINORITY: Final = (4, 5)
PATIENCE_S: Final = 30.0
LOOK_EVERY_S: Final = 0.1
KEY_RANGE: Final = "names/"


class Street:
    """Nodes by number, from 1; `node()` is the founder."""

    def __init__(self, folder: Path, cables: Cables, coap: str, http: str) -> None:
        self._folder = folder
        self._cables = cables
        self._coap, self._http = coap, http
        self.nodes: dict[int, NodeProcess] = {}

    @property
    def first(self) -> NodeProcess:
        return self.nodes[1]

    @property
    def operator(self) -> str:
        """The file with the operator's key."""
        return str(self._folder / "operator.pem")

    def person(self, name: str) -> str:
        """The file with somebody's key."""
        return str(self._folder / f"{name}.pem")

    async def found(self) -> None:
        """The first node, as `waypost init` and `waypost run` make it."""
        made = json.loads((await waypost("init", "--dir", str(self._folder / "1" / "state"), "-o", "json")).out)
        _write_key(Path(self.operator), made["operator_key"])
        await self._start(1, self._coap, self._http)

    async def join(self) -> float:
        """The others, with tokens of the first; all of them vote then.  How many seconds it took."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as together:
            for number in range(2, SIZE + 1):
                together.create_task(self._join(number))
        names = {self.nodes[number].name for number in range(2, SIZE + 1)}
        await self.until(1, lambda network: names <= {*network.roster.nodes})
        await self.run("peers", "promote", *sorted(names), "--key", self.operator)
        for number in self.nodes:
            await self.until(number, lambda network: network.is_voting and len(network.roster.voters) == SIZE)
        return time.monotonic() - began

    async def introduce(self, *people: str) -> None:
        """Let them claim names."""
        for person in people:
            public = _make_key(Path(self.person(person)))
            await self.run("peers", "allow", KEY_RANGE, public, "--key", self.operator)

    async def run(self, *arguments: str, at: int = 1) -> Any:
        """A verb that has to succeed, and its JSON."""
        ran = await self.try_(*arguments, at=at)
        if ran.code:
            raise AssertionError(f"waypost {' '.join(arguments)} failed: {ran.error}")
        return json.loads(ran.out)

    async def try_(self, *arguments: str, at: int) -> Ran:
        return await waypost(*arguments, "--url", self.nodes[at].local, "-o", "json")

    async def until(self, at: int, holds: Callable[[Peers], bool]) -> None:
        """What a node sees of the network is as it should be, before long."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds(await asyncio.to_thread(self._network, at)):
            if time.monotonic() > deadline:
                raise AssertionError(f"node {at} does not see the network as it should be")
            await asyncio.sleep(LOOK_EVERY_S)

    async def claim(
        self, person: str, key: str, value: str, *, at: int, new: bool = False, queue: bool = False
    ) -> Claimed:
        """`new`: nobody is to have it yet; `queue`: it may wait there for a quorum."""
        more = ("--if-version", "0") * new + ("--queue",) * queue
        ran = await self._claim(person, key, value, at, *more)
        try:
            return msgspec.json.decode(ran.out, type=Claimed)
        except msgspec.DecodeError as error:
            raise AssertionError(f"{person} could not claim {key}: {ran.error}") from error

    async def refusal(self, person: str, key: str, value: str, *, at: int) -> str:
        """Why a node that cannot know what is voted on takes no claim."""
        ran = await self._claim(person, key, value, at)
        if ran.code != Exit.UNREACHABLE or not ran.error:
            raise AssertionError(f"a claim without a quorum ended with {ran.code}: {ran.out}{ran.error}")
        return msgspec.json.decode(ran.error, type=Error).error

    async def signers(self, key: str, *, at: int) -> tuple[str, ...]:
        certificate = (await self._standing(key, at)).certificate
        return tuple(mark.voter for mark in certificate.marks) if certificate else ()

    async def version(self, key: str, *, at: int) -> int:
        """As the node knows it, without asking the others."""
        return (await self._standing(key, at)).record.version

    async def agreed(self, key: str, version: int) -> float:
        """Seconds until all know a version."""
        began = time.monotonic()
        for number in self.nodes:
            while await self.version(key, at=number) != version:
                if time.monotonic() - began > PATIENCE_S:
                    raise AssertionError(f"node {number} does not hear of version {version} of {key}")
                await asyncio.sleep(LOOK_EVERY_S)
        return time.monotonic() - began

    async def prove(self, key: str, *, at: int, judge: int) -> Verified:
        """A file that proves it, checked by a policy that another node gave, and by nobody else."""
        file, policy = self.file(f"{key}.proof"), self.file("tlog-policy")
        await self._introduced(judge)
        policy.write_text((await self.run("log", "policy", at=judge))["text"])
        await self.run("prove", KEY_RANGE + key, str(file), at=at)
        ran = await waypost("verify", str(file), "--policy", str(policy), "-o", "json")
        if ran.code:
            raise AssertionError(f"a proof does not hold: {ran.error}")
        return msgspec.json.decode(ran.out, type=Verified)

    async def damaged(self, key: str) -> str:
        """Why a proof with a letter changed does not hold."""
        text = self.file(f"{key}.proof").read_text()
        middle = text.index("\nindex ") // 2  # of the record, in base64
        changed = self.file(f"{key}.damaged")
        changed.write_text(f"{text[:middle]}{'A' if text[middle] != 'A' else 'B'}{text[middle + 1 :]}")
        ran = await waypost("verify", str(changed), "--policy", str(self.file("tlog-policy")), "-o", "json")
        if ran.code != Exit.PROOF_FAILED:
            raise AssertionError(f"a damaged proof ended with {ran.code}: {ran.out}{ran.error}")
        return msgspec.json.decode(ran.error, type=Error).error

    def file(self, name: str) -> Path:
        return self._folder / name

    async def devices(self, at: int, count: int) -> int:
        """Registered, as a node knows them: so many, before long."""
        deadline = time.monotonic() + PATIENCE_S
        while (known := await asyncio.to_thread(self._devices, at)) != count:
            if time.monotonic() > deadline:
                raise AssertionError(f"node {at} knows {known} devices of {count}")
            await asyncio.sleep(LOOK_EVERY_S)
        return known

    def cut_off(self, *numbers: int) -> None:
        self._cables.cut_off([_host(number) for number in numbers])

    async def stop(self) -> None:
        await asyncio.gather(*(node.stop() for node in self.nodes.values()))

    async def _introduced(self, at: int) -> None:
        """The node knows the logs of all others, before long."""
        deadline = time.monotonic() + PATIENCE_S
        while len((await self.run("log", at=at))["links"]) < SIZE - 1:
            if time.monotonic() > deadline:
                raise AssertionError(f"node {at} does not know the logs of the others")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _claim(self, person: str, key: str, value: str, at: int, *more: str) -> Ran:
        key_file = self.person(person)
        return await self.try_("claim", KEY_RANGE + key, value, "--key", key_file, "--deadline", "8", *more, at=at)

    async def _standing(self, key: str, at: int) -> Standing:
        def read() -> Standing:
            with SyncClient(self.nodes[at].local) as client:
                return client.record(KEY_RANGE.rstrip("/"), key)

        return await asyncio.to_thread(read)

    def _devices(self, at: int) -> int:
        with SyncClient(self.nodes[at].local) as client:
            return sum(1 for _ in client.find("endpoints"))

    def _network(self, at: int) -> Peers:
        with SyncClient(self.nodes[at].local) as client:
            return client.peers()

    async def _join(self, number: int) -> None:
        name = f"node-{number}"
        given = await self.run("token", "create", name, "--join", "--role", "peer")
        state = str(self._folder / str(number) / "state")
        ran = await waypost("join", given["token"], f"https://{self.first.peers}", "--dir", state)
        if ran.code:
            raise AssertionError(f"{name} could not join: {ran.error}")
        await self._start(number, "", f"{_host(1)}:0")

    async def _start(self, number: int, coap: str, http: str) -> None:
        folder = self._folder / str(number)
        folder.mkdir(exist_ok=True)
        ours = await self._cables.lay(_host(number))
        node = NodeProcess(
            folder,
            coap,
            http,
            f"{_host(number)}:0",
            {"peers-url": f"https://{ours[0]}:{ours[1]}", "rd-carrier": "mesh", "ledger-round-s": "1"},
        )
        self.nodes[number] = node
        await node.start()
        there = listen_address(node.peers)
        self._cables.lead(ours, (there.host, there.port))


def _host(number: int) -> str:
    return f"127.0.0.{number}"


def _make_key(path: Path) -> str:
    """A holder's; its public half."""
    from waypost.identity.keys import make_ed25519, write_private

    key = make_ed25519()
    _write_key(path, write_private(key).decode())
    return key.public_key().public_bytes_raw().hex()


def _write_key(path: Path, pem: str) -> None:
    path.touch(mode=0o600)
    path.write_text(pem)
