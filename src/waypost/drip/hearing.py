"""What others say about votes, on its way in, and what is said to them on its way out.

What comes within its sender's allowance is heard; envelopes are opened, or passed on; and what cannot go straight goes
into envelopes.  `guard` and `relay` keep the counts.
"""

from collections.abc import Iterable

from waypost.drip.allowance import cost_of_vote
from waypost.drip.engine import DripEngine
from waypost.drip.envelope import Envelope
from waypost.drip.guard import Guard
from waypost.drip.messages import Message
from waypost.drip.relay import Relay
from waypost.engine import Effect
from waypost.record import Roster


class Hearing:
    """`guard` verifies for `votes`, the engine of the node `name`, and for `relay`."""

    def __init__(self, name: str, votes: DripEngine, guard: Guard, relay: Relay) -> None:
        self._name = name
        self._votes = votes
        self.guard = guard
        self.relay = relay

    def set_roster(self, roster: Roster) -> None:
        self.guard.set_roster(roster)
        self.relay.set_roster(roster)

    def hear(self, node: str, messages: Iterable[Message | Envelope], now: float, wall_ms: int) -> None:
        """From a node whom the transport has identified."""
        self._votes.hear(node, (), now)  # it is there, whatever it says
        for message in messages:
            if isinstance(message, Envelope):
                self._open(node, message, now, wall_ms)
            else:
                self._hear(node, message, now)

    def routed(self, effects: list[Effect], now: float, wall_ms: int) -> list[Effect]:
        """What is to be done, as it can be done: where a node cannot be reached, by way of others."""
        return self.relay.take_effects() + self.relay.routed(effects, now, wall_ms)

    def check(self) -> None:
        self.guard.check()
        self.relay.check()

    def _hear(self, node: str, message: Message, now: float) -> None:
        if node == self._name:
            self._votes.hear(node, (message,), now)
        elif self.guard.admits(node, cost_of_vote(message), now):
            forged = self.guard.counts["forged"]
            self._votes.hear(node, (message,), now)
            self.guard.charge(node, self.guard.counts["forged"] - forged, now)

    def _open(self, node: str, envelope: Envelope, now: float, wall_ms: int) -> None:
        """What is in it costs its sender; if it is forged, that costs whoever brought it."""
        if not self.guard.admits(node, 1, now):
            return
        forged = self.guard.counts["forged"]
        messages = self.relay.receive(node, envelope, now, wall_ms)
        self.guard.charge(node, self.guard.counts["forged"] - forged, now)
        for message in messages:
            self._hear(envelope.sender, message, now)
