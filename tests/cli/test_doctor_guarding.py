"""The doctor's checks of what guards a node, with something that makes each fail or warn."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from waypost.cli.checks import carry_out, disk, guarding
from waypost.cli.reports import Finding
from waypost.identity import certificates, keys
from waypost.identity.anchors import seal_trust
from waypost.identity.certificates import DAY_MS, Subject
from waypost.storage.authority import renew_trust, trust_root
from waypost.storage.keyring import Keyring
from waypost.storage.policy import open_policy

NOW = 1_800_000_000_000  # 2027


def states(findings: Sequence[Finding]) -> list[str]:
    return [finding.state for finding in findings]


def only(findings: Sequence[Finding]) -> Finding:
    (finding,) = findings
    return finding


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.open(tmp_path, NOW)


def operator(keyring: Keyring) -> Ed25519PrivateKey:
    assert keyring.operator_key is not None
    return keys.read_private_ed25519(keyring.operator_key)


def test_files_that_others_may_read_are_each_named(keyring: Keyring, tmp_path: Path) -> None:
    open_policy(tmp_path)
    tmp_path.chmod(0o700)
    assert states(guarding.check_permissions(tmp_path)) == ["ok"]
    (keyring.folder / "node.pem").chmod(0o640)
    (tmp_path / "waypost.db").touch(0o644)
    (tmp_path / "policy.toml").chmod(0o622)
    keyring.folder.chmod(0o750)
    found = guarding.check_permissions(tmp_path)
    assert states(found) == ["fail"] * 4
    for path, mode in ((keyring.folder, "700"), (keyring.folder / "node.pem", "600"), (tmp_path / "waypost.db", "600")):
        assert f"chmod {mode} {path}" in [finding.hint for finding in found]
    tmp_path.chmod(0o777)
    (tmp_path / "keys.before").mkdir(0o755)
    assert len(guarding.check_permissions(tmp_path)) == 6


@pytest.mark.peer("user:root")
def test_a_file_of_another_user_fails(keyring: Keyring, tmp_path: Path) -> None:
    os.chown(keyring.folder / "log.pem", 65_534, -1)
    found = only(guarding.check_permissions(tmp_path))
    assert found.hint == f"chown {os.geteuid()} {keyring.folder / 'log.pem'}"


def test_a_directory_that_is_not_there_is_skipped(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    checks: list[Callable[[], list[Finding]]] = [
        lambda: guarding.check_permissions(nowhere),
        lambda: guarding.check_certificates(nowhere, NOW),
        lambda: guarding.check_secrets(nowhere),
        lambda: guarding.check_policy(nowhere),
        lambda: disk.check_database(nowhere),
    ]
    assert [states(check()) for check in checks] == [["skipped"]] * 5
    assert not nowhere.exists()


def test_an_expired_certificate_fails_and_one_that_ends_soon_is_warned_of(keyring: Keyring, tmp_path: Path) -> None:
    def ends(days: int) -> None:
        root, key = keys.read_private((keyring.folder / "ca.pem").read_bytes()), keys.make_p256()
        subject = Subject("peer", keyring.name, keyring.hosts, 1)
        made = certificates.issue(root, keyring.root, subject, key.public_key(), NOW + (days - 1) * DAY_MS)
        (keyring.folder / "tls.crt").write_bytes(made.pem)

    for days, state in ((-1, "fail"), (0, "fail"), (29, "fail"), (1, "warn")):  # 29: not valid before
        ends(days)
        assert guarding.check_certificates(tmp_path, NOW)[0].state == state, days
    assert "start it again" in str(guarding.check_certificates(tmp_path, NOW)[0].hint)
    (keyring.folder / "ca.pem").unlink()
    assert "bring keys/ca.pem back" in str(guarding.check_certificates(tmp_path, NOW)[0].hint)
    assert states(guarding.check_certificates(tmp_path, NOW + 30 * DAY_MS))[1:] == ["ok", "ok"]


def test_a_root_and_a_trust_file_that_end_are_warned_of_in_time(keyring: Keyring, tmp_path: Path) -> None:
    end_ms = keyring.root.not_after_ms
    assert states(guarding.check_certificates(tmp_path, NOW)) == ["ok", "ok", "ok"]
    ending = guarding.check_certificates(tmp_path, end_ms - 29 * DAY_MS)[1:]
    assert [(finding.state, finding.hint) for finding in ending] == [
        ("warn", "waypost ca rotate"),
        ("warn", "waypost ca renew --operator-key FILE"),
    ]
    assert states(guarding.check_certificates(tmp_path, end_ms))[1:] == ["fail", "fail"]
    renew_trust(keyring, operator(keyring), 29, NOW)
    own, root, trust = guarding.check_certificates(tmp_path, NOW)
    assert (own.state, root.state, trust.state, trust.hint) == (
        "ok",
        "ok",
        "warn",
        "waypost ca renew --operator-key FILE",
    )


def test_a_foreign_root_that_ends_soon_is_warned_of(keyring: Keyring, tmp_path: Path) -> None:
    theirs = certificates.make_root(keys.make_p256(), NOW, days=29)
    trust_root(keyring, operator(keyring), theirs, NOW, known_as="theirs")
    assert [finding.sentence for finding in guarding.check_certificates(tmp_path, NOW) if finding.state == "warn"] == [
        "the trust in theirs ends on 2027-02-13, in 29 days"
    ]


def test_a_trust_file_that_the_operator_did_not_sign_fails(keyring: Keyring, tmp_path: Path) -> None:
    trust = keyring.believed(NOW).trust
    (keyring.folder / "trust.json").write_bytes(seal_trust(trust, keys.make_ed25519()))
    found = carry_out("certificates", lambda: guarding.check_certificates(tmp_path, NOW))
    assert [finding.state for finding in found] == ["fail"]
    assert "another" in found[0].sentence


def test_sample_secrets_fail_and_show_nothing(keyring: Keyring, tmp_path: Path) -> None:
    assert states(guarding.check_secrets(tmp_path)) == ["skipped"]
    secrets = keyring.folder / "secrets.toml"
    secrets.write_text(f'[psk.lamp]\nkey = "{b"changeme-changeme".hex()}"\n')
    found = only(carry_out("secrets", lambda: guarding.check_secrets(tmp_path)))
    assert (found.state, b"changeme".hex() in found.sentence) == ("fail", False)
    secrets.write_text(f'[psk.lamp]\nkey = "{os.urandom(32).hex()}"\n')
    assert only(guarding.check_secrets(tmp_path)).sentence == "1 pre-shared keys and 0 OSCORE contexts"


def test_a_policy_that_is_not_understood_fails(tmp_path: Path) -> None:
    open_policy(tmp_path)
    assert states(guarding.check_policy(tmp_path)) == ["ok"]
    (tmp_path / "policy.toml").write_text('[[alow]]\nwho = ["anyone"]\n')
    found = only(guarding.check_policy(tmp_path))
    assert (found.state, "did you mean allow" in str(found.hint)) == ("fail", True)


def test_a_policy_that_lets_strangers_do_what_operators_should_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text('[[allow]]\nwho = ["anyone"]\ndo = ["evict", "look-up"]\n')
    found = only(guarding.check_policy(tmp_path))
    assert (found.state, "may evict, without" in found.sentence) == ("warn", True)
