"""`waypost doctor` beside a node that runs, and on a machine whose network is narrow."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from running import HOST, Node, running

from waypost import SyncClient
from waypost.cli.checks.running import find
from waypost.cli.node import Place
from waypost.config.settling import KEYS


def doctor(node: Node) -> dict[str, list[dict[str, Any]]]:
    """What it finds, by the names of the checks; it is told the real port of CoAP."""
    ports = {key.environment: f"{HOST}:0" for key in KEYS.values() if key.name == "listen"}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")} | ports
    clean |= {"WAYPOST_DIR": str(Path(node.listeners["local"]).parent), "WAYPOST_COAP_LISTEN": node.listeners["coap"]}
    command = [sys.executable, "-m", "waypost", "doctor", "-o", "json"]
    done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False, timeout=60)
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in json.loads(done.stdout):
        found.setdefault(finding["name"], []).append(finding)
    return found


def test_a_node_that_is_well_is_found_so_and_left_as_it_was(tmp_path: Path) -> None:
    """It answers with at most three octets for one, and nothing was registered, whatever it was asked."""
    with running(tmp_path / "state") as node, SyncClient(f"unix://{node.listeners['local']}") as client:
        coap, coaps = (node.listeners[name] for name in ("coap", "coaps"))
        found = doctor(node)
        for name in ("node", "network", "log", "start", "clock", "permissions", "certificates", "policy", "database"):
            assert [item["state"] for item in found[name]] == ["ok"] * len(found[name]), found[name]
        assert {item["sentence"] for item in found["port"]} >= {f"coap on {coap} (udp): this node's"}
        assert [item["state"] for item in found["amplification"]] == ["ok", "ok"], found["amplification"]
        assert f"coaps on {coaps}" in found["amplification"][1]["sentence"]
        assert find(Path(node.listeners["local"]).parent, Place(f"unix://{node.listeners['local']}")).receive_buffers
        assert client.status().gauges["registrations"] == 0
        assert list(client.find()) == []


@pytest.mark.peer("unshare:net")
def test_a_narrow_interface_is_warned_of() -> None:
    """RFC 8200, 5."""
    program = (
        "from waypost.cli.checks.paths import check_interfaces, check_path; "
        "print([it.state for it in (*check_interfaces(outside=True), *(check_path(None) if '%s' else ()))])"
    )
    for link, states in (("mtu 1200 up", ["warn", "warn"]), ("mtu 1500 up", ["ok", "ok"]), ("", ["skipped"])):
        script = f'ip link set lo {link or "down"}; exec {sys.executable} -c "{program % link}"'
        command = ["unshare", "--map-root-user", "--net", "sh", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout == f"{states}\n", done.stderr
