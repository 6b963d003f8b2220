"""A node as its operator runs it: a process of its own, on loopback, found by its ready line."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
END_S = 20.0


@dataclass(frozen=True)
class Node:
    process: subprocess.Popen[str]
    port: int  # CoAP, UDP unless over() says otherwise
    http: str  # http://127.0.0.1:…
    listeners: dict[str, str]
    scheme: str = "coap"

    @property
    def coap(self) -> str:
        return f"{self.scheme}://{HOST}:{self.port}"

    def over(self, scheme: str) -> "Node":
        """The same, as clients see it that use coap+tcp or coap+ws."""
        return replace(self, scheme=scheme, port=port_of(self.listeners[scheme]))

    def kill(self) -> None:
        """As by `kill -9`: nothing is said to it first."""
        self.process.kill()
        self.end()

    def end(self) -> int:
        """Wait for the end; the exit code."""
        assert self.process.stdout is not None
        with self.process.stdout:
            try:
                return self.process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise


def start(directory: Path, enter: tuple[str, ...] = (), /, **settings: object) -> Node:
    """`settings` go by key, a section and a name joined by two underscores: rd__grace_s=3.

    `enter` goes before the command.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
    environment |= {"WAYPOST_DIR": str(directory), "WAYPOST_LOG_LEVEL": "warning", "WAYPOST_LOG_FORMAT": "json"}
    environment |= {f"WAYPOST_{name}_LISTEN": f"{HOST}:0" for name in ("COAP", "COAPS", "HTTP", "PEERS")}
    environment |= {"WAYPOST_" + key.replace("__", "_").upper(): str(value) for key, value in settings.items()}
    command = [*enter, sys.executable, "-m", "waypost", "run"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"the node ended with {process.wait()} before it was ready"
    ready: dict[str, Any] = json.loads(line)
    assert ready["ready"] is True
    listeners: dict[str, str] = ready["listeners"]
    http = listeners["http"].removeprefix("http://").rstrip("/")
    return Node(process, port_of(listeners["coap"]), f"http://{http}", listeners)


def port_of(listener: str) -> int:
    return int(listener.rpartition(":")[2])


@contextmanager
def running(directory: Path, enter: tuple[str, ...] = (), /, **settings: object) -> Iterator[Node]:
    """Ended by SIGTERM, and it must end well."""
    node = start(directory, enter, **settings)
    try:
        yield node
    except BaseException:
        node.kill()
        raise
    node.process.terminate()
    assert node.end() == 0
