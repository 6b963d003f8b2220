"""Nodes and devices join by a token, over real listeners; curl, which we did not write, is a peer like any other."""

import asyncio
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Node, running

from waypost import Client, RemoteError, SyncClient, UnreachableError
from waypost.identity.anchors import Revoked
from waypost.identity.certificates import Subject, issue, make_root
from waypost.identity.keys import PrivateKey, make_p256, read_private, write_private
from waypost.storage.authority import revoke
from waypost.storage.keyring import Keyring

HTTPS = {"https__listen": "127.0.0.1:0"}


def waypost(*line: str, code: int = 0, **environment: str) -> Any:
    """What a verb writes as JSON; the sentence of its error if it is to fail."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")} | environment
    command = [sys.executable, "-m", "waypost", *line, "-o", "json"]
    ended = subprocess.run(command, env=clean, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == code, ended.stderr
    return json.loads(ended.stderr)["error"] if code else json.loads(ended.stdout)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running(tmp_path_factory.mktemp("first"), **HTTPS) as node:
        yield node


def state(node: Node) -> Path:
    return Path(node.listeners["local"]).parent


def peers(node: Node) -> str:
    return f"https://{node.listeners['peers']}"


def token(node: Node, name: str, role: str, *more: str) -> str:
    text = waypost("token", "create", name, "--role", role, "--join", *more, WAYPOST_DIR=str(state(node)))["token"]
    assert isinstance(text, str)
    return text


def curl(*line: str) -> tuple[int, Any]:
    """The status, 0 if there is none, and the body."""
    command = ["curl", "-s", "--max-time", "10", "-w", "\n%{http_code}", *line]
    body, _, status = subprocess.run(command, capture_output=True, text=True, check=False).stdout.rpartition("\n")
    return int(status or 0), json.loads(body) if body else None


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.peer("curl")
def test_a_node_joins_and_is_a_peer_of_the_one_that_gave_the_token(first: Node, tmp_path: Path) -> None:
    given = token(first, "node-2", "peer")
    report = waypost("join", given, peers(first), "--dir", str(tmp_path / "second"))
    assert (report["name"], report["role"]) == ("node-2", "peer")
    with running(tmp_path / "second") as second:
        keys = state(second) / "keys"
        assert not (keys / "ca.pem").exists()
        assert (keys / "ca.crt").read_bytes() == (state(first) / "keys" / "ca.crt").read_bytes()
        for one, other in ((first, second), (second, first)):
            own = state(one) / "keys"
            shown = ("--cert", str(own / "tls.crt"), "--key", str(own / "tls.pem"), "--cacert", str(own / "ca.crt"))
            status, said = curl(*shown, f"{peers(other)}/v1/peer")
            assert status == 200
            assert (said["name"] == "node-2") == (other is second)
            assert said["capabilities"] == ["rd"]
            assert said["protocol"] == 1


def test_what_joining_writes_is_for_its_owner_alone(first: Node, tmp_path: Path) -> None:
    waypost("join", token(first, "lamp-1", "device"), peers(first), "--out", str(tmp_path / "lamp"))
    assert stat.S_IMODE((tmp_path / "lamp").stat().st_mode) == 0o700
    assert sorted(files(tmp_path / "lamp")) == ["ca.crt", "lamp-1.crt", "lamp-1.pem"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "lamp").iterdir()} == {0o600}


def test_a_token_is_used_once(first: Node, tmp_path: Path) -> None:
    given = token(first, "lamp-2", "device")
    waypost("join", given, peers(first), "--out", str(tmp_path / "a"))
    issued = (state(first) / "keys" / "issued.jsonl").read_bytes()
    start = time.monotonic()
    assert "used already" in waypost("join", given, peers(first), "--out", str(tmp_path / "b"), code=4)
    assert time.monotonic() - start < 5.0
    assert not (tmp_path / "b").exists()
    assert (state(first) / "keys" / "issued.jsonl").read_bytes() == issued


def test_a_token_that_the_authority_revoked_changes_nothing(first: Node, tmp_path: Path) -> None:
    given = token(first, "lamp-9", "device")
    ids = Revoked(tokens=frozenset({given.split("_")[1]}))
    revoke(Keyring.open_made(state(first)), ids, time.time_ns() // 1_000_000)
    assert "revoked" in waypost("join", given, peers(first), "--out", str(tmp_path / "a"), code=4)
    assert not (tmp_path / "a").exists()


def test_an_expired_token_changes_nothing(first: Node, tmp_path: Path) -> None:
    given = token(first, "lamp-3", "device", "--expires", "1s")
    time.sleep(1.1)
    assert "expired" in waypost("join", given, peers(first), "--out", str(tmp_path / "a"), code=4)
    assert not (tmp_path / "a").exists()


def test_a_revoked_token_changes_nothing(first: Node, tmp_path: Path) -> None:
    given = token(first, "lamp-4", "device")
    waypost("token", "revoke", given.split("_")[1], WAYPOST_DIR=str(state(first)))
    assert "none to join" in waypost("join", given, peers(first), "--out", str(tmp_path / "a"), code=4)


def test_a_token_of_another_authority_is_not_even_sent(first: Node, tmp_path: Path) -> None:
    with running(tmp_path / "other") as other:
        given = token(other, "lamp-5", "device")
        sentence = waypost("join", given, peers(first), "--out", str(tmp_path / "a"), code=4)
        assert "another root than the token names" in sentence
        with SyncClient(f"unix://{other.listeners['local']}") as client:
            assert client.tokens()[-1].used is None
        refused = client_counters(first)["tokens_refused"]
        waypost("join", given, peers(first), "--out", str(tmp_path / "a"), code=4)
        assert client_counters(first)["tokens_refused"] == refused


def client_counters(node: Node) -> dict[str, int]:
    with SyncClient(f"unix://{node.listeners['local']}") as client:
        return client.status().counters


def test_a_token_for_a_device_makes_no_node_and_is_not_used_up(first: Node, tmp_path: Path) -> None:
    given = token(first, "lamp-6", "device")
    assert "certifies a device" in waypost("join", given, peers(first), "--dir", str(tmp_path / "n"), code=4)
    assert not (tmp_path / "n" / "keys").exists()
    waypost("join", given, peers(first), "--out", str(tmp_path / "lamp"))


def test_a_token_for_several_names_needs_one_and_takes_nobodys(first: Node, tmp_path: Path) -> None:
    given = token(first, "sensor-*", "device")
    assert "say which name" in waypost("join", given, peers(first), "--out", str(tmp_path / "a"), code=4)
    assert "for the name" in waypost(
        "join", given, peers(first), "--name", "door", "--out", str(tmp_path / "a"), code=4
    )
    assert (
        waypost("join", given, peers(first), "--name", "sensor-1", "--out", str(tmp_path / "a"))["name"] == "sensor-1"
    )
    again = token(first, "sensor-*", "device")
    sentence = waypost("join", again, peers(first), "--name", "sensor-1", "--out", str(tmp_path / "b"), code=4)
    assert "taken" in sentence


def test_a_host_that_the_token_does_not_name_is_refused(first: Node, tmp_path: Path) -> None:
    line = (peers(first), "--dir", str(tmp_path / "n"), "--san", "bank.example")
    assert "bank.example" in waypost("join", token(first, "node-3", "peer"), *line, code=4)
    assert waypost("join", token(first, "node-3", "peer", "--san", "bank.example"), *line)["name"] == "node-3"


def test_a_directory_with_keys_keeps_them_unless_they_are_to_be_replaced(first: Node, tmp_path: Path) -> None:
    home = tmp_path / "n"
    waypost("init", "--dir", str(home))
    before = files(home / "keys")
    given = token(first, "node-4", "peer")
    assert "has keys" in waypost("join", given, peers(first), "--dir", str(home), code=2)
    assert files(home / "keys") == before
    waypost("join", given, peers(first), "--dir", str(home), "--replace")
    assert files(home / "keys.before") == before
    for kept in ("node.pem", "tls.pem"):
        assert (home / "keys" / kept).read_bytes() == before[kept], "the network may know it by this key"
    assert not (home / "keys" / "ca.pem").exists()
    with running(home):
        pass


def test_a_directory_in_which_a_node_runs_is_left_alone(first: Node) -> None:
    given = token(first, "node-5", "peer")
    sentence = waypost("join", given, peers(first), "--dir", str(state(first)), "--replace", code=2)
    assert "a node runs in" in sentence
    assert (state(first) / "keys" / "ca.pem").exists()


@pytest.mark.parametrize("text", ["wp_aaaaaaaa_" + "a" * 52, "nonsense", "wpj_aaaaaaaa"])
def test_what_is_no_token_to_join_with_is_refused_before_anything_is_asked(text: str, tmp_path: Path) -> None:
    waypost("join", text, "https://127.0.0.1:1", "--out", str(tmp_path / "a"), code=4)


def test_joining_needs_tls_and_somebody_there(first: Node, tmp_path: Path) -> None:
    given = token(first, "lamp-7", "device")
    waypost("join", given, first.http, "--out", str(tmp_path / "a"), code=2)
    waypost("join", given, "https://127.0.0.1:1", "--out", str(tmp_path / "a"), code=3)
    waypost("join", given, peers(first), "--out", str(tmp_path / "a"))


def test_a_token_is_not_taken_in_plain(first: Node) -> None:
    body = json.dumps({"token": token(first, "lamp-8", "device"), "request": "x"})
    status, problem = curl("-H", "Content-Type: application/json", "-d", body, f"{first.http}/v1/join")
    assert (status, "TLS" in problem["detail"]) == (403, True)


# who is let in, with curl


def authority(node: Node) -> tuple[PrivateKey, Any]:
    keyring = Keyring.open_made(state(node))
    return keyring.read("ca.pem", read_private), keyring.root


def certified(folder: Path, node: Node, subject: Subject) -> tuple[str, ...]:
    """curl's flags for a certificate of the node's authority."""
    key = make_p256()
    signer, root = authority(node)
    made = issue(signer, root, subject, key.public_key(), time.time_ns() // 1_000_000)
    (folder / "crt.pem").write_bytes(made.pem)
    (folder / "key.pem").write_bytes(write_private(key))
    return shown(folder, node)


def shown(folder: Path, node: Node) -> tuple[str, ...]:
    return ("--cert", str(folder / "crt.pem"), "--key", str(folder / "key.pem"), *believing(node))


def believing(node: Node) -> tuple[str, ...]:
    return ("--cacert", str(state(node) / "keys" / "ca.crt"))


@pytest.mark.peer("curl")
def test_the_peers_port_answers_nodes_alone(first: Node, tmp_path: Path) -> None:
    url = f"{peers(first)}/v1/peer"
    assert curl(*believing(first), url)[0] == 401
    assert curl(*certified(tmp_path, first, Subject("device", "lamp")), url)[0] == 403
    assert curl(*certified(tmp_path, first, Subject("admin", "anna")), url)[0] == 403
    assert curl(*certified(tmp_path, first, Subject("peer", "node-9")), url)[0] == 200
    admin = waypost("token", "create", "x", "--role", "peer", "--role", "admin", WAYPOST_DIR=str(state(first)))["token"]
    assert curl(*believing(first), "-H", f"Authorization: Bearer {admin}", url)[0] == 403
    assert curl(*believing(first), f"{peers(first)}/v1/endpoints")[0] == 404


@pytest.mark.peer("curl")
def test_a_certificate_with_two_identities_or_of_a_stranger_is_refused_quickly(first: Node, tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    signer, root = authority(first)
    key = make_p256()
    good = x509.load_der_x509_certificate(
        issue(signer, root, Subject("peer", "n"), key.public_key(), time.time_ns() // 1_000_000).der
    )
    two = [f"waypost://{root.domain}/peer/{name}" for name in ("n", "m")]
    builder = x509.CertificateBuilder(
        good.issuer, good.subject, good.public_key(), 7, good.not_valid_before_utc, good.not_valid_after_utc
    )
    for extension in good.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            value = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in two])
        builder = builder.add_extension(value, extension.critical)
    (tmp_path / "key.pem").write_bytes(write_private(key))
    (tmp_path / "crt.pem").write_bytes(builder.sign(signer, SHA256()).public_bytes(Encoding.PEM))
    start = time.monotonic()
    status, problem = curl(*shown(tmp_path, first), f"{peers(first)}/v1/peer")
    assert (status, "2 identities" in problem["detail"]) == (401, True)

    foreign = make_p256()
    stranger = make_root(foreign, time.time_ns() // 1_000_000)
    made = issue(foreign, stranger, Subject("peer", "n"), key.public_key(), time.time_ns() // 1_000_000)
    (tmp_path / "crt.pem").write_bytes(made.pem)
    assert curl(*shown(tmp_path, first), f"{peers(first)}/v1/peer")[0] == 0
    assert time.monotonic() - start < 5.0


@pytest.mark.peer("curl")
def test_a_revoked_certificate_is_refused_while_the_node_runs(first: Node, tmp_path: Path) -> None:
    flags = certified(tmp_path, first, Subject("peer", "node-10"))
    assert curl(*flags, f"{peers(first)}/v1/peer")[0] == 200
    from waypost.identity.certificates import read_certificate

    serial = read_certificate((tmp_path / "crt.pem").read_bytes()).serial
    revoke(Keyring.open_made(state(first)), Revoked(certificates=frozenset({serial})), time.time_ns() // 1_000_000)
    status, problem = curl(*flags, f"{peers(first)}/v1/peer")
    assert (status, "revoked" in problem["detail"]) == (401, True)


@pytest.mark.peer("curl")
def test_https_takes_a_token_or_a_certificate_or_a_stranger(first: Node, tmp_path: Path) -> None:
    url = f"https://{first.listeners['https']}/v1/evictions"
    admin = waypost("token", "create", "anna", "--role", "admin", WAYPOST_DIR=str(state(first)))["token"]
    assert curl(*believing(first), url)[0] == 401
    assert curl(*believing(first), "-H", f"Authorization: Bearer {admin}", url)[0] == 200
    assert curl(*certified(tmp_path, first, Subject("admin", "anna")), url)[0] == 200
    assert curl(*certified(tmp_path, first, Subject("reader", "ben")), url)[0] == 403
    assert curl(*believing(first), f"https://{first.listeners['https']}/v1/endpoints")[0] == 200


@pytest.mark.peer("curl")
@pytest.mark.parametrize("listener", ["https", "peers"])
def test_tls_1_2_is_not_spoken_and_the_nodes_certificate_holds_for_its_hosts(first: Node, listener: str) -> None:
    url = f"https://{first.listeners[listener]}/v1/join"
    assert curl(*believing(first), "--tls-max", "1.2", url)[0] == 0
    assert curl(*believing(first), "--tlsv1.3", url)[0] == 200
    assert curl("--tlsv1.3", url)[0] == 0, "of no authority that this machine knows"


@pytest.mark.peer("curl")
def test_the_nodes_own_socket_is_the_operators(first: Node) -> None:
    path = first.listeners["local"]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert curl("--unix-socket", path, "http://x/v1/evictions")[0] == 200
    reader = waypost("token", "create", "r", "--role", "reader", WAYPOST_DIR=str(state(first)))["token"]
    for text, status in (("wp_wrong", 401), (reader, 403)):
        shown = ("-H", f"Authorization: Bearer {text}")
        assert curl(*shown, "--unix-socket", path, "http://x/v1/evictions")[0] == status, "what is shown decides"
    assert curl(f"{first.http}/v1/evictions")[0] == 401


def test_the_asynchronous_client_asks_by_the_socket_and_over_https(first: Node) -> None:
    url, root = f"https://{first.listeners['https']}", state(first) / "keys" / "ca.crt"

    async def story() -> None:
        async with Client(f"unix://{first.listeners['local']}") as local:
            assert await local.evictions() == ()
            given = await local.create_token("async", roles=["admin"])
            async with Client(url, token=given.token, ca=root) as client:
                assert await client.evictions() == ()
                await local.revoke_token(given.id)
                with pytest.raises(RemoteError, match="not one of this node's"):
                    await client.evictions()
        async with Client(url) as stranger:
            with pytest.raises(UnreachableError):
                await stranger.status()

    asyncio.run(story())


def test_python_clients_ask_over_https_with_a_token(first: Node) -> None:
    url, root = f"https://{first.listeners['https']}", state(first) / "keys" / "ca.crt"
    with SyncClient(f"unix://{first.listeners['local']}") as local:
        given = local.create_token("py", roles=["admin"])
        with SyncClient(url, token=given.token, ca=root) as client:
            assert client.evictions() == ()
            local.revoke_token(given.id)
            with pytest.raises(RemoteError, match="not one of this node's"):
                client.evictions()
