"""A node that takes another policy while it runs."""

import signal
import time
from pathlib import Path

from device import Device
from running import Node, running

from waypost.coap.numbers import Code

CLOSED = '[[allow]]\nwho = ["operator"]\ndo = ["*"]\n'


def code_of(device: Device) -> int:
    return device.get("/rd-lookup/ep").code


def becomes(device: Device, code: int, within_s: float = 10.0) -> bool:
    """A signal is taken when the node comes to it."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if code_of(device) == code:
            return True
        time.sleep(0.05)
    return False


def hang_up(node: Node) -> None:
    node.process.send_signal(signal.SIGHUP)


def test_a_node_takes_its_policy_when_it_is_told_to_and_no_wrong_one(tmp_path: Path) -> None:
    with running(tmp_path) as node, Device(node.port) as device:
        file = tmp_path / "policy.toml"
        default = file.read_text()
        assert code_of(device) == Code.CONTENT
        file.write_text(CLOSED)
        assert code_of(device) == Code.CONTENT, "not before it is told to"
        hang_up(node)
        assert becomes(device, Code.FORBIDDEN)
        file.write_text(default.replace("look-up", "lookup"))
        hang_up(node)
        assert not becomes(device, Code.CONTENT, 1.0), "what is wrong changes nothing"
        file.write_text(default)
        hang_up(node)
        assert becomes(device, Code.CONTENT)
