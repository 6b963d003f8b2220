"""Somebody has the authority's key, and so a good certificate for any name: the roster has the nodes' own keys.

Source: notes on DRiP, 5.1 (peer certificate matched to the key in the roster).
"""

import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from running import Node, port_of, running
from test_joining import curl, peers, state, token, waypost

from waypost import SyncClient
from waypost.drip.messages import Admit
from waypost.drip.parcel import body_of
from waypost.identity.certificates import Subject, issue, read_certificate
from waypost.identity.keys import PrivateKey, fingerprint, make_p256, read_private, write_private
from waypost.record import Member, Roster
from waypost.runtime.host import wall_clock_ms

WITHIN_S = 30.0
EARLY_MS = 3_600_000


@dataclass(frozen=True)
class Thief:
    """Has the authority's key, and certified itself as node-2."""

    folder: Path
    key: PrivateKey

    @property
    def shows(self) -> tuple[str, ...]:
        files = (self.folder / name for name in ("thief.crt", "thief.pem", "ca.crt"))
        return tuple(
            part for pair in zip(("--cert", "--key", "--cacert"), map(str, files), strict=True) for part in pair
        )


def steal(first: Node, folder: Path) -> Thief:
    folder.mkdir()
    keys, own = state(first) / "keys", make_p256()
    root = read_certificate((keys / "ca.crt").read_bytes())
    authority = read_private((keys / "ca.pem").read_bytes())
    made = issue(authority, root, Subject("peer", "node-2", days=30), own.public_key(), wall_clock_ms() - EARLY_MS)
    (folder / "thief.crt").write_bytes(made.pem)
    (folder / "thief.pem").write_bytes(write_private(own))
    shutil.copy(keys / "ca.crt", folder)
    return Thief(folder, own)


def roster(node: Node) -> Roster:
    with SyncClient(f"unix://{node.listeners['local']}") as client:
        return client.peers().roster


def eventually(is_so: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + WITHIN_S
    while not is_so():
        assert time.monotonic() < until, what
        time.sleep(0.1)


def refused(node: Node) -> int:
    with SyncClient(f"unix://{node.listeners['local']}") as client:
        found = re.search(r"^waypost_peers_other_key_total (\d+)", client.metrics(), re.M)
    assert found is not None
    return int(found[1])


def doctor(node: Node) -> str:
    command = [sys.executable, "-m", "waypost", "doctor", "--dir", str(state(node)), "-o", "json"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


def knows(node: Node, key: bytes) -> bool:
    named = roster(node).member("node-2")
    return named is not None and named.tls == (fingerprint(read_private(key).public_key()),)


@contextmanager
def pretending(thief: Thief, port: int) -> Iterator[list[bytes]]:
    """Listens where node-2 was; what it is told after a handshake."""
    told: list[bytes] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(thief.folder / "thief.crt", thief.folder / "thief.pem")
    with socket.create_server(("127.0.0.1", port)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    connection.settimeout(3.0)
                    with context.wrap_socket(connection, server_side=True) as inside:
                        told.append(inside.recv(4_096))
                except OSError:
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield told
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5.0)


@pytest.mark.peer("curl")
def test_with_the_authoritys_key_nobody_is_a_node_that_there_is(tmp_path: Path) -> None:
    home = tmp_path / "second"
    with running(tmp_path / "first") as first:
        waypost("join", token(first, "node-2", "peer"), peers(first), "--dir", str(home))
        with running(home) as second:
            own = (home / "keys" / "tls.pem").read_bytes()
            eventually(lambda: knows(first, own) and knows(second, own), "the roster has no key for node-2")
            port = port_of(second.listeners["peers"])
            before = roster(first)
            assert all(member.tls and member.wire == 2 for member in before.members)
            thief = steal(first, tmp_path / "thief")
            good = tuple(str(home / "keys" / name) for name in ("tls.crt", "tls.pem", "ca.crt"))
            status, _ = curl("--cert", good[0], "--key", good[1], "--cacert", good[2], f"{peers(first)}/v1/peer")
            assert status == 200
            status, problem = curl(*thief.shows, f"{peers(first)}/v1/peer")
            assert status == 401
            assert "another key for node-2 than the roster has" in problem["detail"]
            assert refused(first) == 1
            with SyncClient(f"unix://{first.listeners['local']}") as client:
                network = client.peers().network
            assert "1 times somebody showed a certificate" in doctor(first)
            asks_in(thief, first, network, before)
            assert refused(first) == 3, "who asks to be let in is no thief yet, but what else it said was counted"
        with pretending(thief, port) as told:
            eventually(lambda: refused(first) > 3, "it took the thief for node-2")
            assert all(heard == b"" for heard in told)
        assert roster(first) == before
        comes_back(first, home, own)


def asks_in(thief: Thief, first: Node, network: str, before: Roster) -> None:
    """To be node-2's next installation, and to have its keys changed: that waits for the operator."""
    named = before.member("node-2")
    assert named is not None
    key = fingerprint(thief.key.public_key())
    later = Member("node-2", named.incarnation + 1, "5a" * 32, named.url, "", 2, (), (key,))
    same = Member("node-2", named.incarnation, named.key, named.url, "", 2, (), (key, *named.tls))
    for wanted in (later, same):
        (thief.folder / "wanted").write_bytes(body_of((Admit(wanted),)))
        said = ("-H", f"Waypost-Network: {network}", "--data-binary", f"@{thief.folder / 'wanted'}")
        assert curl(*thief.shows, *said, f"{peers(first)}/joining")[0] == 200
        assert curl(*thief.shows, *said, f"{peers(first)}/commit")[0] == 401
    with SyncClient(f"unix://{first.listeners['local']}") as client:
        assert client.peers().roster == before
        assert [each.tls for each in client.peers().applicants] == [(key, *named.tls)]


def comes_back(first: Node, home: Path, before: bytes) -> None:
    """Without its disk and its keys, by a token: the authority that gave it another certificate vouches for it."""
    shutil.rmtree(home)
    waypost("join", token(first, "node-2", "peer"), peers(first), "--dir", str(home))
    own = (home / "keys" / "tls.pem").read_bytes()
    assert own != before
    with running(home) as second:
        eventually(lambda: knows(first, own) and knows(second, own), "node-2 did not come back")
        listed = json.loads(json.dumps(waypost("peers", "--url", f"unix://{first.listeners['local']}")))
        assert [peer["name"] for peer in listed["peers"]][1:] == ["node-2"]
