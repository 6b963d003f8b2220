"""What people do with voted records, at three real nodes that vote."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from daemons import Federation, put

from waypost import SyncClient
from waypost.api.voted import Standing
from waypost.identity.keys import make_ed25519, verifies, write_private
from waypost.record import Committed, roster_in
from waypost.record.vote import require_committed

VOTERS: Final = 3
PATIENCE_S: Final = 30.0


class Person:
    """Somebody with a holder's key, at any of the nodes."""

    def __init__(self, federation: Federation, file: Path, key: Ed25519PrivateKey) -> None:
        self._federation = federation
        self._key = file
        self.public = key.public_key().public_bytes_raw().hex()
        file.write_bytes(write_private(key))
        file.chmod(0o600)

    def begin(self, number: int, *line: str) -> "subprocess.Popen[str]":
        clean = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
        clean["WAYPOST_HOLDER_KEY"] = str(self._key)
        command = [sys.executable, "-m", "waypost", *line, "--dir", str(self._federation[number].directory)]
        return subprocess.Popen([*command, "-o", "json"], env=clean, stdout=subprocess.PIPE, text=True)

    def does(self, number: int, *line: str) -> tuple[int, Any]:
        """Exit code, and what was written."""
        return ended(self.begin(number, *line))


def ended(process: "subprocess.Popen[str]") -> tuple[int, Any]:
    out, _ = process.communicate(timeout=60)
    return process.returncode, msgspec.json.decode(out or "null")


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    federation = Federation(tmp_path_factory.mktemp("nodes"), VOTERS)
    try:
        asyncio.run(federation.found())
        yield federation
    finally:
        federation.end()


@pytest.fixture(scope="module")
def anna(federation: Federation) -> Person:
    """The operator."""
    return Person(federation, federation.directory / "anna.pem", federation.operator.key)


@pytest.fixture(scope="module")
def berta(federation: Federation, anna: Person) -> Person:
    """Who may make names."""
    file = federation.directory / "berta.pem"
    person = Person(federation, file, make_ed25519())
    code, _ = anna.does(1, "peers", "allow", "names/", person.public, "--key", str(federation.directory / "anna.pem"))
    assert code == 0
    return person


def client(federation: Federation, number: int) -> SyncClient:
    return SyncClient(f"unix://{federation[number].directory}/waypost.sock")


