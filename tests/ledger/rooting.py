"""A state root all at once, for stories."""

from collections.abc import Sequence

from waypost.ledger.state import Rooting, State
from waypost.record import Committed
from waypost.record.gossiped import Gossiped


def state_of(records: Sequence[Committed] | Sequence[Gossiped]) -> State:
    rooting = Rooting(records)
    while True:
        state = rooting.step()
        if state is not None:
            return state
