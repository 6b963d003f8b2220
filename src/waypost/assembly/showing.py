"""Who is in the network and which votes are under way, as this node sees it; and its figures.

Source: notes on DRiP, 4.7.
"""

from itertools import islice
from typing import Final, get_args

import msgspec

from waypost.assembly.installation import Installation
from waypost.drip.engine import DripEngine
from waypost.drip.hearing import Hearing
from waypost.drip.intents import Intents
from waypost.drip.members import Members
from waypost.drip.mesh import Mesh
from waypost.drip.messages import TALLY
from waypost.drip.questions import OPEN_MAX, Open, Peers, Seen, Votes
from waypost.drip.rumours import WIRE, State
from waypost.record import ROSTER, Member

STATES: Final = get_args(State)  # as a figure: 0, 1, 2


def peers_seen(network: str, me: Installation, votes: DripEngine, gossip: Mesh, has_quorum: bool, now: float) -> Peers:
    """A voter that lost its disk, or was restored, is an applicant at itself too: there may be nobody else to ask."""
    roster, committed = votes.roster, votes.committed(ROSTER)
    assert committed is not None
    assert votes.incarnation is not None
    own, applicants = roster.voter(me.name), votes.applicants
    if own is not None and own.incarnation < votes.incarnation and all(each.name != me.name for each in applicants):
        applicants += (msgspec.structs.replace(own, incarnation=votes.incarnation, key=me.key),)
    members = [(member, True) for member in roster.voters] + [(member, False) for member in roster.learners]
    return Peers(
        network=network,
        name=me.name,
        incarnation=votes.incarnation,
        state=gossip.state(now),
        is_voting=votes.is_voting,
        has_quorum=has_quorum,
        committed=committed,
        roster=roster,
        seen=tuple(_seen(member, is_voter, gossip.members, now) for member, is_voter in members),
        applicants=applicants,
        restored=dict(votes.restored),
        age_s=votes.age(now),
    )


def counted(votes: DripEngine, hearing: Hearing, gossip: Mesh) -> dict[str, int]:
    history = votes.history.counts
    guard, relay, verdicts = hearing.guard.counts, hearing.relay.counts, gossip.counts
    passed = sum(relay.get(name, 0) for name in ("sent", "passed_on", "heard"))
    accepted, known = (sum(verdicts.get(name, 0) for name in names) for names in (("new", "learnt"), ("known",)))
    forged, flooded = (verdicts.get(name, 0) for name in ("forged", "flooded"))
    return {
        "history_brought": history["taken"] + history["bare"],
        "history_refused": history["refused"] + history["unasked"],
        "votes_dropped": votes.dropped,
        "votes_flooded": guard["flooded"],
        "votes_forged": guard["forged"],
        "envelopes_sent": relay.get("sent", 0),
        "envelopes_passed_on": relay.get("passed_on", 0),
        "envelopes_heard": relay.get("heard", 0),
        "envelopes_dropped": sum(relay.values()) - passed,
        "gossip_accepted": accepted,
        "gossip_known": known,
        "gossip_forged": forged,
        "gossip_flooded": flooded,
        "gossip_refused": sum(verdicts.values()) - accepted - known - forged - flooded - verdicts.get("clocks", 0),
    }


def measured(votes: DripEngine, hearing: Hearing, gossip: Mesh, has_quorum: bool, now: float) -> dict[str, int]:
    return {
        "history_missing": votes.history.missing,
        "network_state": STATES.index(gossip.state(now)),
        "roster_epoch": votes.epoch,
        "members_old": sum(0 < _wire_of(member, gossip.members) < WIRE for member in votes.roster.members),
        "nodes_cut": len(hearing.relay.cut(now)),
        "quorum": int(has_quorum),
        "voters": len(votes.roster.voters),
        "voters_heard": votes.heard(now),
        "voters_needed": votes.roster.quorum,
        "voters_restored": len(votes.restored),
        "votes_open": len(votes.votes()),
        "votes_stopped": len(votes.alarms),
        "voting": int(votes.is_voting),
    }


def tellers(votes: DripEngine, gossip: Mesh) -> tuple[str, ...]:
    """Nodes that know what a tally is, by their heartbeats or the roster."""
    seen = (_seen(member, True, gossip.members, 0.0) for member in votes.roster.members)
    return tuple(each.member.name for each in seen if TALLY in each.capabilities)


def open_votes(network: str, votes: DripEngine, intents: Intents) -> Votes:
    instances = votes.votes()
    some = []
    for place, instance in islice(instances.items(), OPEN_MAX):
        record = instance.accepted.record if instance.accepted else None
        hash = record.hash(network) if record else ""
        ballots = instance.promised, instance.accepted_ballot
        some.append(Open(place, instance.version, *ballots, hash, record, *votes.tally.called(place)))
    queued = tuple(islice(intents.queued(), OPEN_MAX))
    return Votes(tuple(some), len(instances), dict(votes.alarms), queued, len(intents))


def _wire_of(member: Member, members: Members) -> int:
    """What it speaks, as it said in a heartbeat, or as the roster does; 0: neither said."""
    other = members.other(member.name)
    stated = member.wire if member.wire > 1 else 0
    return (other.wire if other is not None else 0) or stated


def _seen(member: Member, is_voter: bool, members: Members, now: float) -> Seen:
    other = members.other(member.name)
    wire = _wire_of(member, members) or None
    if other is None:
        return Seen(member, is_voter, None, None, None, None, wire, member.capabilities)
    return Seen(
        member,
        is_voter,
        "inactive" if other.inactive else other.state,
        None if other.heard_at is None else now - other.heard_at,
        other.rtt,
        other.offset_ms,
        wire,
        other.capabilities if other.wire else member.capabilities,
    )
