"""A crowd of devices that registers, renews and removes, and remembers what it was told.

All requests leave from one socket, WINDOW of them under way, at most one for each device.  What a device was told
last is in `told`; a device whose last request was not answered is in `unsure`, and may be found either way.
"""

import time
from dataclasses import dataclass
from random import Random

from device import Device, location

from waypost.coap.message import Message
from waypost.coap.numbers import LINK_FORMAT, Code

WINDOW = 32


@dataclass(frozen=True)
class Told:
    """An acknowledged state.  `location` is None after an acknowledged removal."""

    location: str | None
    lt: int  # seconds
    since: float  # monotonic time just before the request was sent
    version: int  # of the registered document; 0 where none is registered


@dataclass(frozen=True)
class Sent:
    name: str
    told: Told  # once it is acknowledged


NEVER = Told(None, 0, 0.0, 0)


class Crowd:
    def __init__(self, rng: Random, size: int) -> None:
        self.rng = rng
        self.told = {f"device-{number}": NEVER for number in range(size)}
        self.unsure: dict[str, Told] = {}
        self.acknowledged = 0
        self.version = 0

    def load(self, port: int, answers: int) -> None:
        """Returns after so many acknowledgements, with WINDOW requests still under way: those are the unsure."""
        with Device(port, seed=self.rng.getrandbits(32)) as device:
            device.get("/.well-known/core")
            under_way: dict[bytes, Sent] = {}
            self.fill(device, under_way)
            for _ in range(answers):
                answer = device.receive()
                sent = under_way.pop(answer.token)
                self.hear(sent, answer)
                self.fill(device, under_way)
            self.unsure = {sent.name: sent.told for sent in under_way.values()}

    def fill(self, device: Device, under_way: dict[bytes, Sent]) -> None:
        busy = {sent.name for sent in under_way.values()}
        while len(under_way) < WINDOW:
            name = self.rng.choice([name for name in self.told if name not in busy])
            message, told = self.next_request(device, name)
            busy.add(name)
            under_way[message.token] = Sent(name, told)
            device.socket.send(message.encode())

    def next_request(self, device: Device, name: str) -> tuple[Message, Told]:
        told = self.told[name]
        lt = self.rng.choice((300, 3_600, 90_000))
        now = time.monotonic()
        kind = self.rng.random()
        if told.location is not None and kind < 0.4:
            return device.message(Code.POST, told.location, f"lt={lt}"), Told(told.location, lt, now, told.version)
        if told.location is not None and kind < 0.5:
            return device.message(Code.DELETE, told.location), Told(None, 0, now, 0)
        self.version += 1
        query = (f"ep={name}", f"base=coap://{name}.example.com", f"lt={lt}")
        links = b'</v>;rt="version-%d",</t>;rt="temperature"' % self.version
        message = device.message(Code.POST, "rd", *query, payload=links, content_format=LINK_FORMAT)
        return message, Told(told.location, lt, now, self.version)

    def hear(self, sent: Sent, answer: Message) -> None:
        old, new = self.told[sent.name], sent.told
        if answer.code == Code.CREATED:
            place = location(answer)
            assert old.location in (None, place), "a name that is registered keeps its location"
            new = Told(place, new.lt, new.since, new.version)
        else:
            expected = Code.CHANGED if new.location else Code.DELETED
            assert answer.code == expected, (sent, Code(answer.code), answer.payload)
        self.told[sent.name] = new
        self.acknowledged += 1
