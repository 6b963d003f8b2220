"""docs/proving.md, typed at a network of three nodes; only addresses are changed.  And what it says in tables is so."""

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import Federation

from waypost.identity.keys import write_private
from waypost.ledger.entry import Kind
from waypost.ledger.evidence import Fault
from waypost.ledger.policy import quorum_of, tolerated
from waypost.ledger.proof import ProofFile

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "proving.md").read_text()


def section(title: str) -> str:
    found = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert found, title
    return found


class Shell:
    """Types in a folder, on the machine of the first node."""

    def __init__(self, folder: Path, federation: Federation) -> None:
        self.folder = folder
        first = federation[1]
        assert first.node is not None
        self._http = first.node.http
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
        self._environment |= {"WAYPOST_DIR": str(first.directory), "XDG_CONFIG_HOME": str(folder)}

    def type(self, commands: str, code: int = 0) -> str:
        commands = commands.replace("http://127.0.0.1:8480", self._http)
        done = subprocess.run(
            ["sh", "-eu", "-c", commands],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == code, (commands, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def section(self, title: str) -> list[str]:
        """Types each block of a section; what each wrote."""
        blocks = re.findall(r"^```sh\n(.*?)^```", section(title), re.DOTALL | re.MULTILINE)
        return [self.type(block) for block in blocks]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("page")
    federation = Federation(folder / "nodes", 3, ledger__round_s=1)
    try:
        asyncio.run(federation.found())
        key = folder / "operator.pem"
        key.write_bytes(write_private(federation.operator.key))
        key.chmod(0o600)
        yield Shell(folder, federation)
    finally:
        federation.end()


def test_what_the_page_types_does_what_it_says(shell: Shell) -> None:
    proved, verified = shell.section("Prove a record")
    assert "waypost/" in proved
    assert "coap://[2001:db8::1]" in verified
    assert verified.count("/witness (") == 2  # both other nodes have cosigned
    policy = (shell.folder / "tlog-policy").read_text()
    assert "# n = 2 witnesses, k = 2 must have cosigned." in policy
    (was,) = shell.section("See what was")
    assert was.count("coap://[2001:db8::1]") == 3
    looked, audited = shell.section("Check a log")
    assert looked.count(" whole") == 3  # its own, and two mirrors
    assert "entries read" in audited
    (stated,) = shell.section("State something")
    assert "statement" in stated
    assert ProofFile.decode((shell.folder / "opened.proof").read_bytes()).extra.startswith(Kind.KEY.line)
    assert "nobody was found to lie" in shell.section("When a log lies")[0]
    damage_fails(shell)


def damage_fails(shell: Shell) -> None:
    proof = shell.folder / "lamp.proof"
    lines = proof.read_text().splitlines(keepends=True)
    proof.write_text("".join(lines[:-1]))  # one cosignature less than a quorum
    assert "the quorum of witnesses is not met" in shell.type("waypost verify lamp.proof --policy tlog-policy", 5)
    assert "there is no policy" in shell.type("waypost verify lamp.proof", 2)


def test_the_table_of_quorums_is_the_rule() -> None:
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", section("Whom to trust"), re.MULTILINE)
    assert len(rows) == 5
    for n, k, lie, down in (map(int, row) for row in rows):
        assert (k, lie, down) == (quorum_of(n), tolerated(n, k), n - k)


def test_each_kind_of_entry_and_of_evidence_is_told() -> None:
    assert set(re.findall(r"^\| `(waypost/.+?)`", section("How entries are written"), re.MULTILINE)) == {
        k.value for k in Kind
    }
    faults = re.findall(r"^\| ([a-z -]+) \|", section("When a log lies"), re.MULTILINE)
    assert set(faults) - {"evidence", "---"} == {fault.value for fault in Fault}
