"""Each check of `waypost doctor`, with something that makes it fail or warn.  Nothing here needs a node that runs."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from msgspec import structs

from waypost.api.schemas import NodeStatus
from waypost.cli.checks import amplifying, carry_out, disk, fine, listening, machine, paths
from waypost.cli.checks.logs import check_log
from waypost.cli.checks.network import check_network
from waypost.cli.checks.running import Running, check_node, find, holder
from waypost.cli.doctor import place_of
from waypost.cli.node import Place
from waypost.cli.reports import Finding
from waypost.cli.verbs import call
from waypost.config import Coap, Coaps, Config, Http, Https
from waypost.engine import Commit, Endpoint, Put
from waypost.errors import ConfigError
from waypost.runtime.addresses import has_ipv6
from waypost.storage import Store

NOW = 1_800_000_000_000  # 2027
NOBODY = Running()
NOWHERE = Place("http://127.0.0.1:1")


def states(findings: Sequence[Finding]) -> list[str]:
    return [finding.state for finding in findings]


def only(findings: Sequence[Finding]) -> Finding:
    (finding,) = findings
    return finding


def status(**more: object) -> NodeStatus:
    given: dict[str, object] = {"version": "0", "ready": True, "checks": {}, "counters": {}, "gauges": {}}
    return NodeStatus(**(given | more))  # type: ignore[arg-type]


# the node


def test_who_has_locked_the_directory_is_the_node(tmp_path: Path) -> None:
    assert holder(tmp_path) == 0
    store = Store.open(tmp_path, durable=False)
    assert holder(tmp_path) == os.getpid()
    found = only(check_node(find(tmp_path, NOWHERE)))
    assert (found.state, f"process {os.getpid()}" in found.sentence) == ("warn", True)
    for text in ("0", "x", ""):  # it cannot be read who it is
        (tmp_path / "waypost.lock").write_text(text)
        assert holder(tmp_path) == -1
        assert "a process that is not known" in only(check_node(find(tmp_path, NOWHERE))).sentence
    store.close()
    assert holder(tmp_path) == 0
    assert find(tmp_path, NOWHERE) == Running(), "nobody is asked where nobody runs"
    assert states(check_node(NOBODY)) == ["skipped"]


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (status(), "ok"),
        (status(last_error="the moon"), "warn"),
        (status(ready=False, checks={"store": False}), "fail"),
    ],
)
def test_what_the_node_says_of_itself_is_told(said: NodeStatus, state: str) -> None:
    found = only(check_node(Running(7, said)))
    assert found.state == state
    assert ("the moon" in found.sentence) == (state == "warn")
    assert ("store" in found.sentence) == (state == "fail")


@pytest.mark.parametrize(
    ("figures", "states_found", "says"),
    [
        ({"quorum": 1, "voters": 3, "voters_heard": 3, "voters_needed": 2}, ["ok"], "3 of 3 voters"),
        ({"quorum": 0, "voters": 3, "voters_heard": 1, "voters_needed": 2}, ["fail"], "nothing can be claimed"),
        ({"quorum": 1, "votes_stopped": 4}, ["fail"], "no votes on 4 keys"),
        ({"quorum": 1, "voters_restored": 1}, ["warn"], "an old disk"),
        ({"quorum": 1, "nodes_cut": 2}, ["warn"], "by way of others"),
        ({"quorum": 1, "members_old": 3}, ["warn"], "3 members speak an older wire"),
        ({"quorum": 1, "peers_other_key_total": 7}, ["fail"], "7 times somebody showed a certificate"),
        ({"quorum": 1, "intents": 2, "intents_oldest_seconds": 7_200}, ["warn"], "2 claims wait here"),
        ({"quorum": 1, "intents": 2, "intents_oldest_seconds": 7_200}, ["warn"], "for 120 minutes"),
        ({"quorum": 0, "nodes_cut": 2}, ["fail", "warn"], "nothing can be claimed"),
        ({}, ["skipped"], "no node runs"),
    ],
)
def test_what_is_wrong_with_the_network_is_told(figures: dict[str, float], states_found: list[str], says: str) -> None:
    found = check_network(Running(7, status(), figures={f"waypost_{name}": each for name, each in figures.items()}))
    assert states(found) == states_found
    assert says in found[0].sentence


@pytest.mark.parametrize(
    ("figures", "states_found", "says"),
    [
        ({"signing": 1, "size": 9, "cosigners": 2, "quorum": 2}, ["ok"], "9 entries, and 2 of 2 witnesses"),
        ({"signing": 1, "size": 9}, ["ok"], "9 entries, and 0 of 0 witnesses"),
        ({"signing": 0}, ["fail"], "no other node has said"),
        ({"signing": 0, "opening_contradicted_total": 1}, ["fail"], "contradicts what is here"),
        ({"signing": 1, "evidence": 1}, ["fail"], "1 proofs that a log, a witness or a signer has lied"),
        ({"signing": 1, "frozen": 1}, ["fail"], "1 logs are frozen"),
        ({"signing": 1, "cosigners": 1, "quorum": 2}, ["warn"], "1 witnesses cosigned the last head, and 2 should"),
        ({"signing": 1, "mirror_behind": 5}, ["warn"], "5 entries of other logs"),
        ({"signing": 0, "evidence": 1, "quorum": 1}, ["fail", "fail", "warn"], "no other node has said"),
        ({}, ["skipped"], "no node runs"),
    ],
)
def test_what_is_wrong_with_the_log_is_told(figures: dict[str, float], states_found: list[str], says: str) -> None:
    named = {f"waypost_ledger_{name}": each for name, each in figures.items()}
    found = check_log(Running(7, status(), figures=named))
    assert states(found) == states_found
    assert says in found[0].sentence


def test_a_start_that_takes_long_is_warned_of(tmp_path: Path) -> None:
    assert states(machine.check_start(tmp_path, NOBODY)) == ["skipped"]
    (tmp_path / "waypost.lock").touch()
    (tmp_path / "waypost.sock").touch()
    assert states(machine.check_start(tmp_path, Running(7))) == ["ok"]
    long_ago = (tmp_path / "waypost.sock").stat().st_ctime - 60
    os.utime(tmp_path / "waypost.lock", (long_ago, long_ago))
    assert states(machine.check_start(tmp_path, Running(7))) == ["warn"]


# listeners


def configured(tmp_path: Path, *coap: str) -> Config:
    """All other listeners are off."""
    config = Config(dir=tmp_path)
    off = {name: structs.replace(getattr(config, name), listen=()) for name in listening.listening(config)}
    return structs.replace(config, **(off | {"coap": Coap(listen=coap)}))


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that this process has, over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_of_another_program_is_named_with_the_program(tmp_path: Path, taken: int) -> None:
    config = configured(tmp_path, f"127.0.0.1:{taken}")
    found = {finding.sentence.partition(": ")[0][-5:]: finding for finding in listening.check_ports(config, NOBODY)}
    assert found["(tcp)"].state == "fail"
    assert f"(process {os.getpid()})" in found["(tcp)"].sentence
    assert "--coap-listen" in str(found["(tcp)"].hint)
    assert found["(udp)"].state == "ok"


def test_a_port_of_the_running_node_is_its_own(tmp_path: Path, taken: int) -> None:
    config = configured(tmp_path, f"127.0.0.1:{taken}")
    for node in (Running(os.getpid()), Running(-1, status(listeners={"coap+tcp": f"127.0.0.1:{taken}"}))):
        found = listening.check_ports(config, node)
        assert "ok" in states(found), "over TCP it is this node's"
        assert "warn" in states(found), "over UDP it should be, and is free"
    assert "fail" in states(listening.check_ports(config, Running(1))), "of whoever has the lock, and nobody else"


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    config = Config(
        dir=tmp_path, insecure=("coap",), coap=Coap(listen=("192.0.2.1:5683",)), coaps=Coaps(listen=()), http=Http()
    )
    found = listening.check_ports(config, NOBODY)[0]
    assert (found.state, "no address of this machine" in found.sentence) == ("fail", True)


def test_a_node_without_a_listener_is_warned_of(tmp_path: Path) -> None:
    assert states(listening.check_ports(configured(tmp_path), NOBODY)) == ["warn"]
    assert states(listening.check_ports(configured(tmp_path, "127.0.0.1:0"), NOBODY)) == ["ok", "ok"]


def test_who_can_reach_the_listeners_is_told(tmp_path: Path) -> None:
    coap, coaps, https = Coap(listen=("0.0.0.0:1",)), Coaps(listen=("0.0.0.0:2",)), Https(listen=("0.0.0.0:3",))
    config = Config(dir=tmp_path, insecure=("coap",), coap=coap, coaps=coaps, https=https)
    told = {finding.sentence.partition(":")[0]: finding for finding in listening.check_reach(config)}
    assert {name: finding.state for name, finding in told.items()} == {"coap": "warn", "coaps": "ok", "https": "ok"}
    assert "must say who" in told["coaps"].sentence
    assert "is a stranger" in told["https"].sentence
    assert listening.is_reachable(config)
    assert not listening.is_reachable(Config(dir=tmp_path))
    assert "only this machine" in only(listening.check_reach(Config(dir=tmp_path))).sentence


def test_a_machine_without_ipv6_is_told_and_not_blamed() -> None:
    assert states(listening.check_ipv6(there=False)) == ["skipped"]
    assert states(listening.check_ipv6(there=True)) == ["ok"]


# the clock


def test_a_clock_from_before_this_version_fails(tmp_path: Path) -> None:
    assert states(machine.check_clock(tmp_path, 1_000_000_000_000)) == ["fail"]
    assert states(machine.check_clock(tmp_path, NOW)) == ["ok"]


def test_a_clock_that_was_set_back_fails(tmp_path: Path) -> None:
    (tmp_path / "waypost.db").touch()
    os.utime(tmp_path / "waypost.db", (NOW / 1000, NOW / 1000))
    found = only(machine.check_clock(tmp_path, NOW - 3 * 3_600_000))
    assert (found.state, "3 h in the future" in found.sentence) == ("fail", True)
    assert states(machine.check_clock(tmp_path, NOW - 30_000)) == ["ok"]


def test_a_clock_that_was_set_while_the_node_ran_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "waypost.lock").touch()
    os.utime(tmp_path / "waypost.lock", (NOW / 1000, NOW / 1000))
    node = Running(7, status(uptime_s=100.0))
    assert states(machine.check_steps(tmp_path, node, NOW + 101_000)) == ["ok"]
    for wall_ms, way in ((NOW + 160_000, "60 s ahead"), (NOW + 40_000, "60 s back")):
        found = only(machine.check_steps(tmp_path, node, wall_ms))
        assert (found.state, way in found.sentence) == ("warn", True)
    assert states(machine.check_steps(tmp_path, NOBODY, NOW)) == ["skipped"]


def test_a_clock_that_nothing_keeps_right_is_warned_of(tmp_path: Path) -> None:
    stamp = tmp_path / "synchronized"
    assert states(machine.check_synchronized(lambda: machine.TIME_ERROR, stamp)) == ["warn"]
    assert states(machine.check_synchronized(lambda: 0, stamp)) == ["ok"]
    assert states(machine.check_synchronized(lambda: None, stamp)) == ["skipped"]
    stamp.touch()
    assert states(machine.check_synchronized(lambda: machine.TIME_ERROR, stamp)) == ["ok"]
    assert machine.check_synchronized()[0].state in ("ok", "warn", "skipped"), "this machine's own"


# the disk


@pytest.mark.parametrize(("took_s", "state"), [(1e-6, "warn"), (0.002, "ok"), (0.2, "warn")])
def test_a_disk_too_fast_to_be_true_or_slow_is_warned_of(tmp_path: Path, took_s: float, state: str) -> None:
    now, syncs = [0.0], []

    def sync(fd: int) -> None:
        syncs.append(os.fstat(fd).st_size)
        now[0] += took_s

    assert states(disk.check_sync(tmp_path, sync, lambda: now[0])) == [state]
    assert now[0] < disk.SYNCS_S + took_s * 2, "it does not go on for ever on a slow disk"
    assert syncs == [4_096 * number for number in range(1, len(syncs) + 1)]
    assert len(syncs) == disk.SYNCS or now[0] > disk.SYNCS_S
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("octets", "files", "state"), [(1 << 40, 9, "ok"), (1 << 29, 9, "warn"), (1 << 20, 9, "fail"), (1 << 40, 0, "fail")]
)
def test_a_full_disk_fails(tmp_path: Path, octets: int, files: int, state: str) -> None:
    assert states(disk.check_space(tmp_path / "not" / "yet", lambda _: (octets, files))) == [state]


@pytest.mark.parametrize(("kind", "state"), [("ext4", "ok"), ("tmpfs", "warn"), ("overlay", "warn"), ("nfs4", "warn")])
def test_a_file_system_that_keeps_nothing_is_warned_of(tmp_path: Path, kind: str, state: str) -> None:
    """proc(5): a space in a path is \\040, and the longest path is the nearest mount."""
    place = tmp_path / "a place"
    place.mkdir()
    mounts = tmp_path / "mountinfo"
    escaped = str(place.resolve()).replace(" ", "\\040")
    mounts.write_text(
        f"1 0 8:1 / / rw - btrfs /dev/a rw\n2 1 8:2 / {escaped} rw shared:1 - {kind} b rw\n"
        f"3 1 8:3 / {escaped}more rw - xfs c rw\n"
    )
    found = only(disk.check_file_system(place, mounts))
    assert (found.state, found.sentence.startswith(kind)) == (state, True)


def test_a_damaged_database_fails_and_a_whole_one_is_left_as_it_is(tmp_path: Path) -> None:
    store = Store.open(tmp_path, durable=False)
    store.commit([Commit(puts=tuple(Put("meta", number.to_bytes(4, "big"), bytes(900)) for number in range(300)))])
    assert states(disk.check_database(tmp_path)) == ["ok"], "while a node has it"
    store.close()
    before = sorted(tmp_path.iterdir())
    assert states(disk.check_database(tmp_path)) == ["ok"]
    assert sorted(tmp_path.iterdir()) == before
    assert states(disk.check_database(tmp_path, limit_s=-1.0)) == ["skipped"], "it takes too long"
    with (tmp_path / "waypost.db").open("r+b") as file:
        file.seek(3 * 8_192)
        file.write(b"\xff" * 8_192)
    assert states(disk.check_database(tmp_path)) == ["fail"]
    (tmp_path / "waypost.db").write_bytes(b"no database at all" * 100)
    assert states(disk.check_database(tmp_path)) == ["fail"]


def test_what_stands_in_the_log_is_looked_through_too(tmp_path: Path) -> None:
    store = Store.open(tmp_path, durable=False)
    store.commit([Commit(puts=(Put("meta", b"key", b"value"),))])
    assert (tmp_path / "waypost.db-wal").stat().st_size > 0
    assert states(disk.check_database(tmp_path)) == ["ok"]
    store.close()


# the way, and the limits


def test_the_loopback_carries_large_datagrams() -> None:
    assert states(paths.check_path(None)) == ["ok"]
    found = only(paths.check_interfaces(outside=False))
    assert (found.state, "lo " in found.sentence) == ("ok", True)


def test_the_way_to_a_peer_is_measured() -> None:
    """Whether its port is open does not matter; what is sent there is another version's, for CoAP."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        if family == socket.AF_INET6 and not has_ipv6():
            continue
        with socket.socket(family, socket.SOCK_DGRAM) as peer:
            peer.bind((host, 0))
            at = Endpoint(*peer.getsockname()[:2])
            found = only(paths.check_path(at))
            assert (found.state, f"to {host} may have" in found.sentence) == ("ok", True)
            assert set(peer.recv(65_536)) == {0}
        assert states(paths.check_path(at)) == ["ok"]


