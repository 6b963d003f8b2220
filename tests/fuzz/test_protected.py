"""A whole node with OSCORE by datagrams: sequences from a seed, of devices with keys and of whoever captures them.

Devices register, look up, observe, send in blocks, acknowledge and reset; somebody sends captured datagrams again,
damaged or whole, from any address; the disk stalls, and the node is killed and started again.  Nothing raises, check()
holds, no nonce protects two messages, no request is done twice, and whoever has not shown to be at its address is sent
at most three times what came from there.
"""

from collections import Counter, deque
from random import Random
from typing import Final

import pytest
from aiocoap import error as aiocoap_error
from inputs import damaged, document
from oscore_device import SECRET, Device, Disk, udp

from waypost.assembly.engine import Assembly
from waypost.coap.message import Message, Options, block, decode, uint
from waypost.coap.numbers import AMPLIFICATION_MAX, LINK_FORMAT, Code, Option, Type
from waypost.coap.oscore import answer_head, carries
from waypost.engine import Path
from waypost.identity import Identity
from waypost.identity.oscore import SecurityContext
from waypost.identity.policy import default
from waypost.rd.engine import Settings
from waypost.runtime.oscore import Oscore

SEEDS: Final = 4  # in `./dev test`
SEEDS_LONG: Final = 60  # with --long
DATAGRAMS: Final = 1_500  # of each seed
WALL_MS: Final = 1_800_000_000_000

CONTEXTS: Final = tuple(
    SecurityContext(Identity("oscore", f"lamp-{number}", ("device",)), SECRET, bytes([number]), bytes([100 + number]))
    for number in range(3)
)


class Lamp:
    def __init__(self, settings: SecurityContext, path: Path) -> None:
        self.device = Device(settings)
        self.path = path
        self.heard: deque[Message] = deque(maxlen=12)  # in plain
        self.places: list[str] = []
        self.echo = b""


