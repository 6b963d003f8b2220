"""A secret shows nowhere: not in logs, answers, figures, reports, tracebacks or the arguments of a process.

A node gets secrets of every kind that there is, is used rightly and wrongly, and broken at last; then all that it and
the verbs have said is searched for every form of each.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest
from canary import PIECE, Canary, forms, halves, leaks, of_key, of_token
from device import Device, udp_socket
from oscore_device import Device as OscoreDevice
from oscore_device import Keys
from running import END_S, HOST, port_of
from secured import authority, holding

from waypost.coap.message import Message
from waypost.coap.numbers import Code, Option, Type
from waypost.config.settling import KEYS
from waypost.identity import Identity, keys
from waypost.identity.certificates import Subject
from waypost.identity.credentials import Credentials
from waypost.identity.oscore import SecurityContext
from waypost.identity.token import Shown
from waypost.runtime import local
from waypost.runtime.dtls import Association
from waypost.runtime.host import wall_clock_ms
from waypost.runtime.secure import Channel, connect
from waypost.storage.keyring import Keyring

KEY_FILES = ("node.pem", "log.pem", "cosigner.pem", "ca.pem", "tls.pem")
PSK = os.urandom(32)
TEXT_PSK = b"the key of the lamp on floor 7 :)"  # octets that are letters
CONTEXT = SecurityContext(Identity("oscore", "fan-1"), os.urandom(16), b"\x01", b"\x02", os.urandom(8))
WRONG_TOKEN = Shown("a234567b", os.urandom(32))  # well formed, and nobody's
JOIN_TOKEN = Shown("b234567a", os.urandom(32), os.urandom(32).hex())
SECRETS = f"""
[psk."lamp-3"]
key = "{PSK.hex()}"
roles = ["device"]

[psk."lamp-7"]
key = "{TEXT_PSK.hex()}"

[oscore."fan-1"]
master_secret = "{CONTEXT.master_secret.hex()}"
master_salt = "{CONTEXT.master_salt.hex()}"
sender_id = "01"
recipient_id = "02"
"""
TOKEN = re.compile(rb"wpj?_[a-z2-7]{8}_[a-z2-7]{52}(?:_[a-z2-7]{52})?")
PRIVATE = re.compile(rb"-----BEGIN PRIVATE KEY-----.*?-----END PRIVATE KEY-----", re.DOTALL)
WAIT_S = 1.0
STEPS = """
import json, sys
from pathlib import Path
from waypost.cli.verbs import call

for step in json.load(sys.stdin):
    if step[0] == "write":
        Path(step[1]).write_text(step[2])
    else:
        call(step)
"""


def environment(directory: Path, **more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
    free = {key.environment: f"{HOST}:0" for key in KEYS.values() if key.name == "listen"}
    return clean | free | {"WAYPOST_DIR": str(directory)} | more


@dataclass(repr=False)
class Home:
    """A node with its log in a file; `heard` has all that was said, by what said it."""

    directory: Path
    form: str
    canaries: list[Canary] = field(default_factory=list)
    heard: dict[str, bytes] = field(default_factory=dict)
    listeners: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.directory.with_name(f"log-{self.form}")

    def start(self) -> "subprocess.Popen[bytes]":
        settings = {"WAYPOST_LOG_LEVEL": "debug", "WAYPOST_LOG_FORMAT": self.form}
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "waypost", "run"],
                env=environment(self.directory, **settings),
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert process.stdout is not None
        ready = process.stdout.readline()
        self.heard["ready line"] = ready
        if ready:
            self.listeners = json.loads(ready)["listeners"]
        return process

    def port(self, listener: str) -> int:
        return port_of(self.listeners[listener])

    def call(self, *steps: list[str], **more: str) -> bytes:
        """All that verbs say, one after another in one process; whether they succeed is not the question here.

        A step is a command line, or ["write", file, text].
        """
        done = subprocess.run(
            [sys.executable, "-c", STEPS],
            input=json.dumps(steps).encode(),
            env=environment(self.directory, **more),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0
        return done.stdout + done.stderr

    def verbs(self, *steps: list[str], **more: str) -> bytes:
        """As call(), and it is searched."""
        said = self.heard[f"{len(self.heard)} waypost {steps[0][0]} and others"] = self.call(*steps, **more)
        return said

    def ask(self, method: str, target: str, body: bytes | None = None, **headers: str) -> int:
        """Over HTTP; the status."""
        connection = HTTPConnection(HOST, self.port("http"), timeout=END_S)
        try:
            connection.request(method, target, body, {name.replace("_", "-"): text for name, text in headers.items()})
            response = connection.getresponse()
            said = str(response.headers).encode() + response.read()
        finally:
            connection.close()
        told = TOKEN.sub(b"TOKEN", f"{method} {target} {headers} {(body or b'').decode()}".encode()).decode()
        self.heard[f"{len(self.heard)} HTTP {told}"] = said
        return response.status


@pytest.fixture(scope="module", params=["json", "human"])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The whole story."""
    home = Home(tmp_path_factory.mktemp("canary") / "state", request.param)
    first = first_start(home)
    home.canaries = secrets(home.directory, first)
    process = home.start()
    try:
        use_http(home, [*TOKEN.findall(first), create(home, "dashboard", "--role", "admin")])
        use_join(home)
        use_coap(home)
        use_oscore(home)
        use_keys(home, home.port("coaps"), over_dtls)
        use_keys(home, home.port("coaps+tcp"), over_tls)
        use_verbs(home)
        home.heard["the arguments of the process"] = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        break_database(home)
    finally:
        process.terminate()
        process.wait(END_S)
        assert process.stdout is not None
        process.stdout.close()
    home.heard["the log"] = home.log.read_bytes()
    home.verbs(["doctor"], ["run"])
    if home.form == "json":  # nothing runs any more that could have another form
        spoil_secrets(home)
    return home