def test_few_files_are_warned_of_and_too_few_fail(tmp_path: Path) -> None:
    limits = tmp_path / "limits"
    for most, state in (("100", "fail"), ("1024", "warn"), ("65536", "ok"), ("unlimited", "ok")):
        limits.write_text(f"Limit  Soft Limit  Hard Limit  Units\nMax open files            {most}     4096    files\n")
        found = only(machine.check_files(NOBODY, limits))
        assert (found.state, "any number" in found.sentence) == (state, most == "unlimited")
    assert "the node" in only(machine.check_files(Running(os.getpid()))).sentence
    assert "from here" in only(machine.check_files(NOBODY)).sentence


def test_a_small_receive_buffer_is_warned_of(tmp_path: Path) -> None:
    rmem_max = tmp_path / "rmem_max"
    assert states(machine.check_receive_buffer(NOBODY, rmem_max)) == ["skipped"]
    rmem_max.write_text("212992\n")
    assert states(machine.check_receive_buffer(NOBODY, rmem_max)) == ["warn"]
    had = Running(7, receive_buffers=(8 << 20, 4 << 20))
    assert states(machine.check_receive_buffer(had, rmem_max)) == ["ok"], "what the node got counts"
    rmem_max.write_text("4194304\n")
    assert states(machine.check_receive_buffer(NOBODY, rmem_max)) == ["ok"]
    few = Running(7, receive_buffers=(4 << 20, 1 << 20))
    assert states(machine.check_receive_buffer(few, rmem_max)) == ["warn"]


