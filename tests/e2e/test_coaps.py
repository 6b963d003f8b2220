"""The directory over DTLS and TLS, as clients see it that we did not write."""

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest
from clients import Answer, aiocoap, libcoap
from running import HOST, Node, running

from waypost.identity import keys
from waypost.identity.certificates import DAY_MS, Subject, issue, make_root
from waypost.runtime.host import wall_clock_ms
from waypost.storage.keyring import Keyring

LINKS = '</t>;rt="temperature"'
PROGRAMS = ("coap-client-openssl", "coap-client-gnutls")
SCHEMES = ("coaps", "coaps+tcp")
KEYS = {"lamp-3": "the key of lamp 3, which is long", "door-1": "sixteen octets :)"[:16]}  # tinydtls takes 16 at most
WAIT_S = 20.0


@dataclass(frozen=True)
class Home:
    """A node and what its devices have."""

    node: Node
    folder: Path
    keyring: Keyring

    def certificate(self, name: str, *, days_ago: int = 0) -> tuple[str, ...]:
        """What libcoap's clients show: a file with the certificate and its key."""
        own, wall_ms = keys.make_p256(), wall_clock_ms() - days_ago * DAY_MS
        made = self.keyring.issue(Subject("device", name, days=30), own.public_key(), wall_ms)
        return self._shown(f"{name}-{days_ago}", made.pem + keys.write_private(own))

    def foreign(self) -> tuple[str, ...]:
        """Of a root that the node does not know, under a name that it does."""
        authority, own = keys.make_p256(), keys.make_p256()
        root = make_root(authority, wall_clock_ms())
        leaf = issue(authority, root, Subject("device", "lamp-3"), own.public_key(), wall_clock_ms())
        return self._shown("foreign", leaf.pem + keys.write_private(own))

    def _shown(self, name: str, pem: bytes) -> tuple[str, ...]:
        file, root = self.folder / f"{name}.pem", self.folder / "root.crt"
        file.write_bytes(pem)
        root.write_bytes(self.keyring.root.pem)
        return ("-c", str(file), "-C", str(root))

    def failed(self) -> dict[str, int]:
        """Handshakes that failed, by listener and reason."""
        with urlopen(f"{self.node.http}/metrics", timeout=WAIT_S) as answer:
            lines = re.findall(
                r'^waypost_secure_handshakes_failed_total{listener="(.*?)",reason="(.*?)"} (\d+)',
                answer.read().decode(),
                re.M,
            )
        return {f"{listener} {reason}": int(number) for listener, reason, number in lines}


def key(name: str) -> tuple[str, ...]:
    return ("-u", name, "-k", KEYS[name])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("home")
    directory = folder / "node"
    (directory / "keys").mkdir(parents=True, mode=0o700)
    secrets = directory / "keys" / "secrets.toml"
    secrets.touch(mode=0o600)
    secrets.write_text(
        "".join(f'[psk."{name}"]\nkey = "{text.encode().hex()}"\nroles = ["device"]\n' for name, text in KEYS.items())
    )
    with running(directory) as node:
        yield Home(node, folder, Keyring.open(directory, wall_clock_ms()))


def targets(answer: Answer) -> list[str]:
    assert answer.code == "2.05", answer.shown
    return re.findall(r"<([^>]*)>", answer.body)


@pytest.mark.peer(*PROGRAMS, "stdbuf")
@pytest.mark.parametrize("shown", ["key", "certificate"])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_libcoap_registers_finds_observes_and_removes(
    home: Home, tmp_path: Path, program: str, scheme: str, shown: str
) -> None:
    name = f"{program}-{scheme.replace('+', '-')}-{shown}"
    shows = (program, *(key("lamp-3") if shown == "key" else home.certificate("lamp-9")))
    node = home.node.over(scheme)

    def ask(method: str, target: str, links: str | None = None) -> Answer:
        return libcoap(node, tmp_path, method, target, links, *shows)

    observer = ["stdbuf", "-oL", *shows, "-v", "6", "-s", "60", f"{node.coap}/rd-lookup/res?ep={name}"]
    with watching(observer) as shown_lines:
        until(shown_lines, "c:2.05")
        registered = ask("POST", f"/rd?ep={name}&lt=600&base=coaps://{shown}.example", LINKS)
        assert registered.code == "2.01", registered.shown
        until(shown_lines, f"<coaps://{shown}.example/t>")
        assert targets(ask("GET", f"/rd-lookup/res?ep={name}")) == [f"coaps://{shown}.example/t"]
        assert ask("DELETE", registered.location).code == "2.02"
        until(shown_lines, "c:2.05")
    assert targets(ask("GET", f"/rd-lookup/res?ep={name}")) == []


@contextmanager
def watching(command: list[str]) -> Iterator[Iterator[str]]:
    """What it shows, line by line."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.kill()


def until(lines: Iterator[str], wanted: str) -> None:
    """pytest's own timeout ends the wait."""
    for line in lines:
        if wanted in line:
            return
    raise AssertionError(f"{wanted} was not shown")


