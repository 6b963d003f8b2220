"""Two hosts on one cable, each a network namespace of its own; nobody needs to be root, and all ends with the test."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

HOLD_S = 120
START_S = 10.0


@dataclass(frozen=True)
class Host:
    """`enter` goes before a command that is to run there; `cable` is its interface's name."""

    enter: tuple[str, ...]
    cable: str

    def run(self, *command: str) -> str:
        done = subprocess.run([*self.enter, *command], capture_output=True, text=True, check=True, timeout=30)
        return done.stdout


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """The first has 198.51.100.1 and 2001:db8:1::1, the second …2."""
    with holding(["unshare", "-rn"]) as first:
        here = Host(entering(first), "near")
        with holding([*here.enter, "unshare", "-n"]) as second:
            there = Host(entering(second), "far")
            for host in (here, there):  # addresses are good at once, without asking whether they are taken
                host.run("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad")
            here.run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(second.pid))
            for number, host in enumerate((here, there), 1):
                host.run("ip", "link", "set", "lo", "up")
                host.run("ip", "address", "add", f"198.51.100.{number}/24", "dev", host.cable)
                host.run("ip", "address", "add", f"2001:db8:1::{number}/64", "dev", host.cable)
                host.run("ip", "link", "set", host.cable, "up")
                host.run("ip", "route", "add", "224.0.0.0/4", "dev", host.cable)
            for host in (here, there):
                until_up(host)
            yield here, there


@contextmanager
def holding(command: list[str], hold_s: int = HOLD_S) -> Iterator[subprocess.Popen[str]]:
    """A namespace lasts as long as a process in it does."""
    process = subprocess.Popen([*command, "sh", "-c", f"echo; exec sleep {hold_s}"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        try:
            assert process.stdout.readline(), "no namespace"
            yield process
        finally:
            process.kill()
            process.wait()


def entering(process: subprocess.Popen[str]) -> tuple[str, ...]:
    return ("nsenter", "--target", str(process.pid), "--user", "--preserve-credentials", "--net")


def until_up(host: Host) -> None:
    """The interface has found its link-local address."""
    end = time.monotonic() + START_S
    while "fe80" not in (shown := host.run("ip", "-6", "address", "show", "dev", host.cable)) or "tentative" in shown:
        assert time.monotonic() < end, shown
        time.sleep(0.02)
