"""What a node keeps beside its keys of the network that it is of."""

from pathlib import Path

import msgspec
import pytest
from test_backup import no_sync

from waypost.record import Member, Policy, Roster
from waypost.record.vote import founding
from waypost.storage.keyring import Keyring
from waypost.storage.network import contacts_of, known_network, remember_contacts, remember_network

NOW = 1_790_000_000_000
FIRST = Roster(1, (Member("anna", 1, "aa" * 32, "", ""),), (), Policy("0f" * 32, 0, ()))


def member(name: str, url: str) -> Member:
    return Member(name, 1, name.encode().hex().ljust(64, "0"), url, "")


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    made = Keyring.open(tmp_path, NOW, sync=no_sync)
    remember_network(made, founding(FIRST))
    return made


def test_whom_to_ask_is_who_is_in_the_roster_and_says_where(keyring: Keyring) -> None:
    voters = (member("anna", "https://anna.example:8481"), member("berta", ""))
    roster = Roster(2, voters, (member("carla", "https://carla.example:8481"),), FIRST.policy)
    remember_contacts(keyring, contacts_of(roster))
    known = known_network(keyring)
    assert known is not None
    assert known.contacts == {"anna": "https://anna.example:8481", "carla": "https://carla.example:8481"}
    assert known.founding == founding(FIRST)


def test_who_has_gone_is_not_asked_any_more(keyring: Keyring) -> None:
    remember_contacts(keyring, {"berta": "https://berta.example:8481", "carla": "https://carla.example:8481"})
    remember_contacts(keyring, {"carla": "https://carla.example:8482"})
    known = known_network(keyring)
    assert known is not None
    assert known.contacts == {"carla": "https://carla.example:8482"}


def test_a_node_that_knows_of_nobody_asks_whom_it_knew(keyring: Keyring) -> None:
    remember_contacts(keyring, {"berta": "https://berta.example:8481"})
    remember_contacts(keyring, contacts_of(FIRST))
    known = known_network(keyring)
    assert known is not None
    assert known.contacts == {"berta": "https://berta.example:8481"}


def test_without_a_network_nothing_is_kept(tmp_path: Path) -> None:
    keyring = Keyring.open(tmp_path, NOW, sync=no_sync)
    remember_contacts(keyring, {"berta": "https://berta.example:8481"})
    assert known_network(keyring) is None


def test_what_is_known_is_not_written_again(keyring: Keyring) -> None:
    remember_contacts(keyring, {"berta": "https://berta.example:8481"})
    file = keyring.folder / "network.json"
    before = file.stat().st_ino
    remember_contacts(keyring, {"berta": "https://berta.example:8481"})
    assert file.stat().st_ino == before
    assert msgspec.json.decode(file.read_bytes())["contacts"] == {"berta": "https://berta.example:8481"}
