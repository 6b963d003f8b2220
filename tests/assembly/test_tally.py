"""Any node tells who voted what: it asks the voters, and whoever calls for votes."""

from typing import Final

from parties import FIVE, ask

from waypost.drip.questions import Open, ShowVotes, Votes
from waypost.record import Record
from waypost.record.vote import is_marked
from waypost.sim.installed import Party
from waypost.sim.people import Fast

PLACE: Final = ("names", "door")  # its home is anna


def open_vote() -> tuple[Party, Record]:
    """Of five voters two are together and three each alone; anna has called for votes, and berta has given hers."""
    five = Party(1, (*FIVE, "frieda"), voters=5)
    five.run(10.0)
    hosts = {name: five.host(name) for name in five.names}
    five.world.network.partition(
        [hosts["anna"], hosts["berta"], hosts["frieda"]], [hosts["carla"]], [hosts["dora"]], [hosts["emma"]]
    )
    claimed = five.claim("anna", PLACE, "on", None, lambda _: None)
    five.run(0.3)
    return five, claimed


def tally(party: Party, name: str) -> Votes:
    votes = ask(party, name, ShowVotes(asks=True))
    assert isinstance(votes, Votes)
    return votes


def only(votes: Votes) -> Open:
    (vote,) = votes.open
    return vote


def test_every_node_tells_who_voted_what_and_who_is_silent() -> None:
    party, claimed = open_vote()
    for name in ("anna", "berta", "frieda"):
        votes = tally(party, name)
        vote = only(votes)
        assert (vote.place, vote.version, vote.hash) == (PLACE, 1, claimed.hash(party.network))
        assert vote.yes == ("anna", "berta")
        assert sorted(votes.silent) == ["carla", "dora", "emma"]
        said = {each.node: each.vote for each in vote.said}
        for voter in ("anna", "berta"):
            signed = said[voter]
            assert signed is not None
            assert is_marked(signed.matter, signed.mark, party.roster, party.network, Fast.verify)
            assert (signed.mark.voter, signed.matter.hash) == (voter, vote.hash)


def test_who_is_not_asked_to_ask_tells_its_own_part_alone() -> None:
    party, _ = open_vote()
    votes = ask(party, "berta", ShowVotes(), within=0.0)
    assert isinstance(votes, Votes)
    assert (only(votes).yes, only(votes).said, votes.asked, votes.silent) == ((), (), (), ())


def test_of_what_is_committed_nothing_is_told() -> None:
    party, _ = open_vote()
    party.world.network.heal()
    party.run(10.0)
    for name in party.names:
        votes = tally(party, name)
        assert (votes.open, votes.silent) == ((), ())
        assert sorted(votes.asked) == sorted({*FIVE, name})