def first_start(home: Home) -> bytes:
    """What it says: this once it shows what nobody ever shows again."""
    process = home.start()
    process.terminate()
    process.wait(END_S)
    assert process.stdout is not None
    process.stdout.close()
    file = home.directory / "keys" / "secrets.toml"
    file.touch(0o600)
    file.write_text(SECRETS)
    return home.log.read_bytes()


def secrets(directory: Path, first: bytes) -> list[Canary]:
    """All there are.  A new kind of secret belongs here, and into the story where it is used."""
    device = Keys(CONTEXT)
    (operator,) = PRIVATE.findall(first)
    return [
        *(of_key(name, (directory / "keys" / name).read_bytes()) for name in KEY_FILES),
        of_key("operator's key", operator.replace(b"\\n", b"\n")),
        *(of_token("token of the first start", text.decode()) for text in TOKEN.findall(first)),
        Canary("pre-shared key", PSK),
        Canary("pre-shared key of letters", TEXT_PSK),
        Canary("master secret", CONTEXT.master_secret),
        Canary("sender key", device.sender_key),
        Canary("recipient key", device.recipient_key),
        Canary("wrong token", WRONG_TOKEN.secret),
        Canary("token to join with", JOIN_TOKEN.secret),
    ]


def create(home: Home, *line: str) -> bytes:
    """A token, which is shown this once."""
    (text,) = TOKEN.findall(home.call(["token", "create", *line]))
    home.canaries.append(of_token(f"token {' '.join(line)}", text.decode()))
    return bytes(text)


def use_join(home: Home) -> None:
    """With a token that is right, again with it, and with others."""
    url, folder = f"https://{home.listeners['peers']}", home.directory.with_name(f"lamp-8-{home.form}")
    token = create(home, "lamp-8", "--role", "device", "--join").decode()
    tokens = (token, token, token[:-1], token[: token.rindex("_")], JOIN_TOKEN.text)
    home.verbs(
        *(["join", shown, at, "--out", str(folder)] for at in (url, f"{url}/{token}") for shown in tokens),
        ["join", token, url, "--out", f"{folder}-2"],
        ["join", url, token, "--out", f"{folder}-2"],
    )
    for shown in tokens:
        body = json.dumps({"token": shown}).encode()
        home.ask("POST", "/v1/join", body, Content_Type="application/json")
    home.canaries.append(of_key("key of who joined", (folder / "lamp-8.pem").read_bytes()))


def use_http(home: Home, tokens: list[bytes]) -> None:
    right = [token.decode() for token in tokens]
    for token in (*right, WRONG_TOKEN.text, JOIN_TOKEN.text):
        for shown in (f"Bearer {token}", f"bearer {token}", f"Bearer {token}x", f"Basic {token}", token, "Bearer"):
            home.ask("GET", "/v1/export", Authorization=shown)
        for target in (f"/v1/status?token={token}", f"/v1/endpoints/{token}", f"/{token}", f"/v1/status?{token}",
                       f"/v1/endpoints?access_token={token}", f"/v1/endpoints?count={token}"):  # fmt: skip
            home.ask("GET", target)
        home.ask("DELETE", f"/v1/endpoints/{token}?for_s={token}", Authorization=f"Bearer {token}")
        home.ask("GET", "/v1/status", Host=token)
        home.ask("GET", "/v1/watch", Last_Event_ID=token)
        for body in (token, json.dumps({"token": token}), json.dumps({token: 1}), json.dumps({"ep": [token]})):
            home.ask("POST", "/v1/endpoints", body.encode(), Content_Type="application/json")
        home.ask("POST", "/v1/endpoints", b"{}", Content_Type=token)
        home.ask("POST", "/v1/join", json.dumps({"token": token}).encode(), Content_Type="application/json")
    for token in right:
        assert home.ask("GET", "/v1/export", Authorization=f"Bearer {token}") == 200
    assert home.ask("GET", "/v1/export", Authorization=f"Bearer {WRONG_TOKEN.text}") in (401, 429)
    for target in ("/metrics", "/v1/status", "/readyz?verbose", "/v1/openapi.json"):
        assert home.ask("GET", target) == 200


