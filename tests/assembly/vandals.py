"""Who means harm in a storm: it sends what is wrong in every way, and others are to pay for it.

It observes and takes its leave, registers simply and answers the directory's question with garbage, too much or
never; and it puts the addresses of victims on some of that.  A victim never says a word: whatever happens,
it gets at most three times what was sent in its name (design, "UDP answers at most three times").
"""

from random import Random
from typing import Final

from lamps import LINKS, SERVER

from waypost.coap.message import Message, Options, block, decode, read_block
from waypost.coap.numbers import AMPLIFICATION_MAX, Code, Option, Type
from waypost.engine import Endpoint
from waypost.errors import WireError
from waypost.rd.changes import DOCUMENT_OCTETS_MAX
from waypost.sim import Client, World

VICTIMS: Final = 3
PORTS: Final = (5683, 5684, 5685, 5686)  # one fetch is under way for each
QUERIES: Final = (b"ep=observed", b"rt=light", b"et=*", b"gp=vandals", b"ep=vandal", b"count=1")
BLOCK_EXPONENT: Final = 6


class Vandal:
    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = Random(f"{world.seed}/vandal")
        self._clients = [world.client("2001:db8:bad::1", port, self._on_datagram, name="vandal") for port in PORTS]
        self._victims = [
            world.client(f"2001:db8:f00d:{number:x}::1", 5683, _say_nothing, name=f"victim-{number}").endpoint
            for number in range(1, VICTIMS + 1)
        ]
        self._active = True
        self._act()

    def calm(self) -> None:
        """It begins nothing new."""
        self._active = False

    def check(self) -> None:
        for victim in self._victims:
            network = self._world.network
            named = network.arrived.get((victim.host, SERVER.host), 0)
            got = network.sent.get((SERVER.host, victim.host), 0)
            assert got <= AMPLIFICATION_MAX * named, f"{victim.host} got {got} octets for {named} in its name"

    def _act(self) -> None:
        if not self._active:
            return
        self.check()
        rng = self._rng
        everything = (self._garbled, self._simple, self._simple, self._observe, self._leave, self._group)
        # Two of the victims have to suffer for one thing alone: in the sum of all, it would not show.
        manners = ((self._simple,), (self._observe,), everything)
        for victim, manner in zip(self._victims, manners, strict=True):
            if rng.random() < 0.5:
                self._world.post(victim, SERVER, rng.choice(manner)())
        self._world.post(rng.choice(self._clients).endpoint, SERVER, rng.choice(everything)())
        self._world.after(4.0 * rng.random(), self._act)

    # what it sends, in its own name or another's

    def _request(
        self, code: Code, path: str, *queries: bytes, observe: bytes | None = None, payload: bytes = b""
    ) -> bytes:
        options: Options = [] if observe is None else [(Option.OBSERVE, observe)]
        options += [(Option.URI_PATH, part.encode()) for part in path.split("/")]
        if payload:
            options.append((Option.CONTENT_FORMAT, b"\x28"))
        options += [(Option.URI_QUERY, query) for query in queries]
        rng = self._rng
        id = rng.choice((rng.randrange(9), rng.getrandbits(16)))  # some come again
        return Message(rng.randrange(2), code, id, rng.choice((b"", b"v", b"vandal")), options, payload).encode()

    def _garbled(self) -> bytes:
        rng = self._rng
        observe = self._request(Code.GET, "rd-lookup/ep", observe=b"")
        data = bytearray(rng.choice((observe, self._request(Code.POST, "rd", b"ep=vandal", payload=LINKS))))
        for _ in range(rng.choice((0, 0, 1, 3, 30))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data[: rng.choice((len(data), rng.randrange(len(data))))])

    def _simple(self) -> bytes:
        door = self._rng.choice((".well-known/rd", ".well-known/core"))
        return self._request(Code.POST, door, b"ep=" + self._rng.choice((b"v", b"vandal-%d" % self._rng.randrange(9))))

    def _observe(self) -> bytes:
        door = self._rng.choice(("rd-lookup/ep", "rd-lookup/res", "rd-lookup/gp"))
        return self._request(Code.GET, door, self._rng.choice(QUERIES), observe=b"")

    def _leave(self) -> bytes:
        """Of what it observes, or never did; or by a reset of what it may have been told."""
        if self._rng.random() < 0.5:
            return Message(Type.RST, Code.EMPTY, self._rng.getrandbits(16), b"", []).encode()
        return self._request(Code.GET, "rd-lookup/ep", self._rng.choice(QUERIES), observe=b"\x01")

    def _group(self) -> bytes:
        return self._request(Code.POST, "rd-group", b"gp=vandals", payload=b"</reg/nothing>")

    # what it answers

    def _on_datagram(self, client: Client, data: bytes, source: Endpoint) -> None:
        try:
            message = decode(data)
        except WireError:
            return
        rng = self._rng
        if message.code == Code.GET:
            manners = (self._nothing, self._nonsense, self._wrong, self._too_much)
            goes_on = Option.BLOCK2 in dict(message.options) and rng.random() < 0.98
            for answer in (self._too_much if goes_on else rng.choice(manners))(message):
                client.send(answer, source)
        elif message.type == Type.CON and rng.random() < 0.5:
            client.send(Message(rng.choice((Type.ACK, Type.RST)), Code.EMPTY, message.id, b"", []).encode(), source)

    def _nothing(self, asked: Message) -> list[bytes]:
        """Not ever; or an acknowledgement, and no answer after it."""
        return [] if self._rng.random() < 0.5 else [Message(Type.ACK, Code.EMPTY, asked.id, b"", []).encode()]

    def _nonsense(self, asked: Message) -> list[bytes]:
        rng = self._rng
        links = rng.choice((rng.randbytes(60), b"</a", b'</t>;rt="' + b"\xff" * 9, b",,,<", b""))
        format = rng.choice((b"\x28", b"\x00", b"\xff\xff\xff\xff"))
        return [
            Message(Type.ACK, Code.CONTENT, asked.id, asked.token, [(Option.CONTENT_FORMAT, format)], links).encode()
        ]

    def _too_much(self, asked: Message) -> list[bytes]:
        """One block after another, without end; whoever asks has to see one."""
        wanted = dict(asked.options).get(Option.BLOCK2)
        number = 0 if wanted is None else read_block(wanted)[0]
        assert number << BLOCK_EXPONENT + 4 <= DOCUMENT_OCTETS_MAX, "more was fetched than is taken"
        options: Options = [
            (Option.ETAG, b"e"),
            (Option.CONTENT_FORMAT, b"\x28"),
            (Option.BLOCK2, block(number, True, BLOCK_EXPONENT)),
        ]
        payload = (b"</%08d>," % number) * 94
        answer = Message(Type.ACK, Code.CONTENT, asked.id, asked.token, options, payload[: 16 << BLOCK_EXPONENT])
        return [answer.encode()]

    def _wrong(self, asked: Message) -> list[bytes]:
        """Of another token, of another message, twice, an error, or a rejection."""
        rng = self._rng
        token, id = rng.choice((asked.token, b"other")), rng.choice((asked.id, asked.id ^ 1))
        code = rng.choice((Code.CONTENT, Code.NOT_FOUND, Code.CONTINUE, Code.UNAUTHORIZED))
        type = rng.choice((Type.ACK, Type.CON, Type.NON, Type.RST))
        answer = Message(type, Code.EMPTY if type == Type.RST else code, id, token if type != Type.RST else b"", [])
        return [answer.encode()] * rng.randint(1, 3)


def _say_nothing(client: Client, data: bytes, source: Endpoint) -> None:
    pass
