"""A network of real nodes: founded, joined and promoted as operators do it, killed and started as happens to them.

The first node founds the network and certifies the others; its operator's key is ours, and signs rosters and records.
Nodes are asked through their own sockets, which no cable cuts.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from links import Station
from running import END_S, Node, start

from waypost import SyncClient
from waypost.identity.keys import read_private_ed25519
from waypost.record import ROSTER, Place, Record, Roster, Stamp

PEERS_PORT = 8481
TIMEOUT = aiohttp.ClientTimeout(total=15.0)  # longer than a node tries on behalf of a client
SETTLE_S = 60.0
PAUSE_S = 0.1


@dataclass
class Daemon:
    """`node` is None while it is down.  `station` is where it runs, None: on the loopback."""

    number: int
    directory: Path
    peers: str  # where other nodes reach it
    station: Station | None
    settings: dict[str, object]
    node: Node | None = None
    name: str = ""  # in the network

    @property
    def enter(self) -> tuple[str, ...]:
        return self.station.enter if self.station else ()

    @property
    def files(self) -> Path:
        """The state directory as seen from here, where a disk of the station's own may be mounted over it."""
        return self.station.from_outside(self.directory) if self.station else self.directory

    def start(self) -> None:
        assert self.node is None
        self.node = start(self.directory, self.enter, peers__listen=self.peers, **self.settings)

    def kill(self) -> None:
        assert self.node is not None
        node, self.node = self.node, None
        node.kill()

    def stop(self) -> None:
        """Ended by SIGTERM, and it must end well."""
        assert self.node is not None
        node, self.node = self.node, None
        node.process.terminate()
        assert node.end() == 0

    def died(self, within_s: float = END_S) -> int:
        """It ends by itself; the exit code."""
        assert self.node is not None
        node, self.node = self.node, None
        node.process.wait(within_s)
        return node.end()

    def forget(self) -> None:
        """An empty disk, but for the keys."""
        assert self.node is None
        for path in self.files.glob("waypost.db*"):
            path.unlink()

    def session(self) -> aiohttp.ClientSession:
        """As its operator, by its own socket."""
        connector = aiohttp.UnixConnector(str(self.files / "waypost.sock"), limit=0)
        return aiohttp.ClientSession("http://localhost", connector=connector, timeout=TIMEOUT)

    def public(self) -> aiohttp.ClientSession:
        """As anybody, over TCP; what is in a station has no listener that we could reach, but its own socket."""
        if self.station is not None:
            return self.session()
        if self.node is None:
            raise ConnectionRefusedError(f"{self.name} is down")
        return aiohttp.ClientSession(self.node.http, timeout=TIMEOUT)

    async def ask(self, path: str) -> dict[str, Any]:
        async with self.session() as session, session.get(path) as answer:
            assert answer.status == 200, await answer.text()
            body: dict[str, Any] = await answer.json()
            return body

    async def versions(self) -> tuple[tuple[str, int, str], ...]:
        """Every key, its last version and value."""
        page = await self.ask("/v1/records?count=1000")
        records = [committed["record"] for committed in page["records"]]
        return tuple((record["key"], record["version"], record["value"]) for record in records)


