"""History rewritten, at one node and at all but one: NO-LONE-DEFECTOR.

All logs hold each other's heads, so whoever takes something back contradicts a head in every log that is honest.

Source: notes on the ledger, 5 (what a test of defection looks like; invariants).
"""

import pytest
from rogues import rewritten
from trials import NAMES, Trial

from waypost.ledger.questions import Reply
from waypost.sim.notaries import ROUND_S, origin_of

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


@pytest.mark.parametrize(("proves", "serves"), [(True, False), (False, True), (False, False)])
def test_no_lone_defector_whatever_it_gives_away_of_its_new_history(proves: bool, serves: bool) -> None:
    """The proof that comes with its head is enough, and so are its tiles.

    With neither nobody can show anything; and nobody cosigns it, so no reader who asks for a quorum is deceived.
    """
    trial = Trial("anna")
    anna = trial.turn("anna")
    anna.history = rewritten(anna.history, [])
    anna.history.add(*[b"and so on"] * 5)
    anna.proves = proves
    if not serves:
        anna.answers = lambda question: Reply(404) if question.path.startswith("tile/") else None
    trial.submit(anna, *trial.honest)
    if proves or serves:
        assert trial.rounds_until_proof() <= 4
        trial.require_only_guilty("anna")
    else:
        trial.live(4 * ROUND_S)
        assert {reply.status for reply in anna.refusals} == {422}
        assert not trial.overseer.read(anna.history.head())
        trial.require_no_alarm()
