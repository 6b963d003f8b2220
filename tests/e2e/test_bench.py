"""The bench itself: does it still measure what it says?  No figure is held to anything here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHES = Path(__file__).parents[2] / "bench"
BENCH = BENCHES / "rd.py"


@pytest.mark.peer("gcc", "aiocoap-rd", "coap-server-notls")
def test_the_bench_of_the_directory_measures_every_server(tmp_path: Path) -> None:
    figures, page = tmp_path / "figures.json", tmp_path / "page.md"
    command: list[str | Path] = [sys.executable, BENCH, "--quick", "--json", figures, "--write", page]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(figures.read_text())
    assert all(report[server] for server in ("waypost", "aiocoap-rd", "libcoap"))
    remarks = {
        name: measures["remark"]
        for size in report["waypost"]["sizes"].values()
        for name, measures in size["measures"].items()
        if "remark" in measures
    }
    assert remarks == {}
    assert page.read_text().startswith("# Performance\n")


@pytest.mark.peer("aiocoap-rd", "pip:DTLSSocket")
def test_the_bench_of_secured_transports_measures_every_transport(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command: list[str | Path] = [sys.executable, BENCHES / "tls.py", "--quick", "--json", figures]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(figures.read_text())
    for transport in ("TCP", "DTLS, key", "DTLS, key, CCM_8", "DTLS, certificate", "TLS, key", "TLS, certificate"):
        assert {f"handshakes: {transport}", f"lookups: {transport}"} <= report["waypost"].keys()
    assert "handshakes: DTLS, key, CCM_8" in report["aiocoap-rd"]


@pytest.mark.peer("etcd")
def test_the_bench_of_the_mesh_measures_it_beside_etcd(tmp_path: Path) -> None:
    figures, page = tmp_path / "figures.json", tmp_path / "page.md"
    command: list[str | Path] = [sys.executable, BENCHES / "drip.py", "--quick", "--json", figures, "--write", page]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(figures.read_text())
    for way in ("home", "entry", "alone", "request", "peers", "etcd home", "etcd entry", "etcd alone"):
        assert report["runs"][way]["count"] > 0, way
    assert report["gossip"]["missing"] == 0
    assert page.read_text().startswith("# Performance of the mesh\n")


def test_the_bench_of_the_ledger_measures_trees_and_statements(tmp_path: Path) -> None:
    """Without pymerkle, which is installed for the bench alone."""
    figures, page = tmp_path / "figures.json", tmp_path / "page.md"
    command: list[str | Path] = [sys.executable, BENCHES / "ledger.py", "--quick", "--json", figures, "--write", page]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(figures.read_text())
    for way in ("asked 1", "asked 64", "http 1", "http 64"):
        assert report["statements"][way]["count"] > 0, way
    assert report["statements"]["entries"] >= sum(
        run["count"] for way, run in report["statements"].items() if way.startswith(("asked", "http"))
    )
    assert page.read_text().startswith("# Performance of the ledger\n")
