"""The cable between hosts: a frame of one host's TAP comes to the others late, or never, as it was commanded.

    switch.py SEED PID...

Host 1 is the network namespace of the first PID, and so on.  It is run by links.py in a namespace from which it may
enter theirs.  A line of JSON is an order, {"from": 1, "to": 2, "delay_s": 0.05, "jitter_s": 0.005, "loss": 0.1,
"cut": false}, of the frames from one host to another; a line is the answer once it holds.  Frames that are on their
way already arrive.  Hosts have the MAC addresses 02:00:00:00:00:01 and so on.
"""

import ctypes
import fcntl
import heapq
import io
import json
import os
import selectors
import struct
import sys
import time
from dataclasses import dataclass
from random import Random
from typing import Final

CLONE_NEWNET: Final = 0x40000000
TUNSETIFF: Final = 0x400454CA
IFF_TAP: Final = 0x0002
IFF_NO_PI: Final = 0x1000
INTERFACE: Final = "tap0"
FRAME_MAX: Final = 2_048  # octets
WAITING_MAX: Final = 20_000  # frames; more are lost, as in a queue of any router
BATCH: Final = 64  # frames of one host before the next has its turn


@dataclass(frozen=True)
class Link:
    """From one host to another."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    cut: bool = False


class Switch:
    def __init__(self, taps: dict[int, int], rng: Random) -> None:
        """`taps` has the open file of each host."""
        self.taps = taps
        self.rng = rng
        self.links = {(source, target): Link() for source in taps for target in taps if source != target}
        self.waiting: list[tuple[float, int, int, bytes]] = []  # when, number of the frame, for whom, the frame
        self.frames = 0

    def receive(self, source: int, now: float) -> None:
        for _ in range(BATCH):
            try:
                frame = os.read(self.taps[source], FRAME_MAX)
            except BlockingIOError:
                return
            for target in self.targets(source, frame):
                self.forward(source, target, frame, now)

    def targets(self, source: int, frame: bytes) -> list[int]:
        if frame[0] & 1:  # for all of them
            return [target for target in self.taps if target != source]
        return [frame[5]] if (source, frame[5]) in self.links else []

    def forward(self, source: int, target: int, frame: bytes, now: float) -> None:
        link = self.links[source, target]
        if link.cut or self.rng.random() < link.loss or len(self.waiting) >= WAITING_MAX:
            return
        self.frames += 1
        when = now + max(0.0, link.delay_s + self.rng.uniform(-link.jitter_s, link.jitter_s))
        heapq.heappush(self.waiting, (when, self.frames, target, frame))

    def deliver(self, now: float) -> None:
        while self.waiting and self.waiting[0][0] <= now:
            _, _, target, frame = heapq.heappop(self.waiting)
            try:
                os.write(self.taps[target], frame)
            except OSError:  # the interface is down, or its queue full
                continue

    def obey(self, order: dict[str, float]) -> None:
        pair = int(order.pop("from")), int(order.pop("to"))
        self.links[pair] = Link(order["delay_s"], order["jitter_s"], order["loss"], bool(order["cut"]))

    def run(self, orders: io.FileIO) -> None:
        """Until there are no more orders."""
        selector = selectors.DefaultSelector()
        for number, tap in self.taps.items():
            selector.register(tap, selectors.EVENT_READ, number)
        selector.register(orders, selectors.EVENT_READ, None)
        while True:
            timeout = max(0.0, self.waiting[0][0] - time.monotonic()) if self.waiting else None
            for key, _ in selector.select(timeout):
                if key.data is not None:
                    self.receive(key.data, time.monotonic())
                    continue
                line = orders.readline()
                if not line:
                    return
                for order in json.loads(line):
                    self.obey(order)
                print("done", flush=True)
            self.deliver(time.monotonic())


def open_tap(pid: int) -> int:
    """Enter the namespace, make its TAP there; the file goes on being of that interface wherever we are."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/proc/{pid}/ns/net", "rb") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", INTERFACE.encode(), IFF_TAP | IFF_NO_PI))
    return tap


if __name__ == "__main__":
    seed, *pids = map(int, sys.argv[1:])
    taps = {number: open_tap(pid) for number, pid in enumerate(pids, 1)}
    print("ready", flush=True)
    Switch(taps, Random(seed)).run(io.FileIO(0))
