"""`waypost init` and `waypost ca`: keys and certificates without a node that runs."""

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from waypost.cli.verbs import call
from waypost.identity import keys
from waypost.identity.certificates import make_request, read_certificate
from waypost.storage.keyring import Keyring


class Here:
    """Verbs on one state directory."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.operator = folder / "operator.pem"
        self._capsys = capsys

    def told(self, *line: str, code: int = 0) -> Any:
        """What a verb says in JSON, on standard error if it fails."""
        assert call([*line, "--dir", str(self.state), "-o", "json"]) == code
        captured = self._capsys.readouterr()
        return json.loads(captured.err if code else captured.out)

    def shown(self, *line: str) -> tuple[str, str]:
        assert call([*line, "--dir", str(self.state)]) == 0
        captured = self._capsys.readouterr()
        return captured.out, captured.err

    def signed(self, *line: str, code: int = 0) -> Any:
        return self.told(*line, "--operator-key", str(self.operator), code=code)


@pytest.fixture
def bare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(tmp_path, capsys)


@pytest.fixture
def here(bare: Here) -> Here:
    bare.operator.write_text(bare.told("init")["operator_key"])
    return bare


def test_init_makes_a_state_directory_and_shows_the_operator_s_key_once(bare: Here) -> None:
    out, err = bare.shown("init")
    assert str(bare.state) in out
    assert "PRIVATE" not in out
    assert err.count("-----BEGIN PRIVATE KEY-----") == 1
    assert "keep it offline" in err
    assert (bare.state / "policy.toml").exists()
    out, err = bare.shown("init")
    assert "PRIVATE" not in out + err
    assert "nothing was changed" in err
    assert bare.told("init")["operator_key"] is None


def test_verbs_about_keys_need_keys(bare: Here) -> None:
    for line in (["show"], ["list"], ["issue", "a", "--role", "device"], ["revoke", "a"]):
        error = bare.told("ca", *line, code=2)
        assert error["error"] == f"{bare.state} has no keys yet"
        assert "waypost init" in error["hint"]
    assert not bare.state.exists()


def test_a_certificate_is_issued_with_its_key_and_the_root(here: Here) -> None:
    out = here.folder / "lamp"
    report = here.told("ca", "issue", "lamp-3", "--role", "device", "--days", "7", "--out", str(out))
    assert sorted(path.name for path in out.iterdir()) == ["ca.crt", "lamp-3.crt", "lamp-3.pem"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
    assert sorted(report["files"]) == sorted(str(path) for path in out.iterdir())
    own = read_certificate((out / "lamp-3.crt").read_bytes())
    assert own.serial == report["serial"]
    assert own.not_after_ms - own.not_before_ms == 7 * 86_400_000 + 300_000
    key = keys.read_private((out / "lamp-3.pem").read_bytes())
    assert keys.fingerprint(key.public_key()) == keys.fingerprint(own.public)
    assert read_certificate((out / "ca.crt").read_bytes()) == Keyring.open_made(here.state).root
    here.told("ca", "issue", "lamp-4", "--role", "device", "--out", str(out))  # the same root is there already
    error = here.told("ca", "issue", "lamp-3", "--role", "admin", "--out", str(out), code=2)
    assert error["error"] == f"{out / 'lamp-3.crt'} is there already"
    assert [item["role"] for item in here.told("ca", "list") if item["name"] == "lamp-3"] == ["device"]


@pytest.mark.peer("openssl")
def test_openssl_takes_what_is_issued(here: Here) -> None:
    out = here.folder / "node"
    here.told("ca", "issue", "node-1", "--role", "peer", "--san", "node-1.example", "--out", str(out))
    for purpose in ("sslserver", "sslclient"):
        command = ["openssl", "verify", "-x509_strict", "-CAfile", "ca.crt", "-purpose", purpose]
        command += ["-verify_hostname", "node-1.example", "node-1.crt"]
        assert subprocess.run(command, cwd=out, check=False, capture_output=True).returncode == 0


def test_a_key_that_stays_with_its_owner_is_certified_by_a_request(here: Here) -> None:
    key = keys.make_ed25519()
    request = here.folder / "request.pem"
    request.write_bytes(make_request(key, "somebody-else", ("evil.example",)))
    out = here.folder / "out"
    here.told("ca", "issue", "lamp-3", "--role", "reader", "--request", str(request), "--out", str(out))
    assert sorted(path.name for path in out.iterdir()) == ["ca.crt", "lamp-3.crt"]
    own = read_certificate((out / "lamp-3.crt").read_bytes())
    assert keys.fingerprint(own.public) == keys.fingerprint(key.public_key())
    assert own.uris[0].endswith("/reader/lamp-3")
    assert own.hosts == ()  # what is asked for is not yet granted
    request.write_bytes(b"nothing")
    line = ["ca", "issue", "lamp-4", "--role", "reader", "--request", str(request), "--out", str(out)]
    assert here.told(*line, code=2)["error"] == f"{request}: it is no certificate request that can be read"


@pytest.mark.parametrize(
    "line", [["a@b", "--role", "device"], ["a", "--role", "peer", "--san", "*.example"], ["../a", "--role", "device"]]
)
def test_names_that_cannot_be_certified_are_refused_and_nothing_is_written(here: Here, line: list[str]) -> None:
    out = here.folder / "out"
    before = here.told("ca", "list")
    here.told("ca", "issue", *line, "--out", str(out), code=2)
    assert not out.exists() or list(out.iterdir()) == []
    assert here.told("ca", "list") == before


def test_what_is_revoked_is_listed_so(here: Here) -> None:
    first = here.told("ca", "issue", "lamp-3", "--role", "device", "--out", str(here.folder / "a"))["serial"]
    second = here.told("ca", "issue", "lamp-3", "--role", "device", "--out", str(here.folder / "b"))["serial"]
    assert here.told("ca", "revoke", first) == {"certificates": [first], "keys": []}
    revoked = {item["serial"]: item["revoked"] for item in here.told("ca", "list")}
    assert (revoked[first], revoked[second]) == (True, False)
    assert here.told("ca", "revoke", "lamp-3")["certificates"] == sorted([first, second])
    assert here.told("ca", "revoke", "ab" * 32, "--key") == {"certificates": [], "keys": ["ab" * 32]}
    assert here.told("ca", "revoke", "cd" * 20)["certificates"] == ["cd" * 20]
    assert here.told("ca", "show")["revoked"] == 4
    assert here.told("ca", "revoke", "nobody", code=1)["error"].startswith("nothing was issued to 'nobody'")
    assert here.told("ca", "revoke", "ab", "--key", code=2)["error"] == "a key's fingerprint has 64 hexadecimal digits"


def test_roots_are_exchanged_and_trusted_by_the_operator_s_key(here: Here, tmp_path: Path) -> None:
    before = here.told("ca", "show")
    report = here.signed("ca", "rotate", "--overlap-days", "5")
    after = here.told("ca", "show")
    assert after["root"] == report["root"] != before["root"]
    assert [root["known_as"] for root in after["trusted"]] == ["", ""]
    assert after["trusted"][0]["until_ms"] == report["old_until_ms"]
    other = tmp_path / "other"
    assert call(["init", "--dir", str(other)]) == 0
    here.shown("ca", "show")
    root = str(other / "keys" / "ca.crt")
    added = here.signed("ca", "trust", "add", root, "--as", "acme", "--role", "peer", "--role", "reader")
    assert (added["known_as"], added["roles"]) == ("acme", ["peer", "reader"])
    assert here.signed("ca", "trust", "add", root, code=2)["error"] == "a root with this key is trusted already"
    assert here.signed("ca", "trust", "remove", "acme")["version"] == 4
    assert here.signed("ca", "renew", "--days", "9")["version"] == 5
    assert "trust version  5" in here.shown("ca", "show")[0]


def test_another_s_key_is_denied_and_no_key_is_shown(here: Here) -> None:
    here.operator.write_bytes(keys.write_private(keys.make_ed25519()))
    error = here.signed("ca", "rotate", code=4)
    assert error["error"] == "this is not the operator's key of this state directory"
    here.operator.write_text("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n")
    error = here.signed("ca", "rotate", code=2)
    assert error["error"].startswith(str(here.operator))
    assert "c2VjcmV0" not in json.dumps(error)
    here.operator.unlink()
    assert "no such file" in here.signed("ca", "rotate", code=2)["error"].lower()


def test_wide_permissions_stop_each_verb(here: Here) -> None:
    os.chmod(here.state / "keys" / "ca.pem", 0o644)
    error = here.told("ca", "show", code=2)
    assert error["hint"] == f"chmod 600 {here.state / 'keys' / 'ca.pem'}"
