"""A device that knows no address finds the directory by DNS-SD: Avahi finds it and libcoap goes there."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from namespaces import Host, two_hosts
from running import running

END_S = 20.0
LISTEN = {"insecure": "coap", "coap__listen": "0.0.0.0:5683,[::]:5683"}
BUS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/><allow send_type="method_call"/>
  </policy>
</busconfig>
"""
# The daemon wants a user of its own, and a namespace has but one.
DAEMON = """\
mount -t tmpfs tmpfs /run
echo avahi:x:0:0::/:/bin/false >/run/passwd; mount --bind /run/passwd /etc/passwd
echo avahi:x:0: >/run/group; mount --bind /run/group /etc/group
exec avahi-daemon --no-drop-root --no-chroot --no-rlimits --file /dev/null
"""


@dataclass(frozen=True)
class Found:
    protocol: str  # IPv4 or IPv6, by which it was heard
    instance: str
    address: str
    port: int
    text: str


@dataclass(frozen=True)
class Avahi:
    host: Host
    environment: dict[str, str]

    def browse(self, kind: str) -> list[Found]:
        """What is there now; a name is escaped as in "Resource\\032directory"."""
        command = [*self.host.enter, "avahi-browse", "--resolve", "--parsable", "--terminate", kind]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=30)
        rows = [line.split(";") for line in done.stdout.splitlines() if line.startswith("=")]
        return [Found(row[2], row[3], row[7], int(row[8]), row[9]) for row in rows]

    def browse_until(self, kind: str, instances: set[str]) -> list[Found]:
        end = time.monotonic() + END_S
        found = self.browse(kind)
        while {service.instance for service in found} != instances:
            assert time.monotonic() < end, found
            time.sleep(0.2)
            found = self.browse(kind)
        return found


@contextmanager
def avahi(host: Host, folder: Path) -> Iterator[Avahi]:
    """A bus and a daemon of the host's own."""
    folder.mkdir()
    bus, configuration = folder / "bus", folder / "bus.conf"
    configuration.write_text(BUS.format(path=bus))
    environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={bus}"}
    dbus = [*host.enter, "dbus-daemon", "--nofork", "--nopidfile", "--config-file", str(configuration)]
    daemon = [*host.enter, "unshare", "--mount", "sh", "-ec", DAEMON]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(dbus, stderr=quiet) as first:
        try:
            end = time.monotonic() + END_S
            while not bus.exists():
                assert time.monotonic() < end
                time.sleep(0.02)
            with subprocess.Popen(daemon, env=environment, stderr=quiet) as second:
                try:
                    yield Avahi(host, environment)
                finally:
                    second.terminate()
        finally:
            first.terminate()


@pytest.mark.peer("avahi-browse", "avahi-daemon", "coap-client-notls", "dbus-daemon", "unshare:net")
def test_avahi_finds_the_directory_libcoap_uses_it_and_it_is_gone_with_the_node(tmp_path: Path) -> None:
    """RFC 9176, 4.1.2."""
    with two_hosts() as (here, there), avahi(there, tmp_path / "avahi") as browser:
        settings = {"mdns__interfaces": here.cable, "mdns__name": "Hall", **LISTEN}
        with running(tmp_path / "node", here.enter, **settings):
            over_udp = browser.browse_until("_core-rd._udp", {"Hall"})
            over_tcp = browser.browse_until("_core-rd._tcp", {"Hall"})
            assert {service.address for service in over_udp} <= {"198.51.100.1", "2001:db8:1::1"}
            for scheme, services in (("coap", over_udp), ("coap+tcp", over_tcp)):
                for service in services:
                    assert '"txtvers=1"' in service.text
                    assert '"node=' in service.text
                    where = f"[{service.address}]" if ":" in service.address else service.address
                    target = f"{scheme}://{where}:{service.port}/.well-known/core?rt=core.rd*"
                    assert '</rd>;rt="core.rd"' in there.run("coap-client-notls", "-B", "10", target)
        assert browser.browse_until("_core-rd._udp", set()) == []
        assert browser.browse_until("_core-rd._tcp", set()) == []
