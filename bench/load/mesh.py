"""Five voters on loopback as their operators run them, and clients that claim records of theirs."""

import asyncio
import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from load.closed import Job
from load.servers import HOST, UNLIMITED, process
from load.web import Web
from waypost.identity.keys import read_private
from waypost.record import ROSTER, Record, Roster, Stamp
from waypost.record.wire import encode

VOTERS: Final = 5
READY_S: Final = 60.0
NAMESPACE: Final = "bench"
PAUSE_S: Final = 0.1
REQUESTS: Final = b"\nwaypost_peers_requests_total "


@dataclass(frozen=True)
class Voter:
    name: str
    pid: int
    directory: Path
    listeners: dict[str, str]

    @property
    def http(self) -> int:
        return port_of(self.listeners["http"])

    @property
    def peers(self) -> int:
        return port_of(self.listeners["peers"])

    def tls(self) -> ssl.SSLContext:
        """What it shows to other nodes, and asks of them."""
        keys = self.directory / "keys"
        context = ssl.create_default_context(cafile=str(keys / "ca.crt"))
        context.load_cert_chain(keys / "tls.crt", keys / "tls.pem")
        return context


class Mesh:
    """`operator` is the file of the key that may make any record."""

    def __init__(self, voters: tuple[Voter, ...], operator: Path) -> None:
        self.voters = voters
        self.pids = tuple(voter.pid for voter in voters)
        key = read_private(operator.read_bytes())
        assert isinstance(key, Ed25519PrivateKey)
        self.sign = key.sign
        self.public = key.public_key().public_bytes_raw().hex()

    async def shown(self, voter: Voter | None = None) -> dict[str, Any]:
        """What one of them says of the network; the first, unless told."""
        web = await Web.connect((voter or self.voters[0]).http)
        peers: dict[str, Any] = await web.get("/v1/peers")
        web.close()
        return peers

    async def requests(self) -> int:
        """How many they have made to each other."""
        count = 0
        for voter in self.voters:
            web = await Web.connect(voter.http)
            _, figures = await web.ask("GET", "/metrics")
            count += int(float(figures.partition(REQUESTS)[2].split()[0]))
            web.close()
        return count

    async def ready(self) -> None:
        """Have all of them vote, and wait until they do."""
        async with asyncio.timeout(READY_S):
            while len((await self.shown())["roster"]["learners"]) < len(self.voters) - 1:
                await asyncio.sleep(PAUSE_S)
            await self._promote()
            for voter in self.voters:
                while not _is_there(await self.shown(voter)):
                    await asyncio.sleep(PAUSE_S)

    async def _promote(self) -> None:
        """Every learner votes, by the operator's word."""
        shown = await self.shown()
        old, before = msgspec.convert((shown["roster"], shown["committed"]["record"]), tuple[Roster, Record])
        new = Roster(old.epoch + 1, old.voters + old.learners, (), old.policy)
        prev = before.hash(shown["network"])
        unsigned = msgspec.structs.replace(
            before,
            version=new.epoch,
            prev=prev,
            value=new.encode().decode(),
            author=self.public,
            txid=txid(),
            hlc=now(),
        )
        web = await Web.connect(self.voters[0].http)
        await web.put(f"/v1/records/{'/'.join(ROSTER)}", unsigned.signed(shown["network"], self.sign))
        web.close()


def _is_there(shown: dict[str, Any]) -> bool:
    """It votes, and has heard a quorum of the others."""
    return bool(shown["is_voting"]) and shown["age_s"] is not None


