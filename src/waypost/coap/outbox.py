"""The message layer's way out: message ids, retransmission, and what may be sent to whom.

Source: RFC 7252, 4; design, "UDP answers at most three times".
"""

from collections.abc import Hashable
from random import Random

from waypost.coap.echo import Sources
from waypost.coap.exchange import Retransmissions
from waypost.coap.numbers import Code
from waypost.engine import Effect, Path, Send


class Outbox:
    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.sources = Sources(rng)
        self.retransmissions = Retransmissions(rng)
        self._message_id = rng.getrandbits(16)
        self._effects: list[Effect] = []

    def validated(self, path: Path, now: float) -> bool:
        """Has the peer shown to be at its address, by its transport or by an Echo value?"""
        return path.validated or self.sources.validated(path.peer, now)

    def limit(self, path: Path, credit: int, now: float) -> int | None:
        """The most octets of a message: what a connection's peer takes, or `credit` until a source is validated."""
        return path.message_max or (None if self.validated(path, now) else credit)

    def next_message_id(self, path: Path) -> int:
        self._message_id = self._message_id + 1 & 0xFFFF
        while (path.peer, self._message_id) in self.retransmissions:
            self._message_id = self._message_id + 1 & 0xFFFF
        return self._message_id

    def random_message_id(self, path: Path) -> int:
        """One that nobody guesses, where an acknowledgement counts as a sign of life."""
        id = self._rng.getrandbits(16)
        while (path.peer, id) in self.retransmissions:
            id = self._rng.getrandbits(16)
        return id

    def send(self, path: Path, data: bytes) -> None:
        self._effects.append(Send(path, data))

    def send_empty(self, path: Path, type: int, id: int) -> None:
        """An acknowledgement or a reset of message `id`."""
        self.send(path, bytes((0x40 | type << 4, Code.EMPTY, id >> 8, id & 0xFF)))

    def send_confirmable(
        self, path: Path, id: int, data: bytes, owner: Hashable, now: float, *, once: bool = False
    ) -> None:
        """Send until it is acknowledged, or once and wait for that; `owner` is who wants to know.

        A connection does that itself (RFC 8323, 3.1).
        """
        self.send(path, data)
        if path.message_max is None:
            self.retransmissions.start(path, id, data, owner, now, once=once)

    def retransmit(self, now: float) -> list[Hashable]:
        """Send again what is due; the owners of what is given up."""
        again, given_up = self.retransmissions.due(now)
        self._effects += again
        return given_up

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects
