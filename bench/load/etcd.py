"""etcd's cluster of three on loopback, each member with its data on the disk of the checkout, synced as it comes.

Keys are put by compare-and-set on the version that the client had last, over etcd's own HTTP gateway: the bench has one
kind of client for all.  Clients that speak gRPC get more from it.
"""

import asyncio
import shutil
import socket
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from load.closed import Job
from load.servers import HOST, process
from load.web import Web

MEMBERS: Final = 3
READY_S: Final = 20.0


@dataclass(frozen=True)
class Etcd:
    version: str
    pids: tuple[int, ...]
    ports: tuple[int, ...]

    async def leader(self) -> int:
        """Its port."""
        for port in self.ports:
            web = await Web.connect(port)
            status = await web.post("/v3/maintenance/status", {})
            web.close()
            if status["leader"] == status["header"]["member_id"]:
                return port
        raise SystemExit("etcd has no leader")

    async def ready(self) -> None:
        """Wait until a key can be put."""
        async with asyncio.timeout(READY_S):
            while True:
                try:
                    for port in self.ports:
                        web = await Web.connect(port)
                        status = await web.post("/v3/maintenance/status", {})
                        web.close()
                        if "leader" not in status:
                            break
                    else:
                        return
                except (OSError, asyncio.IncompleteReadError):
                    pass
                await asyncio.sleep(0.1)


class Updates:
    """One client's key, put again and again over one connection."""

    def __init__(self, web: Web, key: str, value: str) -> None:
        self._web = web
        self._key, self._value = b64encode(key.encode()).decode(), b64encode(value.encode()).decode()
        self._revision = "0"  # of a key that is not there

    async def put(self) -> None:
        compare = {"key": self._key, "target": "MOD", "result": "EQUAL", "mod_revision": self._revision}
        put = {"request_put": {"key": self._key, "value": self._value}}
        answer = await self._web.post("/v3/kv/txn", {"compare": [compare], "success": [put]})
        if not answer.get("succeeded"):
            raise SystemExit(f"etcd did not take an update: {answer}")
        self._revision = answer["header"]["revision"]


async def jobs(ports: list[int], prefix: str, value: str) -> list[Job]:
    """A client for each of `ports`, with a key of its own."""
    return [Updates(await Web.connect(port), f"{prefix}/{number}", value).put for number, port in enumerate(ports)]


@contextmanager
def etcd(folder: Path) -> Iterator[Etcd | None]:
    """None where it is not installed."""
    program = shutil.which("etcd")
    if program is None:
        yield None
        return
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    ports = free_ports(2 * MEMBERS)
    clients, peers = ports[:MEMBERS], ports[MEMBERS:]
    everybody = ",".join(f"m{number}=http://{HOST}:{port}" for number, port in enumerate(peers))
    with ExitStack() as stack:
        pids = []
        for number, (client, peer) in enumerate(zip(clients, peers, strict=True)):
            settings = {
                "ETCD_NAME": f"m{number}",
                "ETCD_DATA_DIR": str(folder / f"etcd{number}"),
                "ETCD_LISTEN_CLIENT_URLS": f"http://{HOST}:{client}",
                "ETCD_ADVERTISE_CLIENT_URLS": f"http://{HOST}:{client}",
                "ETCD_LISTEN_PEER_URLS": f"http://{HOST}:{peer}",
                "ETCD_INITIAL_ADVERTISE_PEER_URLS": f"http://{HOST}:{peer}",
                "ETCD_INITIAL_CLUSTER": everybody,
                "ETCD_LOGGER": "zap",
                "ETCD_LOG_LEVEL": "error",
            }
            pids.append(stack.enter_context(process([program], settings, stderr=subprocess.DEVNULL)).pid)
        yield Etcd(told.split()[2], tuple(pids), tuple(clients))


def free_ports(count: int) -> list[int]:
    """TCP ports that were free just now, no two alike."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]
