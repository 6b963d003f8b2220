"""A node that joined has its certificate renewed, and hears of a newer trust file, from the node that let it in."""

import time
from pathlib import Path

from running import Node, running
from test_joining import peers, state, token, waypost

from waypost.identity import keys
from waypost.identity.certificates import Subject, read_certificate
from waypost.runtime.host import wall_clock_ms
from waypost.storage.keyring import LOOPBACK, Keyring

DAY_MS = 86_400_000
WITHIN_S = 60.0


def shorten(first: Node, home: Path) -> None:
    """The authority gives the node that joined a certificate for so few days that it is to be renewed."""
    keyring = Keyring.open_made(home)
    public = keyring.read("tls.pem", keys.read_private).public_key()
    made = Keyring.open_made(state(first)).issue(Subject("peer", "node-2", LOOPBACK, 20), public, wall_clock_ms())
    keyring.write({"tls.crt": made.pem})


def left_ms(home: Path) -> int:
    return read_certificate((home / "keys" / "tls.crt").read_bytes()).not_after_ms - wall_clock_ms()


def test_a_node_that_joined_stays_current_by_itself(tmp_path: Path) -> None:
    home = tmp_path / "second"
    made = waypost("init", "--dir", str(tmp_path / "first"))
    (tmp_path / "operator.pem").write_text(made["operator_key"])
    with running(tmp_path / "first") as first:
        waypost("join", token(first, "node-2", "peer"), peers(first), "--dir", str(home))
        shorten(first, home)
        signed = ("--operator-key", str(tmp_path / "operator.pem"), "--dir", str(state(first)))
        assert waypost("ca", "renew", "--days", "400", *signed)["version"] == 2
        assert left_ms(home) < 21 * DAY_MS
        with running(home):
            until = time.monotonic() + WITHIN_S
            while left_ms(home) < 300 * DAY_MS:
                assert time.monotonic() < until, "its certificate was not renewed"
                time.sleep(0.2)
        trust = (state(first) / "keys" / "trust.json").read_bytes()
        assert (home / "keys" / "trust.json").read_bytes() == trust
        assert waypost("ca", "list", "--dir", str(state(first)))[-1]["name"] == "node-2"
    with running(home):  # with what it was given
        pass