def use_coap(home: Home) -> None:
    with Device(home.port("coap")) as device:
        for place in (WRONG_TOKEN.text, f"rd-lookup/{WRONG_TOKEN.text}"):
            answer = device.ask(device.message(Code.GET, place))
            home.heard[f"CoAP {len(home.heard)}"] = answer.payload
        for query in (f"lt={WRONG_TOKEN.text}", f"base={WRONG_TOKEN.text}", f"token={WRONG_TOKEN.text}"):
            home.heard[f"CoAP {len(home.heard)}"] = device.register(query).payload


def use_oscore(home: Home) -> None:
    """Rightly, again with the same number, and with another secret."""
    right, wrong = OscoreDevice(CONTEXT), OscoreDevice(replace(CONTEXT, master_secret=os.urandom(16)))
    path = [(int(Option.URI_PATH), b"rd-lookup"), (int(Option.URI_PATH), b"ep")]
    with udp_socket(home.port("coap")) as own:
        for number, device in enumerate((right, right, wrong)):
            data = device.protect(Message(Type.CON, Code.GET, number, bytes((number,)), path))
            for _ in range(2):
                own.send(data)
                home.heard[f"OSCORE {len(home.heard)}"] = own.recv(65_536)


Over = Callable[[int, Credentials], bool]


def use_keys(home: Home, port: int, over: Over) -> None:
    """Those that are right and those that are not; a client may also send a key where its name belongs."""
    keyring = Keyring.open_made(home.directory)
    trust = keyring.credentials(wall_clock_ms()).trust
    own, name = keys.make_p256(), f"lamp-{len(home.heard)}"
    certificate = keyring.issue(Subject("device", name, days=1), own.public_key(), wall_clock_ms())
    home.canaries.append(of_key("a device's key", keys.write_private(own)))
    assert over(port, replace(holding(**{"lamp-3": PSK}), trust=trust))
    assert over(port, replace(holding(**{"lamp-7": TEXT_PSK}), trust=trust))
    assert over(port, Credentials(certificate.pem, keys.write_private(own), trust, {}))
    assert not over(port, replace(holding(**{"lamp-3": TEXT_PSK}), trust=trust))
    assert not over(port, replace(holding(**{PSK.hex(): PSK}), trust=trust))
    assert not over(port, replace(holding(**{TEXT_PSK.decode(): TEXT_PSK}), trust=trust))
    assert not over(port, replace(authority().certify("device", "lamp-3"), trust=trust))


def over_dtls(port: int, credentials: Credentials) -> bool:
    """Whether it was heard there."""
    association = Association(connect(credentials, wall_clock_ms, datagrams=True))
    association.start(time.monotonic())
    answers: list[bytes] = []
    with udp_socket(port) as own:
        own.settimeout(WAIT_S)
        asked = False
        while not answers and association.channel.ended is None:
            if association.channel.who is not None and not asked:
                association.send(Message(Type.CON, Code.GET, 1, b"", [(int(Option.URI_PATH), b"x")]).encode())
                asked = True
            for datagram in association.take_output():
                own.send(datagram)
            try:
                answers += association.receive(own.recv(65_536), time.monotonic())
            except OSError:
                break
        association.close()
        for datagram in association.take_output():
            own.send(datagram)
    return bool(answers)


def over_tls(port: int, credentials: Credentials) -> bool:
    """RFC 8323, 5.3: the other end begins with its settings."""
    channel: Channel = connect(credentials, wall_clock_ms, datagrams=False)
    said: list[bytes] = []
    with socket.create_connection((HOST, port), timeout=WAIT_S) as own:
        while not said and channel.ended is None:
            said += channel.step()
            try:
                own.sendall(channel.take())
                if said or not (data := own.recv(65_536)):
                    break
            except OSError:
                break
            channel.feed(data)
    return bool(said)