@pytest.mark.peer("coap-client-openssl")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_many_links_come_whole(home: Home, tmp_path: Path, scheme: str) -> None:
    """In blocks over DTLS, both ways; in one message over TLS."""
    links = ",".join(f'</many/{number}>;rt="many";title="number {number}"' for number in range(500))
    node, shows = home.node.over(scheme), ("coap-client-openssl", *key("lamp-3"))
    query = f"ep=many-{scheme[5:]}&base=coaps://many.example.com"
    assert libcoap(node, tmp_path, "POST", f"/rd?{query}", links, *shows).code == "2.01"
    found = libcoap(node, tmp_path, "GET", f"/rd-lookup/res?ep=many-{scheme[5:]}", None, *shows)
    assert found.body == links.replace("</", "<coaps://many.example.com/")


@pytest.mark.peer("coap-client-openssl")
def test_another_may_not_take_a_name_that_is_remembered(home: Home, tmp_path: Path) -> None:
    """Who registered first is who they showed to be, whatever address they come from; a name of a key is not enough."""
    node, program = home.node.over("coaps"), "coap-client-openssl"
    target = "/rd?ep=taken&base=coaps://taken.example.com"
    assert libcoap(node, tmp_path, "POST", target, LINKS, program, *key("lamp-3")).code == "2.01"
    assert libcoap(node, tmp_path, "POST", target, LINKS, program, *key("door-1")).code == "4.03"
    assert libcoap(node, tmp_path, "POST", target, LINKS, program, *home.certificate("lamp-3")).code == "4.03"
    assert libcoap(home.node, tmp_path, "POST", target, LINKS).code == "4.03"
    over_tls = home.node.over("coaps+tcp")
    assert libcoap(over_tls, tmp_path, "POST", target, LINKS, program, *key("lamp-3")).code == "2.01"


@pytest.mark.peer("coap-client-openssl")
@pytest.mark.parametrize(
    ("shown", "reason"),
    [("an unknown name", "key"), ("a foreign root", "certificate"), ("an expired certificate", "certificate")],
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_who_cannot_show_who_they_are_is_refused_at_once(home: Home, scheme: str, shown: str, reason: str) -> None:
    shows = {
        "an unknown name": ("-u", "nobody", "-k", "whatever it is, it is unknown"),
        "a foreign root": home.foreign(),
        "an expired certificate": home.certificate("lamp-3", days_ago=60),
    }[shown]
    before = home.failed().get(f"{scheme} {reason}", 0)
    assert unanswered(home, scheme, *shows)
    assert home.failed()[f"{scheme} {reason}"] == before + 1


@pytest.mark.peer("coap-client-openssl")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_wrong_key_gets_nothing(home: Home, scheme: str) -> None:
    assert unanswered(home, scheme, "-u", "lamp-3", "-k", "not the key of lamp 3")


def unanswered(home: Home, scheme: str, *shows: str) -> bool:
    uri = f"{home.node.over(scheme).coap}/rd-lookup/ep"
    command = ["coap-client-openssl", "-v", "6", "-B", "3", *shows, uri]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    return not re.search(r"c:\d\.\d\d", done.stdout + done.stderr)


def test_plain_coap_and_noise_get_no_answer(home: Home) -> None:
    """And the node goes on."""
    port = home.node.over("coaps").port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.connect((HOST, port))
        stranger.settimeout(0.5)
        for noise in (b"\x40\x01\x00\x01", bytes(1400), b"\x16\xfe\xfd" + bytes(200), b"\x17\xfe\xfd" + bytes(100)):
            stranger.send(noise)
        with pytest.raises(TimeoutError):
            stranger.recv(2048)
    with urlopen(f"{home.node.http}/readyz", timeout=WAIT_S) as answer:
        assert answer.status == 200


@pytest.mark.peer("pip:DTLSSocket")
def test_aiocoap_registers_and_finds(home: Home, tmp_path: Path) -> None:
    """Over DTLS with a pre-shared key, by tinydtls and the one suite that RFC 7252, 9.1.3.1, makes mandatory."""
    node = home.node.over("coaps")
    credentials = tmp_path / "credentials.json"
    shown = {"client-identity": {"ascii": "door-1"}, "psk": {"ascii": KEYS["door-1"]}}
    credentials.write_text(json.dumps({f"{node.coap}/*": {"dtls": shown}}))
    has = ("--credentials", str(credentials))
    registered = aiocoap(node, tmp_path, "POST", "/rd?ep=aiocoap&base=coaps://aiocoap.example.com", LINKS, *has)
    assert registered.code == "2.01", registered.shown
    found = aiocoap(node, tmp_path, "GET", "/rd-lookup/res?ep=aiocoap", None, *has)
    assert targets(found) == ["coaps://aiocoap.example.com/t"]
    assert aiocoap(node, tmp_path, "DELETE", registered.location, None, *has).code == "2.02"
