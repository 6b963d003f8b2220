"""History rewritten, at one node and at all but one: NO-LONE-DEFECTOR.

All logs hold each other's heads, so whoever takes something back contradicts a head in every log that is honest.

Source: notes on the ledger, 5 (what a test of defection looks like; invariants).
"""

import pytest
from rogues import rewritten
from trials import NAMES, Trial

from waypost.sim.notaries import origin_of

lies = pytest.mark.parametrize("lies", [True, False], ids=["it lies", "it is honest"])


@lies
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_no_lone_defector_whoever_rewrites_history_and_however_many(count: int, lies: bool) -> None:
    """All logs hold each other's heads.  Some take back an entry, each in its own log, with all that they linked since;
    whoever is honest holds a head of each of them that says otherwise.
    """
    bad = NAMES[:count]
    trial = Trial(*bad)
    rogues = [trial.turn(name) for name in bad]
    if lies:
        for rogue in rogues:
            rogue.history = rewritten(rogue.history, [origin_of(name) for name in bad])
    for rogue in rogues:
        rogue.history.add(*[b"and so on"] * 5)
        trial.submit(rogue, *trial.honest)
    if not lies:
        for rogue in rogues:
            trial.play(rogue, 1)
        trial.require_no_alarm()
        return
    assert trial.rounds_until_proof() <= 2
    trial.rounds_until(lambda: trial.accused() == {origin_of(name) for name in bad}, most=4)
    trial.rounds_until(trial.all_know, most=4)
    trial.require_only_guilty(*bad)