def use_verbs(home: Home) -> None:
    form, url = "json" if home.form == "json" else "table", f"http://{home.listeners['http']}"
    report = home.directory.with_name(f"report-{home.form}")
    lines = ("status --all", "doctor", "config show", "config check", "ca show", "ca list", "evict --list", "export",
             "find ep=*", "token list", "policy show", f"report {report} --log {home.log}")  # fmt: skip
    home.verbs(*([*line.split(), "-o", form] for line in lines))
    places = (url, f"https://{home.listeners['https']}", f"{url}/{WRONG_TOKEN.text}", WRONG_TOKEN.text)
    home.verbs(
        *([verb, "--url", at, "-o", form] for verb in ("status", "export") for at in places),
        ["config", "show", "-o", form],
        [WRONG_TOKEN.text],
        ["find", WRONG_TOKEN.text],
        WAYPOST_TOKEN=WRONG_TOKEN.text,
    )
    home.heard["the report"] = report.read_bytes()
    assert b'"ready": true' in home.heard["the report"]


def break_database(home: Home) -> None:
    """Under the running node, which then fails with tracebacks, asked by the operator, who may do all."""
    (*_, last) = home.verbs(["watch", "--once", "-o", "jsonl"]).splitlines()
    since = json.loads(last)["token"]
    for name in ("waypost.db", "waypost.db-wal"):
        (home.directory / name).write_bytes(b"not a database" * 8_192)
    registration = json.dumps({"ep": "lamp", "base": "coap://lamp"}).encode()
    for method, target, body in (("GET", f"/v1/watch?since={since}", None), ("POST", "/v1/endpoints", registration)):
        connection = HTTPConnection("localhost", timeout=END_S)
        connection.sock = local.connect(home.directory / local.NAME, END_S)
        try:
            connection.request(method, target, body, {} if body is None else {"Content-Type": "application/json"})
            home.heard[f"{method} of a broken database"] = connection.getresponse().read1(65_536)
        except (OSError, HTTPException):  # it has stopped
            pass
        finally:
            connection.close()


def spoil_secrets(home: Home) -> None:
    """Each start is refused, with a sentence that names the place and not what stands there."""
    file = home.directory / "keys" / "secrets.toml"
    good = PSK.hex()
    spoiled = (
        SECRETS.replace(f'"{good}"', f'"{good}'),
        SECRETS.replace(f'"{good}"', good),
        SECRETS.replace(good, good[:-1]),
        SECRETS.replace(good, good + 33 * "00"),
        SECRETS.replace(good, good[:24]),
        SECRETS.replace('"lamp-3"', f'"{good}!"'),
        SECRETS.replace("roles", good),
        SECRETS.replace("[psk", f"[{good}"),
        SECRETS + f'\n[psk."lamp-3"]\nkey = "{good}"\n',
        SECRETS.replace('sender_id = "01"', f'sender_id = "{good}"'),
        SECRETS.replace('sender_id = "01"', f'sender_id = "{good}x"'),
        SECRETS.replace('["device"]', f'["{good}"]'),
    )
    said = home.verbs(*(step for text in spoiled for step in (["write", str(file), text], ["run"])), ["doctor"])
    assert said.count(b"secrets.toml") >= len(spoiled), said
    file.write_text(SECRETS)
    cut = []
    for name in KEY_FILES:
        path = home.directory / "keys" / name
        pem = path.read_text()
        line = (
            ["init"] if name == "tls.pem" else ["ca", "issue", "lamp-9", "--role", "device", "--out", f"{home.log}.d"]
        )
        cut += [["write", str(path), pem[:-40]], line, ["write", str(path), pem]]
    said = home.verbs(*cut)
    assert all(name.encode() in said for name in KEY_FILES), said


def test_no_secret_shows_anywhere(home: Home) -> None:
    found = leaks(home.heard, home.canaries)
    assert found == [], "\n".join(found)


def test_enough_was_said(home: Home) -> None:
    """Else the search would find nothing in nothing."""
    log, said, secrets = home.heard["the log"], len(home.heard), {canary.name for canary in home.canaries}
    assert said > 100
    assert {"operator's key", "pre-shared key", "master secret", "token of the first start"} <= secrets
    assert b"handshake of" in log
    assert b"Traceback" in log
    assert b"cannot" in log


def test_a_secret_that_shows_is_found(home: Home) -> None:
    """In each form, whole or by half; and at the first start the key and the token that are shown that once."""
    for canary in home.canaries:
        for kind, form in forms(canary.octets):
            for piece in halves(form):
                assert len(piece) >= PIECE // 2, kind
                assert kind in canary.shows_in(b"{" + piece + b"}")
    pem = (home.directory / "keys" / "ca.pem").read_bytes()
    assert {line.partition(" in ")[0] for line in leaks({"a file": pem}, home.canaries)} == {"ca.pem"}
