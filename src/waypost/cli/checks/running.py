"""Whether a node runs in a state directory, and what it says of itself."""

import fcntl
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from waypost.api.schemas import NodeStatus
from waypost.cli.checks import fail, fine, skip, warn
from waypost.cli.node import Place
from waypost.cli.reports import Finding
from waypost.errors import RemoteError, UnreachableError
from waypost.storage.store import LOCK

ANSWER_S: Final = 5.0
FIGURE: Final = re.compile(r"^(waypost_\w+) (\S+)$", re.M)  # without labels
BUFFER: Final = re.compile(r"^waypost_udp_receive_buffer_bytes\{.*\} (\S+)$", re.M)  # in metrics


@dataclass(frozen=True, slots=True)
class Running:
    """`process` is 0 if nobody has locked the directory; `status` None if the node did not say, for `reason`.

    `receive_buffers` are the octets that its sockets for UDP have, `figures` its metrics that have no labels.
    """

    process: int = 0
    status: NodeStatus | None = None
    reason: str = ""
    receive_buffers: tuple[int, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def listeners(self) -> dict[str, str]:
        return self.status.listeners if self.status else {}


def find(directory: Path, at: Place) -> Running:
    """Ask it if a node has locked the directory."""
    process = holder(directory)
    if not process:
        return Running()
    try:
        with at.client(ANSWER_S) as node:
            status, metrics = node.status(), node.metrics()
    except (RemoteError, UnreachableError) as error:
        return Running(process, reason=str(error))
    figures = {name: float(value) for name, value in FIGURE.findall(metrics)}
    return Running(process, status, receive_buffers=_buffers(metrics), figures=figures)


def _buffers(metrics: str) -> tuple[int, ...]:
    return tuple(int(float(octets)) for octets in BUFFER.findall(metrics))


def holder(directory: Path) -> int:
    """The process that has locked the directory, 0 for nobody, -1 for one that is not known."""
    try:
        fd = os.open(directory / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return 0
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdecimal() and int(text) > 0 else -1
    finally:
        os.close(fd)
    return 0


def check_node(running: Running) -> list[Finding]:
    if not running.process:
        return [skip("node", "no node runs in this directory; what a running one would say is left out")]
    who = f"process {running.process}" if running.process > 0 else "a process that is not known"
    if running.status is None:
        hint = "say where it is with --url"
        return [warn("node", f"a node runs here ({who}), and did not say how it is: {running.reason}", hint)]
    if not running.status.ready:
        wrong = ", ".join(name for name, good in running.status.checks.items() if not good)
        return [fail("node", f"the node ({who}) is not ready: {wrong or 'it does not say why'}")]
    if running.status.last_error:
        return [warn("node", f"the node ({who}) is ready; the last it warned of: {running.status.last_error}")]
    return [fine("node", f"the node ({who}) is ready")]
