"""Who is in the network and which votes are under way, as this node sees it.

Source: notes on DRiP, 4.7.
"""

from itertools import islice
from typing import Final

import msgspec

from waypost.assembly.installation import Installation
from waypost.drip.engine import DripEngine
from waypost.drip.members import Members
from waypost.drip.mesh import Mesh
from waypost.drip.questions import Open, Peers, Seen, Votes
from waypost.record import ROSTER, Member

OPEN_MAX: Final = 1_000  # votes under way that are told of at once


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


def open_votes(network: str, votes: DripEngine) -> Votes:
    instances = votes.votes()
    some = []
    for place, instance in islice(instances.items(), OPEN_MAX):
        record = instance.accepted.record if instance.accepted else None
        hash = record.hash(network) if record else ""
        some.append(Open(place, instance.version, instance.promised, instance.accepted_ballot, hash, record))
    return Votes(tuple(some), len(instances), dict(votes.alarms))


def _seen(member: Member, is_voter: bool, members: Members, now: float) -> Seen:
    other = members.other(member.name)
    if other is None:
        return Seen(member, is_voter, None, None, None, None, None, ())
    return Seen(
        member,
        is_voter,
        "inactive" if other.inactive else other.state,
        None if other.heard_at is None else now - other.heard_at,
        other.rtt,
        other.offset_ms,
        other.wire or None,
        other.capabilities,
    )
