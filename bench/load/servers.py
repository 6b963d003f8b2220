"""The servers that are measured, each a process of its own on loopback."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from load.generator import CACHE

HOST = "127.0.0.1"
START_S = 15.0
STOP_S = 60.0  # a million registrations take a while to be let go
UNLIMITED = "1000000000"
LOOP = "WAYPOST_LOOP"  # says on which event loop our nodes are measured; the page tells


@dataclass(frozen=True)
class Server:
    """`register`, `endpoints` and `resources` are Uri-Path segments; empty where it has no such thing."""

    name: str
    pid: int
    port: int
    register: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    start_s: float = 0.0  # from its command to its ready line

    def rss(self) -> int:
        """Resident octets."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


@contextmanager
def state_directory() -> Iterator[Path]:
    """On the disk of the checkout: a directory for temporary files is often in memory."""
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="bench-") as name:
        yield Path(name)


@contextmanager
def waypost(directory: Path) -> Iterator[Server]:
    """Our node with its real store; only the quota of one source is lifted, since all load has one."""
    settings = {
        "WAYPOST_DIR": str(directory),
        "WAYPOST_COAP_LISTEN": f"{HOST}:0",
        "WAYPOST_COAPS_LISTEN": f"{HOST}:0",
        "WAYPOST_HTTP_LISTEN": f"{HOST}:0",
        "WAYPOST_PEERS_LISTEN": f"{HOST}:0",
        "WAYPOST_RD_REGISTRATIONS_PER_SOURCE": UNLIMITED,
        "WAYPOST_RD_REGISTRATIONS_PER_SECOND": UNLIMITED,
        "WAYPOST_RD_REGISTRATIONS_BURST": UNLIMITED,
        "WAYPOST_LOG_LEVEL": "warning",
        "WAYPOST_LOG_FORMAT": "json",  # no banner
    }
    started = time.monotonic()
    with process([sys.executable, "-m", "waypost", "run"], settings, stdout=subprocess.PIPE) as node:
        assert node.stdout is not None
        line = node.stdout.readline()
        if not line:
            raise SystemExit(f"waypost run ended with {node.wait()}")
        start_s = time.monotonic() - started
        port = int(json.loads(line)["listeners"]["coap"].rpartition(":")[2])
        yield Server("waypost", node.pid, port, ("rd",), ("rd-lookup", "ep"), ("rd-lookup", "res"), start_s)


@contextmanager
def aiocoap_rd() -> Iterator[Server | None]:
    """The resource directory of aiocoap; None where it is not installed."""
    program = shutil.which("aiocoap-rd", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if program is None:
        yield None
        return
    port = free_port()
    with process([program, "--bind", f"{HOST}:{port}"], {}, stderr=subprocess.DEVNULL) as server:
        wait_until_it_answers(port)
        # Its paths end in a slash: the last segment is empty.
        paths = (("resourcedirectory", ""), ("endpoint-lookup", ""), ("resource-lookup", ""))
        yield Server("aiocoap-rd", server.pid, port, *paths)


@contextmanager
def libcoap() -> Iterator[Server | None]:
    """libcoap's example server, which has no directory: its GET /time is what a small answer costs in C."""
    program = shutil.which("coap-server-notls")
    if program is None:
        yield None
        return
    port = free_port()
    with process([program, "-A", HOST, "-p", str(port), "-v", "3"], {}, stderr=subprocess.DEVNULL) as server:
        wait_until_it_answers(port)
        yield Server("libcoap", server.pid, port)


@contextmanager
def process(
    command: list[str], settings: dict[str, str], stdout: int = subprocess.DEVNULL, stderr: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if name == LOOP or not name.startswith("WAYPOST_")}
    with subprocess.Popen(command, env=environment | settings, stdout=stdout, stderr=stderr, text=True) as child:
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()


def free_port() -> int:
    """Free just now; the peers cannot be told to take any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_it_answers(port: int) -> None:
    """A CoAP ping is an empty confirmable message; the answer is a reset (RFC 7252, 4.3)."""
    deadline = time.monotonic() + START_S
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((HOST, port))
        probe.settimeout(0.1)
        while time.monotonic() < deadline:
            try:
                probe.send(b"\x40\x00\x00\x01")
                if probe.recv(64)[:2] == b"\x70\x00":
                    return
            except ConnectionRefusedError:
                time.sleep(0.05)
            except TimeoutError:
                continue
    raise SystemExit(f"nothing answers on port {port}")
