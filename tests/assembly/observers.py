"""An observer in a storm: what it was told last must be what there is, once the storm is over (RFC 7641)."""

from functools import partial
from typing import Final

from lamps import LINKS, SERVER

from waypost.coap.message import Message, decode
from waypost.coap.numbers import Code, Option, Type
from waypost.engine import Endpoint
from waypost.errors import WireError
from waypost.sim import Client, Device, World

NAME: Final = "observed"
ASK_EVERY: Final = 20.0  # seconds; a node that was restarted knows no observers
PADDING: Final = (2000, bytes(200))  # an option that nobody knows: a longer request may have a longer answer


class Observer:
    """`known` is what it takes for the answer to its lookup; `told` counts notifications."""

    def __init__(self, world: World) -> None:
        self.known = b""
        self.told = 0
        self._world = world
        self._client = world.client("2001:db8:0b5::1", 5683, self._on_datagram, name="observer")
        self._announcer = Device(world, "2001:db8:a::1", SERVER, name="announcer")
        self._id = 0
        self._sequence = 0
        self._asking = True
        self._ask_again_and_again()

    def finish(self) -> None:
        """Ask once more and never again; then the endpoint that is observed changes twice."""
        self._asking = False
        self._ask()
        for after, type in ((5.0, "one"), (10.0, "two")):
            query = (f"ep={NAME}", f"et={type}")
            self._world.after(after, partial(self._announce, query))

    def _announce(self, query: tuple[str, ...]) -> None:
        self._announcer.request(Code.POST, "rd", query, LINKS, lambda answer: None)

    def _ask_again_and_again(self) -> None:
        if self._asking:
            self._ask()
            self._world.after(ASK_EVERY, self._ask_again_and_again)

    def _ask(self) -> None:
        self._id = (self._id + 1) & 0xFFFF
        path = [(int(Option.URI_PATH), part) for part in (b"rd-lookup", b"ep")]
        options = [(int(Option.OBSERVE), b""), *path, (int(Option.URI_QUERY), b"ep=" + NAME.encode()), PADDING]
        self._client.send(Message(int(Type.CON), int(Code.GET), self._id, b"o", options, b"").encode(), SERVER)

    def _on_datagram(self, client: Client, data: bytes, source: Endpoint) -> None:
        try:
            message = decode(data)
        except WireError:
            return
        if message.type == Type.CON:
            client.send(Message(int(Type.ACK), 0, message.id, b"", []).encode(), source)
        sequence = dict(message.options).get(Option.OBSERVE)
        if message.code != Code.CONTENT or message.token != b"o" or sequence is None:
            return
        number = int.from_bytes(sequence, "big")
        first = message.type == Type.ACK and message.id == self._id
        if first or number > self._sequence:  # RFC 7641, 3.4
            self.told += not first
            self._sequence, self.known = number, message.payload