# amplification


class Server:
    """Answers a ping as it must, and everything else with `answer`, `times` over."""

    def __init__(self, answer: bytes, times: int = 1) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._answer, self._times = answer, times
        self._thread = threading.Thread(target=self._serve)
        self.listeners = {"coap": f"127.0.0.1:{self._socket.getsockname()[1]}"}

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"end", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while (heard := self._socket.recvfrom(65_536))[0] != b"end":
            for answer in [amplifying.PONG] if heard[0] == amplifying.PING else [self._answer] * self._times:
                self._socket.sendto(answer, heard[1])


def test_a_node_that_sends_more_than_three_times_what_came_fails() -> None:
    for answer, times, state in ((bytes(12), 1, "ok"), (bytes(13), 1, "fail"), (bytes(7), 2, "fail")):
        with Server(answer, times) as server:  # the smallest of all datagrams has four octets
            found = only(amplifying.check_amplification(server.listeners))
            assert (found.state, f": {len(answer) * times} octets for 4 at most" in found.sentence) == (state, True)


def test_a_node_that_answers_a_hello_with_more_than_three_of_its_size_fails() -> None:
    size = len(amplifying.client_hello())
    for answer, state in ((bytes(44), "ok"), (bytes(3 * size), "ok"), (bytes(3 * size + 1), "fail")):
        with Server(answer) as server:
            found = only(amplifying.check_amplification({"coaps": server.listeners["coap"]}))
            assert (found.state, f": {len(answer)} octets for {size} at most" in found.sentence) == (state, True)


