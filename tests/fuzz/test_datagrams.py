"""The whole node by datagrams: sequences from a seed, of clients that are half right at best.

They register, look up, observe, send in blocks, repeat themselves, acknowledge, reset, answer what they are asked,
and break every rule of the grammar; the disk stalls now and then.  Nothing raises, check() holds, and whoever has
not shown to be at its address is sent at most three times what came from there.
"""

import time
from collections import deque
from dataclasses import dataclass, field, replace
from random import Random, SystemRandom
from typing import Final

import pytest
from inputs import damaged, document, message
from joined import HERE, WALL_MS, Disk

from waypost.assembly.engine import Assembly
from waypost.coap.message import Message, Options, block, decode, uint
from waypost.coap.numbers import AMPLIFICATION_MAX, LINK_FORMAT, Code, Option, Type
from waypost.engine import Endpoint, Path, Send
from waypost.identity import ANONYMOUS
from waypost.identity.policy import default
from waypost.rd.engine import Settings

SEEDS: Final = 10  # in `./dev test`
SEEDS_LONG: Final = 200  # with --long
DATAGRAMS: Final = 10_000  # of each seed
CHECK_EACH: Final = 20
REGISTRATIONS_MAX: Final = 60
REMEMBERED: Final = 24  # datagrams of each direction and source


@dataclass
class Source:
    """Where datagrams come from.  A stranger's never show that they come from there: not one Echo comes back."""

    path: Path
    sent: int = 0  # octets
    received: int = 0
    says: deque[bytes] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    hears: deque[bytes] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    @property
    def stranger(self) -> bool:
        return not self.path.validated