class Street:
    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.now = 1.0
        self.disk = Disk()
        self.lamps = [Lamp(settings, udp(f"192.0.2.{number}")) for number, settings in enumerate(CONTEXTS)]
        self.captured: deque[bytes] = deque(maxlen=60)
        self.octets: dict[str, list[int]] = {}  # by host: received from there, sent there
        self.nonces: dict[tuple[object, ...], bytes] = {}  # and what it protected
        self.created = 0
        self.starts = 0
        self.node: Oscore
        self.refused: Counter[str] = Counter()  # by the nodes that were killed
        self.start()

    def start(self) -> None:
        self.starts += 1
        self.disk.commits.clear()
        self.disk.stuck = False
        if self.starts > 1:
            self.refused += self.node.refused
        assembly = Assembly(Random(self.rng.getrandbits(32)), Settings(), default().decide)
        self.node = Oscore(assembly, CONTEXTS, Random(self.rng.getrandbits(32)))
        self.node.restore(self.disk, self.now)
        self.node.handle_clock(self.now, WALL_MS + int(self.now * 1000))
        self.settle()

    def step(self) -> None:
        rng = self.rng
        self.pass_time(rng.choice((0.0, 0.0, 0.01, 0.1)) if rng.random() < 0.98 else rng.uniform(0.0, 300.0))
        chance = rng.random()
        if chance < 0.01:
            self.start()
        elif chance < 0.04:
            self.disk.stuck = not self.disk.stuck
            if not self.disk.stuck:
                self.disk.commit(self.node, self.now)
                self.settle()
        lamp = rng.choice(self.lamps)
        path, data = self.datagram(lamp)
        octets = self.octets.setdefault(path.peer.host, [0, 0])
        octets[0] += len(data)
        self.node.receive_datagram(data, path, self.now)
        self.settle()

    def datagram(self, lamp: Lamp) -> tuple[Path, bytes]:
        rng = self.rng
        kind = rng.random()
        if kind < 0.6:
            data = lamp.device.protect(self.request(lamp))
            self.captured.append(data)
            return lamp.path, data
        if kind < 0.7 and lamp.heard:
            heard = rng.choice(lamp.heard)
            if heard.type == Type.CON:
                return lamp.path, Message(rng.choice((Type.ACK, Type.RST)), Code.EMPTY, heard.id, b"", []).encode()
        if kind < 0.85 and self.captured:
            return rng.choice((lamp.path, udp(f"198.51.100.{rng.randrange(5)}"))), rng.choice(self.captured)
        if self.captured:
            return rng.choice((lamp.path, udp("203.0.113.1"))), damaged(list(self.captured), rng)
        return udp("203.0.113.1"), rng.randbytes(rng.randrange(40))

    def request(self, lamp: Lamp) -> Message:
        rng = self.rng
        options: Options = []
        payload, code = b"", Code.GET
        kind = rng.random()
        if kind < 0.3:
            self.created += 1
            code, path, query, payload = Code.POST, "rd", [f"ep=a{self.created}", "base=coap://a"], document(rng)
        elif kind < 0.45 and lamp.places:
            code, path, query = rng.choice((Code.POST, Code.DELETE)), rng.choice(lamp.places), ["lt=300"]
        elif kind < 0.5:
            code, path, query = Code.POST, ".well-known/rd", [f"ep=s{rng.randrange(9)}"]
        else:
            path, query = rng.choice(("rd-lookup/res", "rd-lookup/ep", ".well-known/core")), rng.choice(([], ["rt=1"]))
            if rng.random() < 0.4:
                options.append((int(Option.OBSERVE), rng.choice((b"", b"", b"\x01"))))
        options += [(int(Option.URI_PATH), part.encode()) for part in path.split("/")]
        options += [(int(Option.URI_QUERY), part.encode()) for part in query]
        if payload:
            options.append((int(Option.CONTENT_FORMAT), uint(LINK_FORMAT)))
        if rng.random() < 0.2:
            number = rng.choice((Option.BLOCK1, Option.BLOCK2))
            options.append((int(number), block(rng.choice((0, 0, 1, 2)), rng.random() < 0.5, rng.randrange(7))))
        if lamp.echo:
            options.append((int(Option.ECHO), lamp.echo))
        options.sort(key=lambda option: option[0])
        kind_of = rng.choice((Type.CON, Type.CON, Type.NON))
        return Message(kind_of, code, rng.randrange(1 << 16), rng.randbytes(8), options, payload)

    def settle(self) -> None:
        self.disk.carry_out(self.node, self.now)
        sent, self.disk.sent = self.disk.sent, []
        for send in sent:
            peer = send.path.peer
            if send.data[1] and carries(send.data, Option.OSCORE):
                self.note_nonce(send.path, send.data)
            for lamp in self.lamps:
                if peer.host == lamp.path.peer.host and send.data[1]:
                    self.hear(lamp, send.data)
            octets = self.octets[peer.host]
            octets[1] += len(send.data)
            if not any(lamp.echo and lamp.path.peer.host == peer.host for lamp in self.lamps):
                assert octets[1] <= AMPLIFICATION_MAX * octets[0], send

    def note_nonce(self, path: Path, data: bytes) -> None:
        """Octets that were sent before may be sent again; others have a nonce of their own."""
        message = decode(data)
        head = answer_head(message)
        context = path.who.name
        if message.code < 0x40 or head.partial_iv:
            nonce: tuple[object, ...] = (context, "node", head.partial_iv)
        else:
            nonce = (context, "device", message.token)  # a token is used for one request here
        assert self.nonces.setdefault(nonce, message.payload) == message.payload

    def hear(self, lamp: Lamp, data: bytes) -> None:
        if not carries(data, Option.OSCORE):
            lamp.heard.append(decode(data))
            return
        try:
            message = lamp.device.unprotect(data) if data[1] >= 0x40 else lamp.device.read(data)
        except (KeyError, aiocoap_error.Error):
            return  # of another device that used this address, or a request of the node's that came again
        lamp.heard.append(message)
        if message.code == Code.CREATED:
            lamp.places.append("/".join(v.decode() for number, v in message.options if number == Option.LOCATION_PATH))
        if self.rng.random() < 0.5:
            lamp.echo = next((v for number, v in message.options if number == Option.ECHO), lamp.echo)

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while (when := self.node.next_timer()) is not None and when <= until:
            self.now = max(self.now, when)
            self.node.handle_timer(self.now)
            self.settle()
        self.now = until


@pytest.mark.parametrize(
    "seed", [seed if seed < SEEDS else pytest.param(seed, marks=pytest.mark.long) for seed in range(SEEDS_LONG)]
)
def test_no_sequence_of_protected_datagrams_breaks_a_node(seed: int) -> None:
    street = Street(seed)
    for count in range(DATAGRAMS):
        try:
            street.step()
            street.node.check()
        except Exception as error:
            raise AssertionError(f"seed {seed}, datagram {count}") from error
    assert street.starts > 3
    assert any(lamp.places for lamp in street.lamps)
    refused = street.refused + street.node.refused
    assert all(refused[reason] for reason in ("decryption", "replay", "unproven")), refused
    assert len(street.nonces) > DATAGRAMS // 10
