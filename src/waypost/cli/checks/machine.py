"""The machine under a node: its clock, its limits, and how long a start takes.

Times are integer milliseconds since 1970, durations in seconds.

Source: adjtimex(2), systemd-timesyncd.service(8), getrlimit(2), socket(7).
"""

import ctypes
import re
import resource
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from waypost.cli.checks import fail, fine, skip, warn
from waypost.cli.checks.running import Running
from waypost.cli.reports import Finding
from waypost.runtime import local
from waypost.storage.store import LOCK

BUILT_MS: Final = 1_767_225_600_000  # 2026-01-01: no clock that is right says less to this version
FUTURE_S: Final = 60.0  # by which a file may be ahead of the clock
STEP_S: Final = 10.0  # by which the clock may have gone another way than the node's own count
READY_S: Final = 30.0  # a third of what systemd waits for
FILES_LEAST: Final = 256
FILES_WANTED: Final = 2_048  # 512 connections each of HTTP, CoAP over TCP and over TLS, and the database
RMEM_WANTED: Final = 4 << 20  # octets; runtime/udp.py asks for as many

SYNCHRONIZED: Final = Path("/run/systemd/timesync/synchronized")
RMEM_MAX: Final = Path("/proc/sys/net/core/rmem_max")
TIME_ERROR: Final = 5  # linux/timex.h: the clock is not synchronized
TIMEX_SIZE: Final = 256  # octets; the struct has 208


def check_clock(directory: Path, wall_ms: int) -> list[Finding]:
    """Against the version's age and the times of what the node wrote last."""
    if wall_ms < BUILT_MS:
        return [fail("clock", "the clock says a time before this version of waypost was made", "set the clock")]
    latest_s, path = max(_written(directory), default=(0.0, directory))
    ahead_s = latest_s - wall_ms / 1000
    if ahead_s > FUTURE_S:
        sentence = f"{path} was written {_duration(ahead_s)} in the future: the clock has been set back, or is wrong"
        return [fail("clock", sentence, "set the clock, and keep it right: NTP")]
    return [fine("clock", "the clock is past all that the node has written")]


def _written(directory: Path) -> Iterable[tuple[float, Path]]:
    for pattern in ("waypost.*", "keys/*"):
        for path in directory.glob(pattern):
            try:
                yield path.stat().st_mtime, path
            except FileNotFoundError:
                continue


def check_steps(directory: Path, running: Running, wall_ms: int) -> list[Finding]:
    """Whether the clock was set while the node ran: the lock has the moment of its start, the node counts by itself."""
    if running.status is None:
        return [skip("clock steps", "no node runs that could have counted along")]
    started_s = (directory / LOCK).stat().st_mtime
    step_s = wall_ms / 1000 - started_s - running.status.uptime_s
    if abs(step_s) > STEP_S:
        way = "ahead" if step_s > 0 else "back"
        sentence = f"since the node started the clock was set {_duration(abs(step_s))} {way}, or the machine slept"
        return [warn("clock steps", sentence, "let NTP slew the clock")]
    return [fine("clock steps", "the clock has not been set since the node started")]


def check_synchronized(ask: Callable[[], int | None] | None = None, stamp: Path = SYNCHRONIZED) -> list[Finding]:
    """Whether something keeps the clock right, as far as the system tells; `ask` gives adjtimex's answer."""
    if stamp.exists():
        return [fine("clock sync", "systemd-timesyncd keeps the clock right")]
    state = (ask or _adjtimex)()
    if state is None:
        return [skip("clock sync", "this system does not tell whether its clock is kept right")]
    if state == TIME_ERROR:
        sentence = "the kernel knows of nothing that keeps the clock right"
        return [warn("clock sync", sentence, "run an NTP client here; of a container, on its host")]
    return [fine("clock sync", "the kernel says that the clock is kept right")]


def _adjtimex() -> int | None:
    """The clock's state; nothing is set, for the modes are zero."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_SIZE))
    except (OSError, AttributeError):
        return None
    return int(state) if state >= 0 else None


def check_loop(running: Running) -> list[Finding]:
    """On which event loop the running node is."""
    if running.status is None or not running.status.loop:
        return [skip("loop", "no node runs of which it could be seen on which event loop")]
    if running.status.loop == "asyncio":
        return [
            fine("loop", "the node runs on asyncio; uvloop takes less of the processor: pip install 'waypost[fast]'")
        ]
    return [fine("loop", f"the node runs on {running.status.loop}")]


def check_files(running: Running, limits: Path | None = None) -> list[Finding]:
    """How many files the node, or what is started from here, may have open."""
    whose, most = "a node started from here", resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    table = limits or Path(f"/proc/{running.process}/limits")
    if limits or running.process > 0:
        try:
            found = re.search(r"^Max open files +(\d+|unlimited)", table.read_text(), re.M)
        except OSError:
            found = None
        if found is not None:
            whose, most = "the node", -1 if found[1] == "unlimited" else int(found[1])
    sentence = f"{whose} may have {'any number of' if most == -1 else most} files open"
    if most != -1 and most < FILES_LEAST:
        return [fail("open files", sentence, f"ulimit -n {FILES_WANTED}, or LimitNOFILE= of its unit")]
    if most != -1 and most < FILES_WANTED:
        hint = f"ulimit -n {FILES_WANTED}, or LimitNOFILE= of its unit: each connection is one"
        return [warn("open files", sentence, hint)]
    return [fine("open files", sentence)]


def check_receive_buffer(running: Running, rmem_max: Path = RMEM_MAX) -> list[Finding]:
    """What the running node got, else what the system would give."""
    had = running.receive_buffers
    try:
        octets = min(had) if had else int(rmem_max.read_text())
    except OSError:
        return [skip("receive buffer", "this system does not tell how large a socket's buffer may be")]
    sentence = f"{octets >> 10} KiB for datagrams that wait"
    if octets < RMEM_WANTED:
        return [warn("receive buffer", f"{sentence}: a burst may be lost", f"sysctl net.core.rmem_max={RMEM_WANTED}")]
    return [fine("receive buffer", sentence)]


def check_start(directory: Path, running: Running) -> list[Finding]:
    """How long the running node took until it listened: its socket is younger than its lock by as much."""
    path = directory / local.NAME
    if not running.process or not path.exists():
        return [skip("start", "no node runs of which it could be seen how long it took")]
    took_s = max(0.0, path.stat().st_ctime - (directory / LOCK).stat().st_mtime)
    sentence = f"the node listened {took_s:.1f} s after its start"
    if took_s > READY_S:
        return [warn("start", sentence, "let systemd wait for it: TimeoutStartSec=")]
    return [fine("start", sentence)]


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7_200 else _hours(seconds)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