class Claims:
    """One client's key, brought to its next version again and again over one connection."""

    def __init__(self, mesh: Mesh, network: str, web: Web, key: str, home: str, value: str) -> None:
        self._mesh, self._network, self._web = mesh, network, web
        self._path = f"/v1/records/{NAMESPACE}/{quote(key, safe='')}"
        self._last: Record | None = None
        self._first = Record(
            namespace=NAMESPACE,
            key=key,
            version=1,
            prev="",
            holder=mesh.public,
            home=home,
            value=value,
            author=mesh.public,
            hlc=Stamp(0, 0),
            txid="",
            cites=(),
            signature="",
        )

    async def put(self) -> None:
        record, body = self._next(), b""
        while b'"committed"' not in body:  # to send the same record again is safe
            status, body = await self._web.ask("PUT", self._path, encode(record))
            if status not in (200, 202):
                raise RuntimeError(f"{self._path} was answered with {status}: {body[:500].decode(errors='replace')}")
        self._last = record

    def _next(self) -> Record:
        last = self._last
        version, prev = (last.version + 1, last.hash(self._network)) if last else (1, "")
        stamp = Stamp(0, time.time_ns() // 1_000_000)
        unsigned = msgspec.structs.replace(
            self._first, version=version, prev=prev, hlc=stamp, txid=os.urandom(16).hex()
        )
        return unsigned.signed(self._network, self._mesh.sign)


def now() -> Stamp:
    return Stamp(0, time.time_ns() // 1_000_000)


def txid() -> str:
    return os.urandom(16).hex()


async def jobs(mesh: Mesh, count: int, prefix: str, value: str, *, at_home: bool) -> list[Job]:
    """So many clients, each with a key of its own; the keys' homes are spread over the voters.

    At home each client asks the home of its key, else all ask the first voter.
    """
    shown = await mesh.shown()
    network, by_name = shown["network"], {voter.name: voter for voter in mesh.voters}
    roster = msgspec.convert(shown["roster"], Roster)
    made: list[Job] = []
    for number in range(count):
        home = mesh.voters[number % len(mesh.voters)].name
        key = next(key for key in keys(prefix, number) if roster.home((NAMESPACE, key)) == home)
        entry = by_name[home] if at_home else mesh.voters[0]
        made.append(Claims(mesh, network, await Web.connect(entry.http), key, home, value).put)
    return made


def keys(prefix: str, number: int) -> Iterator[str]:
    return (f"{prefix}-{number}-{attempt}" for attempt in range(10_000))


@contextmanager
def mesh(folder: Path) -> Iterator[Mesh]:
    """The first founds the network and four join it; ready() has them vote."""
    directories = [folder / f"voter{number}" for number in range(1, VOTERS + 1)]
    prepared = told("init", directories[0])
    operator = folder / "operator.pem"
    operator.write_text(prepared["operator_key"])
    operator.chmod(0o600)
    with ExitStack() as stack:
        voters = [started(stack, directories[0], prepared["key"])]
        for number, directory in enumerate(directories[1:], 2):
            token = told("token", directories[0], "create", f"voter{number}", "--role", "peer", "--join")["token"]
            joined = told("join", directory, token, f"https://{HOST}:{voters[0].peers}")
            voters.append(started(stack, directory, joined["name"]))
        yield Mesh(tuple(voters), operator)


def started(stack: ExitStack, directory: Path, name: str) -> Voter:
    settings = {f"WAYPOST_{protocol}_LISTEN": f"{HOST}:0" for protocol in ("COAP", "COAPS", "HTTP", "PEERS")}
    settings |= {f"WAYPOST_RD_REGISTRATIONS_{name}": UNLIMITED for name in ("PER_SOURCE", "PER_SECOND", "BURST")}
    settings |= {"WAYPOST_DIR": str(directory), "WAYPOST_LOG_LEVEL": "warning", "WAYPOST_LOG_FORMAT": "json"}
    settings["WAYPOST_RD_CARRIER"] = "mesh"
    node = stack.enter_context(process([sys.executable, "-m", "waypost", "run"], settings, stdout=subprocess.PIPE))
    assert node.stdout is not None
    line = node.stdout.readline()
    if not line:
        raise SystemExit(f"waypost run ended with {node.wait()}")
    return Voter(name, node.pid, directory, json.loads(line)["listeners"])


def told(verb: str, directory: Path, *line: str) -> dict[str, Any]:
    """What a verb writes as JSON."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
    command = [sys.executable, "-m", "waypost", verb, *line, "-o", "json"]
    settings = {"WAYPOST_DIR": str(directory)}
    done = subprocess.run(command, env=environment | settings, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"waypost {verb}: {done.stderr.strip()}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def port_of(listener: str) -> int:
    return int(listener.rpartition(":")[2])
