"""The keys of a state directory, from the first start on."""

import os
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from waypost.errors import ConfigError, DeniedError, StateError
from waypost.identity import Identity, keys
from waypost.identity.anchors import REVOKED_MAX, Revoked, seal_revoked, seal_trust
from waypost.identity.certificates import Subject, read_certificate
from waypost.storage import authority
from waypost.storage.keyring import CLOCK_MIN_MS, Keyring

NOW = 1_790_000_000_000
DAY = 86_400_000
MADE = {
    "node.pem", "log.pem", "cosigner.pem", "ca.pem", "ca.crt", "tls.pem", "tls.crt", "operator.pub", "trust.json",
    "seen.json", "issued.jsonl", "lock", "seen.lock",
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
    assert keyring.credentials(NOW + 30 * DAY) is before
    authority.revoke(opened(tmp_path), Revoked(tokens=frozenset({"a"})), NOW)
    assert keyring.credentials(NOW + 30 * DAY) is not before


def test_a_node_renews_its_own_certificate_before_it_ends(tmp_path: Path) -> None:
    keyring = opened(tmp_path)
    before = read_certificate(keyring.credentials(NOW).chain)
    assert before.not_after_ms == NOW + 90 * DAY
    assert read_certificate(keyring.credentials(NOW + 60 * DAY).chain) == before
    later = NOW + 61 * DAY
    after = keyring.credentials(later)
    own = read_certificate(after.chain)
    assert own.not_after_ms == later + 90 * DAY
    assert keys.fingerprint(keys.read_private(after.key).public_key()) == keys.fingerprint(own.public)
    assert after.certified([own.der], later).name == keyring.name
    assert after.pin == keys.fingerprint(before.public), "the network knows the node by its key"


def test_it_tells_when_what_it_has_ends(tmp_path: Path) -> None:
    keyring = opened(tmp_path)
    ten_years = NOW + 3_650 * DAY
    assert keyring.ends_ms == {"node": NOW + 90 * DAY, "root": ten_years, "trust": ten_years}
    keyring.credentials(NOW + 61 * DAY)
    assert keyring.ends_ms["node"] == NOW + 151 * DAY


def test_a_new_address_is_certified_and_a_key_that_does_not_fit_is_replaced(tmp_path: Path) -> None:
    before = read_certificate(opened(tmp_path).credentials(NOW).chain)
    moved = read_certificate(opened(tmp_path, hosts=("192.0.2.7",)).credentials(NOW).chain)
    assert before != moved
    assert "192.0.2.7" in moved.hosts
    (tmp_path / "keys" / "tls.pem").write_bytes(keys.write_private(keys.make_p256()))
    credentials = opened(tmp_path).credentials(NOW)
    own = read_certificate(credentials.chain)
    assert keys.fingerprint(keys.read_private(credentials.key).public_key()) == keys.fingerprint(own.public)


def test_without_the_authority_s_key_a_node_runs_and_certifies_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened(tmp_path)
    (tmp_path / "keys" / "ca.pem").unlink()
    keyring = opened(tmp_path)
    with pytest.raises(ConfigError, match=r"ca\.pem is not here"):
        keyring.issue(Subject("device", "lamp-3"), keys.make_p256().public_key(), NOW)
    assert keyring.credentials(NOW + 80 * DAY).anchors == (keyring.root.pem,)
    assert "should be renewed, and ca.pem is not here" in caplog.text
    (tmp_path / "keys" / "ca.pem").write_bytes(keys.write_private(keys.make_p256()))
    (tmp_path / "keys" / "ca.pem").chmod(0o600)
    with pytest.raises(ConfigError, match=r"is not the key of ca\.crt"):
        keyring.issue(Subject("device", "lamp-3"), keys.make_p256().public_key(), NOW)


def test_what_is_issued_is_remembered(tmp_path: Path) -> None:
    keyring = opened(tmp_path)
    own = keyring.issue(Subject("device", "lamp-3", days=7), keys.make_p256().public_key(), NOW)
    found = keyring.issued()[-1]
    assert (found.serial, found.role, found.name, found.not_after_ms) == (own.serial, "device", "lamp-3", NOW + 7 * DAY)
    assert opened(tmp_path).issued()[-1] == found


def test_a_line_that_a_power_cut_left_half_spoils_no_other(tmp_path: Path) -> None:
    keyring = opened(tmp_path)
    with (tmp_path / "keys" / "issued.jsonl").open("ab") as stream:
        stream.write(b'{"serial":"1f","ro')
    own = keyring.issue(Subject("device", "lamp-3"), keys.make_p256().public_key(), NOW)
    assert [item.name for item in keyring.issued()] == [keyring.name, "lamp-3"]
    assert keyring.issued()[-1].serial == own.serial


def test_an_address_is_the_same_however_it_is_written(tmp_path: Path) -> None:
    before = opened(tmp_path, hosts=("2001:db8:0::1",)).credentials(NOW).chain
    assert opened(tmp_path, hosts=("2001:db8::1",)).credentials(NOW).chain == before


@pytest.mark.parametrize(
    ("name", "mode", "hint"),
    [
        ("keys", 0o750, "chmod 700"),
        ("keys", 0o701, "chmod 700"),
        ("keys/node.pem", 0o640, "chmod 600"),
        ("keys/ca.crt", 0o604, "chmod 600"),
        ("keys/secrets.toml", 0o644, "chmod 600"),
        (".", 0o777, "chmod go-w"),
        (".", 0o720, "chmod go-w"),
    ],
)
def test_keys_that_others_could_read_stop_a_start(tmp_path: Path, name: str, mode: int, hint: str) -> None:
    state = tmp_path / "state"
    opened(state)
    path = state / name
    if not path.exists():
        path.touch()
    path.chmod(mode)
    error = refusal(state)
    assert f"(mode {mode:o})" in str(error)
    assert error.hint == f"{hint} {path}"
    assert subprocess.run(error.hint.split(), check=False).returncode == 0
    assert opened(state).operator_key is None


@pytest.mark.peer("user:root")
def test_keys_of_somebody_else_stop_a_start(tmp_path: Path) -> None:
    opened(tmp_path)
    os.chown(tmp_path / "keys" / "node.pem", 65_534, -1)
    error = refusal(tmp_path)
    assert str(error).endswith("node.pem belongs to user 65534, and this is user 0")
    assert error.hint == f"chown 0 {tmp_path / 'keys' / 'node.pem'}"


def test_a_folder_among_the_keys_stops_a_start(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / "keys" / "old").mkdir(mode=0o700)
    assert str(refusal(tmp_path)).endswith("old is a directory, and only files belong there")


@pytest.mark.parametrize("name", ["node.pem", "log.pem", "cosigner.pem", "ca.crt", "trust.json"])
def test_nothing_that_is_lost_or_broken_is_made_anew_in_silence(tmp_path: Path, name: str) -> None:
    opened(tmp_path)
    path = tmp_path / "keys" / name
    path.write_bytes(b"-----BEGIN NOTHING-----")
    assert str(refusal(tmp_path)).startswith(f"{path}: ")
    path.unlink()
    assert str(refusal(tmp_path)) == f"{path} is missing"


def test_who_lost_the_operator_s_key_makes_another_and_keeps_the_rest(tmp_path: Path) -> None:
    before = opened(tmp_path)
    own = before.issue(Subject("device", "lamp-3"), keys.make_p256().public_key(), NOW)
    authority.revoke(before, Revoked(tokens=frozenset({"a"})), NOW)
    (tmp_path / "keys" / "operator.pub").unlink()
    after = opened(tmp_path)
    assert after.operator_key not in (None, before.operator_key)
    assert (after.name, after.root) == (before.name, before.root)
    credentials = after.credentials(NOW)
    assert credentials.certified([own.der], NOW).name == "lamp-3"
    assert credentials.trust.revoked.tokens == {"a"}


def test_a_first_start_that_is_cut_short_is_gone_on_with(tmp_path: Path) -> None:
    class Cut(Exception):
        """The power fails at one sync or another."""

    cuts = 0
    for last in range(100):
        state, left = tmp_path / str(last), iter(range(last))

        def sync(_: int, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise Cut

        try:
            Keyring.open(state, NOW, sync=sync)
        except Cut:
            cuts += 1
        else:
            break
        again = opened(state)
        own = read_certificate(again.credentials(NOW).chain)
        assert again.credentials(NOW).certified([own.der], NOW).name == again.name
        finished = (state / "keys" / "tls.crt").stat().st_mtime_ns
        assert finished
    assert 10 < cuts < 99


def test_certificates_are_not_made_before_the_clock_is_set(tmp_path: Path) -> None:
    assert "the clock has not been set" in str(refusal(tmp_path, CLOCK_MIN_MS - 1))
    assert opened(tmp_path, CLOCK_MIN_MS).operator_key is not None


def test_secrets_are_read_at_the_start(tmp_path: Path) -> None:
    assert not opened(tmp_path).credentials(NOW).psks
    secrets = tmp_path / "keys" / "secrets.toml"
    secrets.touch(0o600)
    secrets.write_text('[psk."lamp-3"]\nkey = "8f1c0b7de2a94f5536d80e61c27ba9f4"\nroles = ["device"]\n')
    assert opened(tmp_path).credentials(NOW).psks[b"lamp-3"].who == Identity("psk", "lamp-3", ("device",))
    secrets.write_text('[psk."lamp-3"]\nkey = "changeme"\n')
    assert str(refusal(tmp_path)) == f'{secrets}: psk."lamp-3": key is not in hexadecimal'


def test_no_text_shows_a_key(tmp_path: Path) -> None:
    keyring = opened(tmp_path)
    assert keyring.operator_key is not None
    for shown in (repr(keyring), repr(keyring.credentials(NOW)), str(vars(keyring).keys())):
        assert "PRIVATE" not in shown


# Trust


def copy(tmp_path: Path, name: str) -> bytes:
    return (tmp_path / "keys" / name).read_bytes()


def operator_of(keyring: Keyring) -> Ed25519PrivateKey:
    assert keyring.operator_key is not None
    return keys.read_private_ed25519(keyring.operator_key)


def test_a_trust_file_from_before_is_refused(tmp_path: Path) -> None:
    keyring = opened(tmp_path)
    old = copy(tmp_path, "trust.json")
    authority.renew_trust(keyring, operator_of(keyring), 100, NOW)
    path = tmp_path / "keys" / "trust.json"
    path.write_bytes(old)
    expected = f"{path}: the trust file is of version 1, and version 2 was seen before"
    assert str(refusal(tmp_path)) == expected


def test_a_running_node_keeps_what_it_knew_when_a_file_is_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keyring = opened(tmp_path)
    before = keyring.credentials(NOW)
    (tmp_path / "keys" / "trust.json").write_bytes(b"{}")
    assert keyring.credentials(NOW) is before
    assert keyring.credentials(NOW) is before
    assert caplog.text.count("keys changed and cannot be used") == 1


def test_another_s_signature_or_an_expired_trust_file_stops_a_start(tmp_path: Path) -> None:
    keyring = opened(tmp_path)
    trust = keyring.believed(NOW).trust
    path = tmp_path / "keys" / "trust.json"
    mine = copy(tmp_path, "trust.json")
    path.write_bytes(seal_trust(trust, keys.make_ed25519()))
    assert "it is not signed with the key" in str(refusal(tmp_path))
    path.write_bytes(mine)
    authority.renew_trust(keyring, operator_of(keyring), 1, NOW)
    assert str(refusal(tmp_path, NOW + DAY)) == f"{path}: the trust file of version 2 has expired"
    authority.renew_trust(Keyring.open_made(tmp_path), operator_of(keyring), 10, NOW + DAY)
    assert opened(tmp_path, NOW + DAY).operator_key is None


def test_what_is_revoked_is_so_at_the_next_handshake_and_after_a_start(tmp_path: Path) -> None:
    running, beside = opened(tmp_path), opened(tmp_path)
    own = running.issue(Subject("device", "lamp-3"), keys.make_p256().public_key(), NOW)
    assert running.credentials(NOW).certified([own.der], NOW)
    authority.revoke(beside, Revoked(certificates=frozenset({own.serial})), NOW)
    for keyring in (running, opened(tmp_path)):
        with pytest.raises(DeniedError, match="is revoked"):
            keyring.credentials(NOW).certified([own.der], NOW)


def test_revocations_are_not_taken_back(tmp_path: Path) -> None:
    keyring = opened(tmp_path)
    authority.revoke(keyring, Revoked(certificates=frozenset({"1"})), NOW)
    old, path = copy(tmp_path, "revoked.json"), tmp_path / "keys" / "revoked.json"
    assert authority.revoke(keyring, Revoked(keys=frozenset({"ab" * 32})), NOW).certificates == {"1"}
    path.write_bytes(old)
    assert str(refusal(tmp_path)) == f"{path}: version 2, which was seen before, is not there"
    path.unlink()
    assert str(refusal(tmp_path)) == f"{path}: version 2, which was seen before, is not there"
    path.touch(0o600)
    path.write_bytes(seal_revoked(Revoked(), 2, keyring.node))
    assert "is not there" in str(refusal(tmp_path))
    path.write_bytes(seal_revoked(Revoked(), 3, operator_of(keyring)))
    assert "it is not signed with the key" in str(refusal(tmp_path))


def test_the_trust_file_takes_up_what_was_revoked_beside_it(tmp_path: Path) -> None:
    keyring = opened(tmp_path)
    revoked = Revoked(certificates=frozenset({"1"}), tokens=frozenset({"a"}))
    authority.revoke(keyring, revoked, NOW)
    version = keyring.believed(NOW).marks.revoked.version
    authority.revoke(keyring, Revoked(tokens=frozenset({"a"})), NOW)  # which is nothing new
    assert keyring.believed(NOW).marks.revoked.version == version
    assert authority.renew_trust(keyring, operator_of(keyring), 100, NOW).revoked == revoked


def test_revocations_have_a_limit(tmp_path: Path) -> None:
    keyring = opened(tmp_path)
    authority.revoke(keyring, Revoked(tokens=frozenset(map(str, range(REVOKED_MAX)))), NOW)
    with pytest.raises(StateError, match="100000 can be revoked"):
        authority.revoke(keyring, Revoked(tokens=frozenset({"one-more"})), NOW)
    assert opened(tmp_path).operator_key is None


def test_a_new_root_is_taken_by_a_node_that_runs(tmp_path: Path) -> None:
    running, beside = opened(tmp_path, hosts=("192.0.2.7",)), opened(tmp_path, hosts=("192.0.2.7",))
    old = running.issue(Subject("device", "lamp-3"), keys.make_p256().public_key(), NOW)
    root = authority.rotate(beside, operator_of(running), NOW, overlap_days=10)
    new = running.issue(Subject("device", "lamp-3"), keys.make_p256().public_key(), NOW)
    credentials = running.credentials(NOW)
    assert read_certificate(credentials.chain).uris == (f"waypost://{root.domain}/peer/{running.name}",)
    assert "192.0.2.7" in read_certificate(credentials.chain).hosts
    assert len(credentials.anchors) == 2
    for own in (old, new):
        assert credentials.certified([own.der], NOW).subject == "certificate:lamp-3"
    with pytest.raises(DeniedError):
        credentials.certified([old.der], NOW + 10 * DAY)
    assert credentials.certified([new.der], NOW + 10 * DAY)


def test_two_at_once_lose_nothing(tmp_path: Path) -> None:
    """A node that runs and a verb beside it, each with files of its own in the same folder."""
    keyring = opened(tmp_path)
    operator = operator_of(keyring)

    def revoke(first: int) -> None:
        beside = Keyring.open_made(tmp_path, sync=no_sync)
        for number in range(first, first + 20):
            authority.revoke(beside, Revoked(tokens=frozenset({str(number)})), NOW)
            beside.issue(Subject("device", f"lamp-{number}"), keys.make_p256().public_key(), NOW)
            if number % 10 == 0:
                authority.renew_trust(beside, operator, 100, NOW)

    with ThreadPoolExecutor(3) as pool:
        work = [pool.submit(revoke, first) for first in (100, 200)]
        while not all(each.done() for each in work):
            keyring.credentials(NOW)
    for each in work:
        each.result()
    again = opened(tmp_path)
    assert len(again.credentials(NOW).trust.revoked.tokens) == 40
    assert len(again.issued()) == 41
    assert again.believed(NOW).trust.version == 5
    assert again.believed(NOW).marks.revoked.version == 40


def test_only_the_operator_s_key_changes_whom_a_node_trusts(tmp_path: Path) -> None:
    keyring, other = opened(tmp_path / "ours"), opened(tmp_path / "theirs")
    wrong, root = operator_of(other), keyring.root
    for change in (
        lambda: authority.rotate(keyring, wrong, NOW),
        lambda: authority.renew_trust(keyring, wrong, 10, NOW),
        lambda: authority.trust_root(keyring, wrong, other.root, NOW),
    ):
        with pytest.raises(DeniedError, match="not the operator's key"):
            change()
    assert keyring.root == root
    assert keyring.believed(NOW).trust.version == 1


def test_another_s_root_is_trusted_for_its_peers_until_it_is_not(tmp_path: Path) -> None:
    keyring, other = opened(tmp_path / "ours"), opened(tmp_path / "theirs")
    operator = operator_of(keyring)
    own = other.credentials(NOW).chain
    authority.trust_root(keyring, operator, other.root, NOW, known_as="acme")
    assert keyring.credentials(NOW).certified([own], NOW) == Identity("certificate", f"{other.name}@acme", ("peer",))
    admin = other.issue(Subject("admin", "root"), keys.make_p256().public_key(), NOW)
    with pytest.raises(DeniedError, match="the root of acme may not give the role admin here"):
        keyring.credentials(NOW).certified([admin.der], NOW)
    authority.distrust_root(keyring, operator, "acme", NOW)
    with pytest.raises(DeniedError, match="no root that is trusted here"):
        keyring.credentials(NOW).certified([own], NOW)
    with pytest.raises(StateError, match="no root is known as 'acme' here"):
        authority.distrust_root(keyring, operator, "acme", NOW)
    with pytest.raises(StateError, match="no root is known as '' here"):
        authority.distrust_root(keyring, operator, "", NOW)


def test_what_is_no_root_is_not_trusted(tmp_path: Path) -> None:
    keyring, other = opened(tmp_path / "ours"), opened(tmp_path / "theirs")
    operator = operator_of(keyring)
    leaf = read_certificate(other.credentials(NOW).chain)
    with pytest.raises(StateError, match="not a root's"):
        authority.trust_root(keyring, operator, leaf, NOW)
    with pytest.raises(StateError, match="has expired"):
        authority.trust_root(keyring, operator, other.root, other.root.not_after_ms)
    with pytest.raises(StateError, match="nobody can be known as 'a b'"):
        authority.trust_root(keyring, operator, other.root, NOW, known_as="a b")
    with pytest.raises(StateError, match="trusted already"):
        authority.trust_root(keyring, operator, keyring.root, NOW)
