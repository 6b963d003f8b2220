"""What DTLS and TLS cost a node, beside plain UDP and TCP, and beside aiocoap's directory over DTLS.

    ./dev bench tls [--quick] [--json FILE]

One client on loopback asks one thing after the other, so rates are those of a round trip; CPU time is that of the
whole server process for each handshake or lookup, from /proc, and the steady number on a shared machine.  Lookups ask
for one endpoint of --size by its name, each for another.  aiocoap-rd has DTLS by tinydtls, with one suite, which has no
forward secrecy: the node is measured with that suite, too.
"""

import argparse
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from load.servers import HOST, UNLIMITED, free_port, process, state_directory, wait_until_it_answers
from waypost.coap.message import Message, Options, decode
from waypost.coap.numbers import Code, Option, Type
from waypost.coap.stream import Stream
from waypost.config.settling import KEYS
from waypost.identity import Identity, keys
from waypost.identity.anchors import Trust, our_anchor
from waypost.identity.certificates import Subject
from waypost.identity.credentials import Credentials, SharedKey
from waypost.runtime.dtls import Association
from waypost.runtime.host import wall_clock_ms
from waypost.runtime.secure import Channel, Connector
from waypost.storage.keyring import Keyring

NAME, SECRET = "lamp", b"16 octets, small"
MANDATORY: Final = b"PSK-AES128-CCM8"
LINKS: Final = b'</s/temp>;rt="temperature";if="sensor";ct=0'
DATAGRAM_MAX: Final = 2048
READ_MAX: Final = 65_536
WAIT_S: Final = 20.0
TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
PIP: Final = Path(__file__).resolve().parents[1] / ".dev" / "pip" / "{}.{}".format(*sys.version_info[:2])

_ids = itertools.count()


@dataclass(frozen=True)
class Plan:
    size: int
    handshakes: int
    lookups: int
    sessions: int  # held at once


FULL, QUICK = Plan(1_000, 1_000, 5_000, 5_000), Plan(20, 20, 50, 20)


