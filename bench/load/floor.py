"""What a commit cannot do without: an fdatasync, and a round trip to another process."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from load.closed import share

OCTETS: Final = 512
PAGE: Final = 4096
ECHO: Final = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
connection = listener.accept()[0]
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
while data := connection.recv(65536):
    connection.sendall(data)
"""


def syncs_ms(folder: Path, count: int) -> list[float]:
    """Milliseconds of each fdatasync after a page of a log whose place on the disk is there already."""
    times = []
    with (folder / "log").open("wb", buffering=0) as file:
        file.write(bytes(count * PAGE))
        os.fsync(file.fileno())
        file.seek(0)
        for _ in range(count):
            file.write(bytes(PAGE))
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(1000 * (time.perf_counter() - started))
    return times


def round_trips_ms(count: int) -> list[float]:
    """Milliseconds of each question and answer over TCP on loopback, with a process that only echoes."""
    times = []
    with subprocess.Popen([sys.executable, "-S", "-c", ECHO], stdout=subprocess.PIPE, text=True) as echo:
        assert echo.stdout is not None
        with socket.create_connection(("127.0.0.1", int(echo.stdout.readline()))) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(count):
                started = time.perf_counter()
                connection.sendall(bytes(OCTETS))
                got = 0
                while got < OCTETS:
                    got += len(connection.recv(OCTETS))
                times.append(1000 * (time.perf_counter() - started))
    return times


def floor(folder: Path, count: int) -> dict[str, float]:
    """Medians and 99th of a hundred, in milliseconds."""
    syncs, trips = syncs_ms(folder, count), round_trips_ms(count)
    return {
        "sync_p50_ms": share(syncs, 0.5),
        "sync_p99_ms": share(syncs, 0.99),
        "trip_p50_ms": share(trips, 0.5),
        "trip_p99_ms": share(trips, 0.99),
    }