def test_a_node_that_does_not_answer_fails_soon() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{silent.getsockname()[1]}"
        for found in amplifying.check_amplification({"coap": at, "coaps": at}):
            assert (found.state, "nothing answers" in found.sentence) == ("fail", True)
    assert states(amplifying.check_amplification({})) == ["skipped"]


def test_no_datagram_of_the_self_test_registers_anything() -> None:
    """A name or a lifetime that is wrong, links that are, or no name at all."""
    kinds = dict(amplifying.datagrams())
    assert len(kinds) > 250
    assert {"CON POST /rd-lookup/ep", "NON GET /.well-known/core observe", "ping"} <= set(kinds)
    posts = [kind for kind in kinds if "POST /rd" in kind and "/rd-lookup" not in kind]
    assert sorted(kind.partition("/rd ")[2] for kind in posts) == sorted(
        2 * ["broken links", "no lifetime", "no name", "a block too far"]
    )


# the verb


def test_a_check_that_fails_or_hangs_is_a_finding_and_a_bug_is_none() -> None:
    def denied() -> list[Finding]:
        raise PermissionError(13, "no", "/a/file")

    def wrong() -> list[Finding]:
        raise ConfigError("the file is wrong", hint="mend it")

    assert carry_out("x", denied) == [Finding("x", "fail", "/a/file: permission denied", None)]
    assert carry_out("x", wrong) == [Finding("x", "fail", "the file is wrong", "mend it")]
    waiting = threading.Event()
    hangs = carry_out("x", lambda: [fine("x", str(waiting.wait(30)))], deadline_s=0.05)
    waiting.set()
    assert states(hangs) == ["fail"]
    with pytest.raises(ZeroDivisionError):
        carry_out("x", lambda: [fine("x", str(1 // 0))])


LISTEN = [f"--{name}-listen=127.0.0.1:0" for name in listening.listening(Config(dir=Path("nowhere")))]


def test_a_node_is_asked_where_it_was_said_or_where_it_should_be(tmp_path: Path) -> None:
    config = Config(dir=tmp_path, http=Http(listen=("127.0.0.1:18480",)))
    assert place_of(config, "http://127.0.0.1:1").url == "http://127.0.0.1:1"
    assert place_of(config, None).url == "http://127.0.0.1:18480"
    (tmp_path / "waypost.sock").touch()
    assert place_of(config, None).url == f"unix://{tmp_path}/waypost.sock"


def test_the_exit_code_is_two_if_anything_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["doctor", "--dir", str(tmp_path), *LISTEN]
    assert call([*line, "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {item["state"] for item in found} <= {"ok", "warn", "skipped"}
    assert list(dict.fromkeys(item["name"] for item in found)) == [
        *(
            "node",
            "network",
            "log",
            "start",
            "port",
            "reach",
            "ipv6",
            "clock",
            "clock steps",
            "clock sync",
            "permissions",
        ),
        *("certificates", "secrets", "policy", "disk sync", "disk space", "file system", "database", "mtu"),
        *("path mtu", "loop", "open files", "receive buffer", "amplification"),
    ]
    assert list(tmp_path.iterdir()) == [], "nothing is changed"
    (tmp_path / "policy.toml").write_text("nonsense")
    assert call(line) == 2
    assert "fail    policy" in capsys.readouterr().out


@pytest.mark.peer("user:root")
def test_who_may_not_look_into_the_directory_is_told(tmp_path: Path) -> None:
    """Everything is imported before the program gives up its rights."""
    tmp_path.chmod(0o700)
    line = ["doctor", "--dir", str(tmp_path), *LISTEN]
    program = f"import os; from waypost.cli.verbs import call; call({line}); os.setuid(65_534); exit(call({line}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert f"{tmp_path}/config.toml: permission denied" in done.stdout
    assert done.stderr == ""