@dataclass(frozen=True)
class Operator:
    """Holds every key of the tests."""

    key: Ed25519PrivateKey
    network: str

    @property
    def public(self) -> str:
        return self.key.public_key().public_bytes_raw().hex()

    def record(self, place: Place, version: int, prev: str, value: str, home: str, rng: Random) -> Record:
        record = Record(
            namespace=place[0],
            key=place[1],
            version=version,
            prev=prev,
            holder=self.public,
            home=home,
            value=value,
            author=self.public,
            hlc=Stamp(0, time.time_ns() // 1_000_000),
            txid=f"{rng.getrandbits(128):032x}",
            cites=(),
            signature="",
        )
        return record.signed(self.network, self.key.sign)


class Federation:
    """Its daemons, by number from 1; the first is the founder."""

    def __init__(self, directory: Path, stations: Sequence[Station] | int, **settings: object) -> None:
        self.directory = directory
        street = "127.{}.{}".format(*SystemRandom().randbytes(2))  # an address that nobody else on this machine uses
        places: Sequence[Station | None] = [None] * stations if isinstance(stations, int) else stations
        self.daemons = [
            Daemon(
                number,
                directory / str(number),
                f"{station.address if station else f'{street}.{number}'}:{PEERS_PORT}",
                station,
                dict(settings),
            )
            for number, station in enumerate(places, 1)
        ]
        self.operator: Operator

    def __getitem__(self, number: int) -> Daemon:
        return self.daemons[number - 1]

    async def found(self) -> None:
        """All of them run and vote."""
        first, *others = self.daemons
        prepared = await asyncio.to_thread(waypost, first.enter, "init", "--dir", str(first.directory))
        key = read_private_ed25519(prepared["operator_key"].encode())
        await asyncio.to_thread(first.start)
        peers = await first.ask("/v1/peers")
        first.name, self.operator = peers["name"], Operator(key, peers["network"])
        await all_of(*map(self.let_in, others))
        await self.promote({*self.names}, first)

    async def let_in(self, daemon: Daemon) -> None:
        """As another node, with keys of its own, that is to be in the roster."""
        founder, host = self[1], daemon.peers.rpartition(":")[0]
        name = daemon.name = daemon.name or f"node-{daemon.number}"
        with SyncClient(f"unix://{founder.files / 'waypost.sock'}") as client:
            token = client.create_token(name, roles=["peer"], join=True, hosts=[host]).token
        line = ("join", token, f"https://{founder.peers}", "--dir", str(daemon.directory), "--san", host)
        await asyncio.to_thread(waypost, daemon.enter, *line)
        await asyncio.to_thread(daemon.start)

    async def promote(self, names: set[str], at: Daemon) -> None:
        """Those vote from now on, each as the installation that it is now, and the others learn.

        The operator asks the node `at`, which votes.
        """

        async def all_there() -> bool:
            return names <= members(await at.ask("/v1/peers")).keys()

        await until(all_there, f"all that are to vote are known to {at.name}")
        rng = Random(time.time_ns())
        end = time.monotonic() + SETTLE_S
        while True:
            peers = await at.ask("/v1/peers")
            if {member["name"] for member in peers["roster"]["voters"]} == names and not peers["applicants"]:
                break
            standing = await at.ask("/v1/records/_network/roster?quorum=true")
            record = self.operator.record(
                ROSTER,
                standing["next"]["version"],
                standing["next"]["prev"],
                promoted(standing, peers, names),
                standing["record"]["home"],
                rng,
            )
            status, answer = await put(at, record)
            assert time.monotonic() < end, (status, answer)
        await self.until_voting(*(daemon for daemon in self.daemons if daemon.name in names))

    async def readmit(self, daemon: Daemon, at: Daemon) -> None:
        """A voter that came back with an empty disk votes again, as another installation."""

        async def applies() -> bool:
            applicants = (await at.ask("/v1/peers"))["applicants"]
            return daemon.name in {member["name"] for member in applicants}

        await until(applies, f"{daemon.name} has applied to {at.name}")
        await self.promote({*self.names}, at)

    async def until_voting(self, *daemons: Daemon) -> None:
        async def all_vote() -> bool:
            seen = await asyncio.gather(*(daemon.ask("/v1/peers") for daemon in daemons))
            return all(peers["is_voting"] for peers in seen)

        await until(all_vote, f"{[daemon.number for daemon in daemons]} vote")

    @property
    def names(self) -> list[str]:
        return [daemon.name for daemon in self.daemons]

    async def until_converged(self) -> None:
        """Every node has the same last version of every key, by whosever votes."""

        async def same() -> bool:
            return len({*await self.all_versions()}) == 1

        try:
            await until(same, "all nodes have the same")
        except AssertionError as error:
            error.add_note("\n".join(map(str, await self.all_versions())))
            raise

    async def until_whole(self) -> None:
        """No node lacks an older version of a key."""

        async def whole(daemon: Daemon) -> bool:
            async with daemon.session() as session, session.get("/metrics") as answer:
                return "\nwaypost_history_missing 0.0\n" in await answer.text()

        async def all_whole() -> bool:
            return all(await asyncio.gather(*map(whole, self.daemons)))

        await until(all_whole, "no node lacks an older version")

    async def all_versions(self) -> list[tuple[tuple[str, int, str], ...]]:
        return await asyncio.gather(*(daemon.versions() for daemon in self.daemons))

    def end(self) -> None:
        """Whatever the test has left."""
        for daemon in self.daemons:
            if daemon.node is not None:
                daemon.kill()


def members(peers: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By name; of an applicant, the installation that applies."""
    roster = peers["roster"]
    return {member["name"]: member for member in [*roster["voters"], *roster["learners"], *peers["applicants"]]}


def promoted(standing: dict[str, Any], peers: dict[str, Any], names: set[str]) -> str:
    """The next roster's text."""
    old = json.loads(standing["record"]["value"])
    known = members({"roster": old, "applicants": peers["applicants"]})
    document = {
        **old,
        "epoch": standing["next"]["version"],
        "voters": [member for name, member in known.items() if name in names],
        "learners": [member for name, member in known.items() if name not in names],
    }
    return msgspec.convert(document, Roster).encode().decode()


async def put(daemon: Daemon, record: Record) -> tuple[int, dict[str, Any]]:
    async with daemon.session() as session:
        return await put_over(session, record)


async def put_over(session: aiohttp.ClientSession, record: Record) -> tuple[int, dict[str, Any]]:
    """Status and body.  Raises aiohttp.ClientError and TimeoutError: then anything may have happened."""
    async with session.put(
        path_of(record.place), data=record.encode(), headers={"Content-Type": "application/json"}
    ) as answer:
        return answer.status, await answer.json(content_type=None)


def path_of(place: Place) -> str:
    return f"/v1/records/{place[0]}/{quote(place[1], safe='')}"


async def until(holds: Callable[[], Any], what: str, within_s: float = SETTLE_S) -> float:
    """How long it took, in seconds.  Who does not answer yet is asked again."""
    began = time.monotonic()
    while time.monotonic() < began + within_s:
        with suppress(aiohttp.ClientError, TimeoutError, FileNotFoundError):
            if await holds():
                return time.monotonic() - began
        await asyncio.sleep(PAUSE_S)
    raise AssertionError(f"not within {within_s} s: {what}")


def waypost(enter: tuple[str, ...], *line: str) -> Any:
    """What a verb writes as JSON."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
    command = [*enter, sys.executable, "-m", "waypost", *line, "-o", "json"]
    ended = subprocess.run(command, env=clean, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


async def all_of(*awaitables: Awaitable[object]) -> None:
    """Waits for every one of them, also where another fails: a node that is being started is ended by nobody else."""
    outcomes = await asyncio.gather(*awaitables, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


def empty(directory: Path) -> None:
    """Nothing is left, keys neither; a mounted disk stays mounted."""
    for path in directory.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