def test_what_one_node_had_voted_on_another_changes_and_a_third_finds(federation: Federation, berta: Person) -> None:
    code, claimed = berta.does(1, "claim", "lamp", "1")
    assert (code, claimed["state"], claimed["version"]) == (0, "committed", 1)
    code, claimed = berta.does(2, "claim", "lamp", "2", "--if-version", "1")
    if code == 4:  # what was committed has not come there yet
        berta.does(2, "find", "--record", "lamp", "--quorum")
        code, claimed = berta.does(2, "claim", "lamp", "2", "--if-version", "1")
    assert (code, claimed["version"]) == (0, 2)
    code, found = berta.does(3, "find", "--record", "lamp", "--quorum")
    standing = msgspec.convert(found, Standing)
    assert (code, standing.record.value, standing.record.holder) == (0, "2", berta.public)
    with client(federation, 3) as node:
        roster = roster_in(node.record("_network", "roster").record)
        committed = Committed(standing.record, standing.certificate)
        require_committed(committed, roster, standing.next.network, verifies, VOTERS // 2 + 1)
    assert [version["record"]["value"] for version in berta.does(3, "history", "lamp")[1]][-1] == "2"


def test_of_two_rivals_exactly_one_wins_and_the_other_is_told_who(federation: Federation, berta: Person) -> None:
    rivals = {value: berta.begin(number, "claim", "contested", value) for number, value in ((1, "one"), (2, "two"))}
    outcomes = {value: ended(process) for value, process in rivals.items()}
    assert sorted(code for code, _ in outcomes.values()) in ([0, 4], [0, 0])
    (winner, *_) = [value for value, (code, claimed) in outcomes.items() if code == 0 and claimed["version"] == 1]
    versions = berta.does(3, "find", "--record", "contested", "--quorum")[1]["record"]
    for code, claimed in outcomes.values():
        if code == 4:
            assert claimed["state"] == "lost"
            assert (claimed["current"]["record"]["value"], claimed["current"]["record"]["holder"]) == (
                winner,
                berta.public,
            )
            assert (versions["version"], versions["value"]) == (1, winner)


def test_who_may_not_is_denied_at_every_node(federation: Federation, berta: Person, tmp_path: Path) -> None:
    stranger = Person(federation, tmp_path / "stranger.pem", make_ed25519())
    berta.does(1, "claim", "door", "1")
    for number in range(1, VOTERS + 1):
        berta.does(number, "find", "--record", "door", "--quorum")
        assert stranger.does(number, "claim", "door", "mine")[0] == 4
        assert stranger.does(number, "claim", f"new-{number}", "mine")[0] == 4
    assert berta.does(3, "find", "--record", "door", "--quorum")[1]["record"]["value"] == "1"


def test_what_was_given_away_is_its_new_holders_to_delete(
    federation: Federation, berta: Person, tmp_path: Path
) -> None:
    heir = Person(federation, tmp_path / "heir.pem", make_ed25519())
    assert berta.does(1, "claim", "gift", "1")[0] == 0
    assert berta.does(1, "transfer", "gift", heir.public)[0] == 4
    taken = str(tmp_path / "gift.taken")
    assert heir.does(3, "transfer", "gift", "--accept", taken)[0] == 0
    assert berta.does(1, "transfer", "gift", "--accepted", taken)[0] == 0
    assert berta.does(1, "claim", "gift", "back")[0] == 4
    assert heir.does(2, "find", "--record", "gift", "--quorum")[1]["record"]["holder"] == heir.public
    assert heir.does(2, "claim", "gift", "--delete")[1]["version"] == 3
    code, gone = heir.does(3, "find", "--record", "gift", "--quorum")
    assert (code, gone["record"]["value"], gone["next"]["version"]) == (1, None, 4)


def test_one_record_sent_to_all_nodes_again_and_again_is_committed_once(federation: Federation, anna: Person) -> None:
    with client(federation, 1) as node:
        home = node.peers().name
    record = federation.operator.record(("names", "once"), 1, "", "x", home, Random(1))

    async def send() -> list[tuple[int, dict[str, Any]]]:
        return await asyncio.gather(*(put(federation[number], record) for number in (1, 2, 3) * 3))

    for status, body in asyncio.run(send()):
        assert (status, body["state"]) == (200, "committed")
    with client(federation, 2) as node:
        assert node.record("names", "once", quorum=True).record == record
        assert [item.record for item in node.history("names", "once")] == [record]
        assert node.outcome("names", "once", 1, record.txid).state == "committed"
        assert node.outcome("names", "once", 1, "0" * 32).state == "lost"


def test_a_version_that_does_not_follow_is_412_at_a_real_node(federation: Federation, berta: Person) -> None:
    berta.does(1, "claim", "old", "1")
    record = federation.operator.record(("names", "old"), 1, "", "late", "node-2", Random(2))
    status, body = asyncio.run(put(federation[1], record))
    assert (status, body["state"], body["current"]["record"]["value"]) == (412, "lost", "1")


def test_a_minority_refuses_or_keeps_what_it_is_asked_to_and_goes_on_reading(
    federation: Federation, berta: Person
) -> None:
    """The last story: two of the three are killed."""
    berta.does(1, "claim", "last", "1")
    federation[2].kill()
    federation[3].kill()
    code, told = berta.does(1, "claim", "late", "2", "--deadline", "1")
    assert code == 3
    assert told is None or told["state"] == "unknown"
    code, kept = berta.does(1, "claim", "last", "2", "--queue")
    assert (code, kept["state"], kept["version"]) == (3, "pending", 2)
    code, votes = berta.does(1, "votes")
    assert (code, [intent["txid"] for intent in votes["queued"]]) == (0, [kept["txid"]])
    assert len(votes["silent"]) == VOTERS - 1
    assert berta.does(1, "find", "--record", "last")[1]["record"]["value"] == "1"
    federation[1].kill()
    federation[1].start()
    federation[2].start()
    asyncio.run(federation.until_voting(federation[1], federation[2]))
    with client(federation, 1) as node:
        until = time.monotonic() + PATIENCE_S
        while (became := node.outcome("names", "last", 2, kept["txid"])).state == "pending":
            assert time.monotonic() < until
            time.sleep(0.1)
    assert became.state == "committed"
    code, claimed = berta.does(2, "claim", "last", "3")
    assert (code, claimed["version"], claimed["current"]["record"]["value"]) == (0, 3, "3")