@dataclass(frozen=True)
class Served:
    """A server, and where it listens."""

    pid: int
    listeners: dict[str, int]
    register: tuple[str, ...]
    endpoints: tuple[str, ...]

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return TICK_S * (int(fields[11]) + int(fields[12]))

    def rss(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


class OverUdp:
    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((HOST, port))
        self.socket.settimeout(WAIT_S)

    def exchange(self, message: Message) -> Message:
        self.socket.send(message.encode())
        return decode(self.socket.recv(DATAGRAM_MAX))

    def close(self) -> None:
        self.socket.close()


class OverDtls:
    def __init__(self, port: int, connector: Connector) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((HOST, port))
        self.socket.settimeout(WAIT_S)
        self.association = Association(connector.connect())
        self.association.start(0.0)
        while self.association.channel.who is None:
            assert self.association.channel.ended is None, self.association.channel.detail
            self._flush()
            self.association.receive(self.socket.recv(DATAGRAM_MAX), 0.0)
        self._flush()

    def exchange(self, message: Message) -> Message:
        self.association.send(message.encode())
        self._flush()
        said: list[bytes] = []
        while not said:
            said = self.association.receive(self.socket.recv(DATAGRAM_MAX), 0.0)
        return decode(said[0])

    def close(self) -> None:
        self.association.close()
        self._flush()
        self.socket.close()

    def _flush(self) -> None:
        for datagram in self.association.take_output():
            self.socket.send(datagram)


class OverTcp:
    """With a `connector`, over TLS."""

    def __init__(self, port: int, connector: Connector | None = None) -> None:
        self.socket = socket.create_connection((HOST, port), WAIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = Stream(0.0)
        self.channel: Channel | None = None
        if connector is not None:
            self.channel = connector.connect()
            self.stream.feed(b"".join(self.channel.step()))
            while self.channel.who is None:
                assert self.channel.ended is None, self.channel.detail
                self.socket.sendall(self.channel.take())
                self._read()
        self._flush()
        while self.stream.message_max is None:  # the server's CSM: with it a handshake is done on both sides
            if self.stream.next_message(0.0) is None:
                self._read()

    def exchange(self, message: Message) -> Message:
        self.stream.send(message.encode())
        self._flush()
        while not (answer := self.stream.next_message(0.0)):
            if answer is None:
                self._read()
        return decode(answer)

    def close(self) -> None:
        self.socket.close()

    def _read(self) -> None:
        data = self.socket.recv(READ_MAX)
        assert data, "the server has closed the connection"
        if self.channel is not None:
            self.channel.feed(data)
            data = b"".join(self.channel.step())
        self.stream.feed(data)

    def _flush(self) -> None:
        data = b"".join(self.stream.take_output())
        if self.channel is not None:
            self.channel.write(data)
            data = self.channel.take()
        self.socket.sendall(data)


Client = OverUdp | OverDtls | OverTcp


def options(path: tuple[str, ...], *query: str) -> Options:
    return [(int(Option.URI_PATH), segment.encode()) for segment in path] + [
        (int(Option.URI_QUERY), part.encode()) for part in query
    ]


def message(code: Code, wanted: Options, payload: bytes = b"") -> Message:
    id = next(_ids) & 0xFFFF
    return Message(Type.CON, code, id, id.to_bytes(2, "big"), wanted, payload)


def fill(served: Served, client: Client, size: int) -> None:
    for number in range(size):
        asked = options(served.register, f"ep=node-{number}", "base=coap://[2001:db8::1]")
        content = [*asked, (int(Option.CONTENT_FORMAT), b"(")]
        content.sort(key=lambda option: option[0])
        answer = client.exchange(message(Code.POST, content, LINKS))
        assert answer.code == Code.CREATED, answer


def measure(served: Served, times: int, once: Callable[[int], object]) -> dict[str, float]:
    cpu, started = served.cpu_s(), time.perf_counter()
    for number in range(times):
        once(number)
    elapsed = time.perf_counter() - started
    return {"per_second": round(times / elapsed), "server_cpu_us": round((served.cpu_s() - cpu) / times * 1e6)}


def lookups(served: Served, client: Client, plan: Plan) -> dict[str, float]:
    def ask(number: int) -> None:
        asked = options(served.endpoints, f"ep=node-{number % plan.size}")
        answer = client.exchange(message(Code.GET, asked))
        assert answer.code == Code.CONTENT, answer

    return measure(served, plan.lookups, ask)


def handshakes(served: Served, connect: Callable[[], Client], plan: Plan) -> dict[str, float]:
    return measure(served, plan.handshakes, lambda _: connect().close())


def of_node(plan: Plan, folder: Path) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    with node(folder) as (served, keyring):
        at, psk, certificate = served.listeners, key(), certified(keyring)
        plain = OverUdp(at["coap"])
        fill(served, plain, plan.size)
        lookups(served, plain, plan)  # the first of each name is a search, which none of those below is
        ways: dict[str, Callable[[], Client]] = {
            "UDP": lambda: OverUdp(at["coap"]),
            "TCP": lambda: OverTcp(at["coap+tcp"]),
        }
        for name, credentials, suites in (
            ("key", psk, None),
            ("key, CCM_8", psk, MANDATORY),
            ("certificate", certificate, None),
        ):
            connector = Connector(credentials, wall_clock_ms, datagrams=True, suites=suites)
            ways[f"DTLS, {name}"] = lambda connector=connector: OverDtls(at["coaps"], connector)  # type: ignore[misc]
        for name, credentials in (("key", psk), ("certificate", certificate)):
            connector = Connector(credentials, wall_clock_ms, datagrams=False)
            ways[f"TLS, {name}"] = lambda connector=connector: OverTcp(at["coaps+tcp"], connector)  # type: ignore[misc]
        for name, connect in ways.items():
            if name != "UDP":
                found[f"handshakes: {name}"] = handshakes(served, connect, plan)
            client = connect()
            found[f"lookups: {name}"] = lookups(served, client, plan)
            client.close()
        before = served.rss()
        connector = Connector(psk, wall_clock_ms, datagrams=True)
        held: list[OverDtls] = []
        for _ in range(plan.sessions):
            held.append(OverDtls(at["coaps"], connector))
            lookups(
                served, held[-1], Plan(1, 0, 1, 0)
            )  # as devices do: one that never speaks costs fifty times as much
        found["an idle DTLS session"] = {"octets": round((served.rss() - before) / len(held))}
        for session in held:
            session.close()
    return found


def of_aiocoap(plan: Plan, folder: Path) -> dict[str, dict[str, float]]:
    """Nothing where it or tinydtls is not installed."""
    program = Path(sys.executable).parent / "aiocoap-rd"
    if not (program.exists() and (PIP / "DTLSSocket").is_dir()):
        return {}
    credentials, port = folder / "aiocoap.json", free_port()
    shown = {"psk": {"ascii": SECRET.decode()}, "client-identity": {"ascii": NAME}}
    credentials.write_text(json.dumps({f":{NAME}": {"dtls": shown}}))
    settings = {"PYTHONPATH": str(PIP), "AIOCOAP_SERVER_TRANSPORT": "simplesocketserver:tinydtls_server"}
    command = [str(program), "--bind", f"{HOST}:{port}", "--credentials", str(credentials)]
    found: dict[str, dict[str, float]] = {}
    with process(command, settings, stderr=subprocess.DEVNULL) as child:
        wait_until_it_answers(port)
        served = Served(
            child.pid, {"coap": port, "coaps": port + 1}, ("resourcedirectory", ""), ("endpoint-lookup", "")
        )
        connector = Connector(key(), wall_clock_ms, datagrams=True, suites=MANDATORY)
        plain, secured = OverUdp(port), OverDtls(port + 1, connector)
        fill(served, plain, plan.size)
        slow = Plan(plan.size, plan.handshakes, max(1, plan.lookups // 50), 0)
        found["handshakes: DTLS, key, CCM_8"] = handshakes(served, lambda: OverDtls(port + 1, connector), plan)
        found["lookups: UDP"] = lookups(served, plain, slow)
        found["lookups: DTLS, key, CCM_8"] = lookups(served, secured, slow)
        plain.close()
        secured.close()
    return found


@contextmanager
def node(folder: Path) -> Iterator[tuple[Served, Keyring]]:
    directory = folder / "node"
    (directory / "keys").mkdir(parents=True, mode=0o700)
    secrets = directory / "keys" / "secrets.toml"
    secrets.touch(mode=0o600)
    secrets.write_text(f'[psk.{NAME}]\nkey = "{SECRET.hex()}"\nroles = ["device"]\n')
    settings = {key.environment: f"{HOST}:0" for key in KEYS.values() if key.name == "listen" and key.default}
    settings |= {f"WAYPOST_RD_REGISTRATIONS_{name}": UNLIMITED for name in ("PER_SOURCE", "PER_SECOND", "BURST")}
    settings["WAYPOST_COAPS_SESSIONS_PER_SOURCE"] = UNLIMITED
    settings |= {"WAYPOST_DIR": str(directory), "WAYPOST_LOG_LEVEL": "warning", "WAYPOST_LOG_FORMAT": "json"}
    command = [sys.executable, "-m", "waypost", "run"]
    with process(command, settings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        if not line:
            raise SystemExit(f"waypost run ended with {child.wait()}")
        listeners = json.loads(line)["listeners"]
        ports = {name: int(listeners[name].rpartition(":")[2]) for name in ("coap", "coap+tcp", "coaps", "coaps+tcp")}
        yield Served(child.pid, ports, ("rd",), ("rd-lookup", "ep")), Keyring.open(directory, wall_clock_ms())


def key() -> Credentials:
    return Credentials(b"", b"", Trust(), {NAME.encode(): SharedKey(SECRET, Identity("psk", NAME))})


def certified(keyring: Keyring) -> Credentials:
    own = keys.make_p256()
    made = keyring.issue(Subject("device", NAME), own.public_key(), wall_clock_ms())
    trust = Trust(1, keyring.root.not_after_ms, (our_anchor(keyring.root),))
    return Credentials(made.pem, keys.write_private(own), trust, {})


def show(ours: dict[str, dict[str, float]], theirs: dict[str, dict[str, float]]) -> None:
    print(f"{'':36}{'per second':>11}{'server CPU':>13}{'beside plain':>14}{'aiocoap-rd':>13}{'ratio':>8}")
    for name, measures in ours.items():
        if "octets" in measures:
            print(f"{name:36}{measures['octets']:>11,} octets of memory")
            continue
        kind = name.partition(":")[0]
        plain = ours.get(f"{kind}: UDP") or ours[f"{kind}: TCP"]
        other = theirs.get(name)
        beside = f"{measures['server_cpu_us'] / max(1, plain['server_cpu_us']):.1f}x"
        cpu = f"{measures['server_cpu_us']:,} us"
        them = f"{other['server_cpu_us']:,} us" if other else ""
        ratio = f"{other['server_cpu_us'] / max(1, measures['server_cpu_us']):.1f}x" if other else ""
        print(f"{name:36}{measures['per_second']:>11,}{cpu:>13}{beside:>14}{them:>13}{ratio:>8}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only to see that it works")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    with state_directory() as folder:
        ours, theirs = of_node(plan, folder), of_aiocoap(plan, folder)
    show(ours, theirs)
    if arguments.json:
        arguments.json.write_text(json.dumps({"waypost": ours, "aiocoap-rd": theirs}, indent=2) + "\n")


if __name__ == "__main__":
    main()