class Town:
    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.now = 1.0
        self.disk = Disk()
        self.node = Assembly(Random(seed + 1), Settings(registrations_max=REGISTRATIONS_MAX), default().decide)
        self.node.restore(self.disk, 0.0)
        self.node.handle_clock(0.0, WALL_MS)
        self.sources = {source.path.peer: source for source in self.people()}
        self.settle()

    def people(self) -> list[Source]:
        """Strangers and known ones by datagram, two of them on links, and connections."""
        links = [
            Path("udp", Endpoint("fe80::1", 4000, scope), HERE, 1, ANONYMOUS, validated=scope == 2) for scope in (2, 3)
        ]
        udp = [
            Path("udp", Endpoint(f"2001:db8::{number:x}", 4000), HERE, 1, ANONYMOUS, validated=number % 2 == 0)
            for number in range(8)
        ]
        tcp = [
            Path("tcp", Endpoint(f"2001:db8:c::{number:x}", 5000), HERE, 2 + number, ANONYMOUS, True, message_max)
            for number, message_max in enumerate((200, 1 << 16))
        ]
        return [Source(path) for path in (*links, *udp, *tcp)]

    def step(self) -> None:
        rng = self.rng
        self.pass_time(rng.choice((0.0, 0.0, 0.001, 0.05)) if rng.random() < 0.98 else rng.uniform(0.0, 400.0))
        if rng.random() < 0.02:
            self.toggle_disk()
        source = rng.choice(list(self.sources.values()))
        data = self.datagram(source)
        source.says.append(data)
        source.sent += len(data)
        group = source.stranger and rng.random() < 0.1
        self.node.receive_datagram(data, replace(source.path, group=group) if group else source.path, self.now)
        self.settle()

    def datagram(self, source: Source) -> bytes:
        rng = self.rng
        kind = rng.random()
        if kind < 0.45:
            return self.request(source).encode()
        if kind < 0.6:
            return message(rng)
        if kind < 0.75 and source.says:
            return damaged(list(source.says), rng)
        if kind < 0.85 and source.says:
            return rng.choice(source.says)
        if source.hears and not source.stranger:
            return self.reply(decode(rng.choice(source.hears)))
        return rng.randbytes(rng.randrange(40))

    def request(self, source: Source) -> Message:
        """As a client would make it, if not always with sense."""
        rng = self.rng
        code, path, query, payload = rng.choice((self.register, self.change, self.look_up, self.discover))(source)
        options: Options = [(int(Option.URI_PATH), part.encode()) for part in path.split("/")]
        options += [(int(Option.URI_QUERY), part.encode()) for part in query]
        if payload:
            options.append((int(Option.CONTENT_FORMAT), uint(LINK_FORMAT)))
        if rng.random() < 0.3:
            options.append((int(Option.OBSERVE), rng.choice((b"", b"", b"\x01"))))
        if rng.random() < 0.2:
            number = rng.choice((Option.BLOCK1, Option.BLOCK2))
            options.append((int(number), block(rng.choice((0, 0, 1, 2, 3)), rng.random() < 0.5, rng.randrange(7))))
        options.sort(key=lambda option: option[0])
        kind = Type.NON if source.path.message_max else rng.choice((Type.CON, Type.CON, Type.NON))
        return Message(kind, code, rng.randrange(1 << 16), rng.randbytes(rng.choice((1, 2, 8))), options, payload)

    def register(self, _: Source) -> tuple[Code, str, list[str], bytes]:
        rng = self.rng
        query = [
            f"ep=node{rng.randrange(40)}",
            f"lt={rng.choice((1, 60, 300))}",
            rng.choice(("et=lamp", "d=x", "base=")),
        ]
        path = rng.choice(("rd", "rd", "rd/", ".well-known/rd", ".well-known/core"))
        return Code.POST, path, query, document(rng) if rng.random() < 0.7 else b""

    def change(self, source: Source) -> tuple[Code, str, list[str], bytes]:
        places = [place for data in source.hears if (place := location(decode(data)))]
        path = self.rng.choice(places) if places else "reg/00000000-0000-4000-8000-000000000000"
        code = self.rng.choice((Code.POST, Code.DELETE, Code.GET, Code.PUT))
        return code, path, [self.rng.choice(("lt=60", "base=coap://h", "rt=a", "x=y"))], b""

    def look_up(self, _: Source) -> tuple[Code, str, list[str], bytes]:
        rng = self.rng
        criteria = ["ep=node1", "ep=node*", "rt=1", "rt=a*", "et=lamp", "count=3", "page=1", "href=/*", "d=x", "if"]
        return Code.GET, rng.choice(("rd-lookup/res", "rd-lookup/ep")), rng.sample(criteria, rng.randrange(3)), b""

    def discover(self, _: Source) -> tuple[Code, str, list[str], bytes]:
        return Code.GET, ".well-known/core", self.rng.choice(([], ["rt=core.rd*"], ["rt"])), b""

    def reply(self, heard: Message) -> bytes:
        """An acknowledgement, a reset, or, if it was a request, some answer."""
        rng = self.rng
        if heard.code >> 5 or not heard.code or rng.random() < 0.2:
            return Message(rng.choice((Type.ACK, Type.RST)), Code.EMPTY, heard.id, b"", []).encode()
        options: Options = [(int(Option.CONTENT_FORMAT), uint(LINK_FORMAT))]
        if rng.random() < 0.3:
            options.append((int(Option.BLOCK2), block(rng.randrange(3), rng.random() < 0.5, rng.randrange(3))))
        code = rng.choice((Code.CONTENT, Code.CONTENT, Code.NOT_FOUND, Code.CHANGED))
        kind = rng.choice((Type.ACK, Type.ACK, Type.NON, Type.CON))
        return Message(kind, code, heard.id, heard.token, options, document(rng)).encode()

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while (when := self.node.next_timer()) is not None and when <= until:
            self.now = max(self.now, when)
            self.node.handle_timer(self.now)
            self.settle()
        self.now = until

    def toggle_disk(self) -> None:
        self.disk.stuck = not self.disk.stuck
        if not self.disk.stuck:
            held, self.disk.held = self.disk.held, []
            for commit in held:
                self.disk.commit(commit, self.node, self.now)
            self.settle()

    def settle(self) -> None:
        self.disk.carry_out(self.node, self.now)
        sent, self.disk.outside = self.disk.outside, []
        for effect in sent:
            assert isinstance(effect, Send), effect
            source = self.sources[effect.path.peer]
            assert decode(effect.data).encode() == effect.data
            assert effect.path.message_max is None or len(effect.data) <= effect.path.message_max
            source.hears.append(effect.data)
            source.received += len(effect.data)
            if source.stranger:
                assert source.received <= AMPLIFICATION_MAX * source.sent, effect


def location(answer: Message) -> str:
    return "/".join(value.decode() for number, value in answer.options if number == Option.LOCATION_PATH)


def live(seed: int) -> Town:
    town = Town(seed)
    for count in range(DATAGRAMS):
        try:
            town.step()
            if count % CHECK_EACH == 0:
                town.node.check()
        except Exception as error:
            raise AssertionError(f"seed {seed}, datagram {count}") from error
    return town


@pytest.mark.parametrize(
    "seed", [seed if seed < SEEDS else pytest.param(seed, marks=pytest.mark.long) for seed in range(SEEDS_LONG)]
)
def test_no_sequence_of_datagrams_breaks_a_node(seed: int) -> None:
    town = live(seed)
    codes = {decode(data).code for source in town.sources.values() for data in source.hears}
    assert {Code.CREATED, Code.CONTENT} <= codes, "the sequence did nothing"


def test_fresh_sequences_break_nothing_either(request: pytest.FixtureRequest) -> None:
    """As long as `./dev fuzz` says; in `./dev test` there is none."""
    seconds: float = request.config.getoption("--fuzz-seconds") or 0.0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        live(SystemRandom().getrandbits(64))
