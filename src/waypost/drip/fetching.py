"""The newest versions of single keys, asked of others at once: repair would bring them later.

The question is repair's own, about one key; what comes unasked, or about another key, is not looked at.

Source: design, Contracts 6; notes on DRiP, 4.3 (PULL).
"""

from typing import Final

from waypost.drip.merkle import digest_of
from waypost.drip.rumours import Pull, Pulled, Rumour
from waypost.record import Committed, Place

NUMBERS: Final = 1 << 40  # from here on: repair has the lower ones
WAITED_S: Final = 10.0  # for an answer
WAITED_MAX: Final = 1_024


class Fetching:
    """Messages out are gathered in `out`, for the owner to take."""

    def __init__(self) -> None:
        self.out: list[tuple[str, Rumour]] = []
        self._count = NUMBERS
        self._asked: dict[tuple[str, int], tuple[Place, float]] = {}  # the last is the last

    def ask(self, peer: str, place: Place, now: float) -> None:
        """Unless too many answers are waited for."""
        self._asked = {key: asked for key, asked in self._asked.items() if now < asked[1] + WAITED_S}
        if len(self._asked) < WAITED_MAX:
            self._count += 1
            self._asked[peer, self._count] = place, now
            self.out.append((peer, Pull(self._count, f"voted/{place[0]}", (digest_of(place[1].encode()),))))

    def is_asked(self, peer: str, id: int) -> bool:
        return (peer, id) in self._asked

    def receive(self, peer: str, pulled: Pulled) -> list[Committed]:
        """What was asked for, once."""
        asked = self._asked.pop((peer, pulled.id), None)
        return [committed for committed in pulled.commits if asked and committed.record.place == asked[0]][:1]

    def check(self) -> None:
        assert len(self._asked) <= WAITED_MAX
