"""A million forged sources: each sends one datagram, and is never heard of again.

Source: notes on reliability, D1 (no state per source before it is validated) and D3.
"""

import gc
import os
from collections.abc import Iterator
from pathlib import Path as FilePath
from random import Random

import pytest
from joined import HERE, Disk

from waypost.assembly.engine import Assembly
from waypost.coap.message import Message, uint
from waypost.coap.numbers import AMPLIFICATION_MAX, LINK_FORMAT, Code, Option, Type
from waypost.engine import Commit, Endpoint, Path, Send
from waypost.identity import ANONYMOUS
from waypost.identity.admission import Gate
from waypost.identity.policy import default
from waypost.rd.engine import Settings

WARM = 1_000  # sources until what is made once has been made
GROWTH_MAX = 5 << 20


def resident() -> int:
    gc.collect()
    return int(FilePath("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def source(number: int) -> str:
    return f"{11 + (number >> 24)}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def datagrams() -> list[bytes]:
    """What leaves the most behind: each could be kept for its sender."""

    def message(code: Code, path: str, *options: tuple[Option, bytes], payload: bytes = b"") -> bytes:
        segments = [(int(Option.URI_PATH), segment.encode()) for segment in path.split("/")]
        fields = sorted([*segments, *((int(name), value) for name, value in options)], key=lambda field: field[0])
        return Message(Type.CON, code, 7, b"tok", fields, payload).encode()

    format = (Option.CONTENT_FORMAT, uint(LINK_FORMAT))
    return [
        message(Code.GET, ".well-known/core"),
        message(Code.GET, "rd-lookup/ep", (Option.OBSERVE, b"")),
        message(Code.GET, "rd-lookup/res", (Option.BLOCK2, uint(0))),
        message(Code.POST, "rd", (Option.URI_QUERY, b"ep=x"), format, (Option.BLOCK1, uint(8)), payload=bytes(16)),
        message(Code.POST, ".well-known/rd", (Option.URI_QUERY, b"ep=victim")),
        message(Code.DELETE, "reg/00000000-0000-4000-8000-000000000000"),
        b"\x40\x00\x12\x34",
        b"\x60\x00\x12\x34",
        b"\x44\xff\x00\x00",
    ]


def sent(node: Assembly) -> Iterator[bytes]:
    """What leaves, while the disk takes its time."""
    for effect in node.take_effects():
        if isinstance(effect, Send):
            yield effect.data
        else:
            assert not isinstance(effect, Commit), "a stranger without an Echo value has nothing written"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("sources", [200_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_forged_sources_leave_nothing_behind(sources: int) -> None:
    node = Assembly(Random(1), Settings(freshness="echo"), default().decide, Gate(2_000, 10_000))
    node.restore(Disk(), 0.0)
    node.handle_clock(0.0, 1_800_000_000_000)
    assert list(node.take_effects()), "its name, written at the first start"
    kinds, now, before = datagrams(), 1.0, 0
    for number in range(WARM + sources):
        if number == WARM:
            before = resident()
        data = kinds[number % len(kinds)]
        now += 0.0001  # ten thousand a second
        path = Path("udp", Endpoint(source(number), 5683), HERE, 1, ANONYMOUS, validated=False)
        node.receive_datagram(data, path, now)
        when = node.next_timer()
        if when is not None and when <= now:
            node.handle_timer(now)
            for _ in sent(node):
                pass  # repetitions of what was counted when its request came
        else:
            octets = sum(map(len, sent(node)))
            assert octets <= AMPLIFICATION_MAX * len(data)
    node.check()
    assert resident() - before < GROWTH_MAX
