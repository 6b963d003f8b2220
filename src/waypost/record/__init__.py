"""What several rooms share: a change and its clock, voted records with their votes, and the JSON that is signed.

Read `change.py` (Change, Kind, Key), then `hlc.py`; then `record.py` (one version of one key), `roster.py` (who
votes), `vote.py` (ballots, votes, certificates, proofs) and `wire.py` (how they are hashed and signed).  Canonical JSON
lies below, for identities sign it too.
"""

from waypost.canonical import canonical, parse_canonical
from waypost.record.change import Change, Key, Kind
from waypost.record.hlc import Hlc, HlcClock
from waypost.record.record import RECORD_MAX, Cited, Place, Record, Sign, Stamp, Transfer
from waypost.record.roster import ROSTER, Creator, Forced, Member, Policy, Roster, network_of, roster_in
from waypost.record.vote import NEVER, Ballot, Certificate, Committed, Mark, Matter, Proof, Verify, Vote

__all__ = [
    "NEVER",
    "RECORD_MAX",
    "ROSTER",
    "Ballot",
    "Certificate",
    "Change",
    "Cited",
    "Committed",
    "Creator",
    "Forced",
    "Hlc",
    "HlcClock",
    "Key",
    "Kind",
    "Mark",
    "Matter",
    "Member",
    "Place",
    "Policy",
    "Proof",
    "Record",
    "Roster",
    "Sign",
    "Stamp",
    "Transfer",
    "Verify",
    "Vote",
    "canonical",
    "network_of",
    "parse_canonical",
    "roster_in",
]
