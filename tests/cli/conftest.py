"""A node as its operator runs it, for the verbs that ask one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

END_S = 20.0


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the HTTP API, on the node's own socket: who asks there is the operator."""
    settings = ["--dir", str(tmp_path_factory.mktemp("node")), "--log-level", "warning"]
    listeners = [f"--{name}-listen=127.0.0.1:0" for name in ("coap", "coaps", "http", "peers")]
    command = [sys.executable, "-m", "waypost", "run", *settings, *listeners]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment()) as process:
        try:
            assert process.stdout is not None
            yield "unix://" + json.loads(process.stdout.readline())["listeners"]["local"]
        finally:
            process.terminate()
            assert process.wait(END_S) == 0
