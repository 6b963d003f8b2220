"""The keys of a state directory, from the first start on."""

import stat
from pathlib import Path

import pytest

from waypost.errors import ConfigError
from waypost.identity import Identity, keys
from waypost.identity.certificates import read_certificate
from waypost.storage.keyring import Keyring

NOW = 1_790_000_000_000
DAY = 86_400_000
MADE = {
    "node.pem", "log.pem", "cosigner.pem", "ca.pem", "ca.crt", "tls.pem", "tls.crt", "operator.pub", "trust.json",
    "seen.json", "issued.jsonl", "lock",
}  # fmt: skip


def no_sync(_: int) -> None:
    """The disk is not on trial here."""


def opened(directory: Path, wall_ms: int = NOW, hosts: tuple[str, ...] = ()) -> Keyring:
    return Keyring.open(directory, wall_ms, hosts=hosts, sync=no_sync)


def refusal(directory: Path, wall_ms: int = NOW) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        opened(directory, wall_ms)
    return caught.value


def test_the_first_start_makes_all_keys_and_hands_out_the_operator_s_once(tmp_path: Path) -> None:
    first = opened(tmp_path / "state")
    folder = tmp_path / "state" / "keys"
    assert {path.name for path in folder.iterdir()} == MADE
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert first.operator_key is not None
    operator = keys.read_private_ed25519(first.operator_key)
    assert keys.fingerprint(operator.public_key()) == keys.fingerprint(first.operator)
    secret = operator.private_bytes_raw()
    assert not any(secret in path.read_bytes() or first.operator_key in path.read_bytes() for path in folder.iterdir())
    second = opened(tmp_path / "state")
    assert second.operator_key is None
    assert second.name == first.name


def test_a_node_s_own_certificate_is_a_peer_s_and_names_where_it_is_reached(tmp_path: Path) -> None:
    keyring = opened(tmp_path, hosts=("192.0.2.7", "node.example"))
    credentials = keyring.credentials(NOW)
    own = read_certificate(credentials.chain)
    assert {*own.hosts} == {"localhost", "127.0.0.1", "::1", "192.0.2.7", "node.example"}
    assert credentials.certified([own.der], NOW) == Identity("certificate", keyring.name, ("peer",))
    assert keys.fingerprint(keys.read_private(credentials.key).public_key()) == keys.fingerprint(own.public)
    assert credentials.anchors == (keyring.root.pem,)


def test_credentials_stay_the_same_object_until_something_changes(tmp_path: Path) -> None:
    keyring = opened(tmp_path)
    before = keyring.credentials(NOW)
    assert keyring.credentials(NOW + DAY) is before
    assert keyring.renew(NOW + 60 * DAY + 1)
    assert keyring.credentials(NOW).chain != before.chain
