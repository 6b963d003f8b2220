"""CoAP clients that we did not write, each a process of its own: libcoap's and aiocoap's, asked alike, and node's."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from running import Node

ANSWER_S = 30.0
NODE_COAP = ("node", str(Path(__file__).with_name("node_coap.js")))  # behind it a command and its arguments
DEV = Path(__file__).resolve().parents[2] / ".dev"
NODE_MODULES = DEV / "npm" / "node_modules"
PIP = DEV / "pip" / "{}.{}".format(*sys.version_info[:2])


@dataclass(frozen=True)
class Answer:
    """What the client says that it was answered.  `shown` is all that it printed."""

    code: str  # "2.05"
    location: str  # "/reg/…", or empty
    body: str
    reason: str  # the diagnostic payload of an error
    shown: str


@dataclass(frozen=True)
class Client:
    """`ask` calls it: the node, a file for the payload, method, path and query, links or None."""

    program: str
    ask: Callable[[Node, Path, str, str, str | None], Answer]


def libcoap(node: Node, folder: Path, method: str, target: str, links: str | None, *program: str) -> Answer:
    """-v 6 prints one line for each message; the body goes to a file of its own.

    `program` is one that speaks DTLS and TLS, and what it shows there.
    """
    body = folder / "body"
    body.write_bytes(b"")
    command = [*(program or ("coap-client-notls",)), "-v", "6", "-B", "20", "-m", method.lower(), "-o", str(body)]
    if links is not None:
        payload = folder / "links"
        payload.write_text(links)
        command += ["-t", "40", "-f", str(payload)]
    shown = run([*command, node.coap + target])
    received = re.findall(r"^v:1 t:(?:ACK|CON|NON) c:(\d\.\d\d) .*?\[(.*?)\](?: :: '(.*?)'?)?$", shown, re.M)
    assert received, shown
    code, options, payload_shown = received[-1]
    segments = re.findall(r"Location-Path:([^,\]]*?)(?:,| \])", options + "]")
    text = body.read_text()
    return Answer(code, "".join("/" + segment.strip() for segment in segments), text, payload_shown, shown)


def aiocoap(node: Node, folder: Path, method: str, target: str, links: str | None, *more: str) -> Answer:
    """-v tells the code and the options on standard error; the body goes to standard output."""
    command = ["aiocoap-client", "-v", "--no-color", "--no-pretty-print", "-m", method, *more]
    if links is not None:
        payload = folder / "links"
        payload.write_text(links)
        command += ["--content-format", "application/link-format", "--payload", f"@{payload}"]
    done = subprocess.run(
        [*command, node.coap + target], capture_output=True, text=True, timeout=ANSWER_S, check=False, env=environment()
    )
    _, found, rest = done.stderr.partition("Received response:")
    assert found, done.stderr
    code = re.search(r"(\d\.\d\d) ", rest)
    assert code is not None, rest
    segments = re.findall(r"Location-Path \(8\): '(.*?)'", rest)
    reason = done.stderr.strip().rpartition("\n")[2]  # its last line, for an error
    return Answer(code[1], "".join("/" + segment for segment in segments), done.stdout, reason, rest)


def environment() -> dict[str, str]:
    """In which node and Python find their packages."""
    return {**os.environ, "NODE_PATH": str(NODE_MODULES), "PYTHONPATH": str(PIP)}


def run(command: list[str]) -> str:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=ANSWER_S, check=False
    )
    return done.stdout


CLIENTS = (Client("coap-client-notls", libcoap), Client("aiocoap-client", aiocoap))
