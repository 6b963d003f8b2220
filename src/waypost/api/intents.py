"""Records that wait at the node for a quorum of voters: who asks for it, what is told of them, and why one does not.

A client asks for it by `Prefer: respond-async`; the answer is 202 with `Preference-Applied`, once it is on disk.

Source: RFC 7240, 3 and 4.1; notes on DRiP, 4.7 and 4.10; drip/intents.py.
"""

from collections.abc import Callable, Iterable
from typing import Final

from waypost.api import voted
from waypost.api.voted import RESPOND_ASYNC
from waypost.drip.questions import Queued

APPLIED: Final = {"Preference-Applied": RESPOND_ASYNC}
CODES: Final = {"taken": 409, "order": 412, "denied": 403, "author": 429, "node": 507}  # of Unkept
LATER_S: Final = 60  # before there may be room


def may_wait(prefer: str) -> bool:
    """Whether a Prefer header says so: tokens in any case, with values and parameters that mean nothing here."""
    return any(part.partition(";")[0].partition("=")[0].strip().lower() == RESPOND_ASYNC for part in prefer.split(","))


def shown(queued: Iterable[Queued], shows: Callable[[str, str], bool]) -> tuple[voted.Intent, ...]:
    return tuple(
        voted.Intent(*each.place, each.version, each.txid, each.author, each.since_ms, each.until_ms, each.is_sent)
        for each in queued
        if shows(*each.place)
    )
