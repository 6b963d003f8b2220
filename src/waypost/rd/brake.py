"""A brake on mass expiry.

When a network breaks, its devices cannot renew, and a directory that forgot them all would be empty
just when people look.  So only a share of the visible registrations may expire within a window.
Past it the brake holds: what is due stays visible for `hold_s`, and is then let go one by one, at the
rate of a share in a window.  Whoever renews meanwhile is held no more.

The brake answers one question for each registration that is due, and remembers only when it began.
An explicit removal never comes here.  Where several nodes hold the same registrations, what one lets go counts at all
of them, so together they let go of hardly more than one would.

Source: design, the mass-expiry brake; RFC 9176, 5.3: an expired registration SHOULD NOT be in lookups.
"""

from typing import Final

WINDOW: Final = 300.0  # seconds
MINIMUM: Final = 100  # registrations that may expire in a window, however few there are


class Brake:
    """`share` of the visible registrations may expire in a window; 0 turns the brake off."""

    def __init__(self, share: float, hold_s: float) -> None:
        self._share = share
        self._hold_s = hold_s
        self._tokens: float | None = None  # expiries allowed now; None before the first
        self._when = 0.0  # of the tokens
        self._last: float | None = None  # when the last one that is held is let go; None while nothing is

    def until(self, now: float, visible: int, held: int) -> float | None:
        """How long to hold the registration that is due, one of `visible`; None: let it expire.

        Never later than hold_s and WINDOW / share from now.
        """
        if not self._share:
            return None
        allowed = max(MINIMUM, self._share * visible)
        if not held:
            self._last = None  # all have come back, or are gone
        if self._last is None:
            if self._take(now, allowed):
                return None
            self._last = now + self._hold_s
        # While some are held, whatever is due queues behind them: nobody is let go at once.
        self._last = min(max(self._last, now) + WINDOW / allowed, now + self.longest())
        return self._last

    def count(self, now: float, visible: int) -> None:
        """One expired by another node's word: it counts as one that was let go here."""
        if self._share:
            self._take(now, max(MINIMUM, self._share * visible))

    def longest(self) -> float:
        """Seconds that it may hold a registration."""
        return self._hold_s + WINDOW / self._share if self._share else 0.0

    def _take(self, now: float, allowed: float) -> bool:
        tokens = allowed if self._tokens is None else self._tokens + (now - self._when) * allowed / WINDOW
        tokens = min(tokens, allowed)
        taken = tokens >= 1
        self._tokens, self._when = tokens - taken, now
        return taken
