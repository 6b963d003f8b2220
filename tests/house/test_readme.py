"""What the README tells people to type does what it says.

Only addresses are changed, to those of a node on free ports; `./dev demo` and `waypost run` are run by others.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
START = (ROOT / "docs" / "start.md").read_text()
IMPORTS = "import waypost\nfrom pathlib import Path\nfrom waypost.config import Coap, Coaps, Config, Http, Peers\n"
ANY = "listen=('127.0.0.1:0',)"
FREE = f"Config(dir=Path('state'), coap=Coap({ANY}), coaps=Coaps({ANY}), http=Http({ANY}), peers=Peers({ANY}))"


@pytest.fixture(scope="module")
def listeners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """`host:port` of a node's listeners, by name, from its ready line."""
    folder = tmp_path_factory.mktemp("node")
    flags = ["--dir", str(folder), *(f"--{name}-listen=127.0.0.1:0" for name in ("coap", "coaps", "http", "peers"))]
    command = [sys.executable, "-m", "waypost", "run", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        ready = json.loads(node.stdout.readline())
        yield ready["listeners"]
        node.terminate()
        node.stdout.close()
        assert node.wait(10) == 0


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def here(text: str, listeners: dict[str, str]) -> str:
    """`text` with the default addresses changed to those of `listeners`, and those of a new node to free ones."""
    text = text.replace("coap://127.0.0.1/", f"coap://{listeners['coap']}/")
    text = text.replace("http://127.0.0.1:8480", f"http://{listeners['http']}")
    return text.replace('waypost.Node("state")', f"waypost.Node({FREE})").replace("import waypost\n", IMPORTS)


def run(command: list[str], listeners: dict[str, str], folder: Path) -> str:
    environment = {**os.environ, "WAYPOST_URL": f"http://{listeners['http']}"}
    done = subprocess.run(command, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.peer("coap-client-notls", "curl")
def test_the_commands_of_the_readme_register_a_device_and_find_it(listeners: dict[str, str], tmp_path: Path) -> None:
    *_, commands = blocks(README, "sh")
    answers = [
        run(["bash", "-c", here(line, listeners)], listeners, tmp_path)
        for line in commands.splitlines()
        if not line.startswith(". ")
    ]
    _, *found = answers
    assert len(found) == 3
    for answer in found:
        assert "coap://[2001:db8::7]/temp" in answer


@pytest.mark.peer("coap-client-notls", "curl")
def test_the_first_five_minutes_find_both_rooms(listeners: dict[str, str], tmp_path: Path) -> None:
    with_client, with_ours, lookups = (
        here(re.sub(r"^\$ ", "", block, flags=re.MULTILINE), listeners) for block in blocks(START, "console")[2:]
    )
    for registration in (with_client, with_ours):
        run(["bash", "-c", registration], listeners, tmp_path)
    for lookup in lookups.splitlines():
        answer = run(["bash", "-c", lookup], listeners, tmp_path)
        assert "coap://[2001:db8::7]/temp" in answer
        assert "coap://[2001:db8::8]/temp" in answer


@pytest.mark.parametrize("program", blocks(README, "python"))
def test_the_programs_of_the_readme_run(program: str, listeners: dict[str, str], tmp_path: Path) -> None:
    assert len(program.splitlines()) <= 15
    run([sys.executable, "-W", "error", "-c", here(program, listeners)], listeners, tmp_path)
