"""DRiP, the registry mesh: nodes that vote on who holds a key, and gossip what each of them says.

Draft-wendt-modern-drip, made safe: one vote for each version of a key, ballots, a majority of a signed roster.

Read `rules.py` first, the few decisions that safety rests on; then `messages.py`, `voter.py`, `proposer.py`,
`reader.py`, `roster.py` (epochs), `merging.py` (from one to the next), `admission.py` (how nodes come in), `alarms.py`,
`history.py` (versions that were missed), and `engine.py`, which joins them.
`questions.py` is what can be asked from outside, `parcel.py` which of the draft's calls each message rides on.

Before them: `hearing.py`, with what one node may make us do (`guard.py`) and votes that come by way of others
(`relay.py`).

Beside the votes: `gossip.py` (records that the last writer wins), `merkle.py`, `plumtree.py`, `members.py` and
`repair.py`, each alone; `rumours.py`, what they say to other nodes; and `mesh.py`, which joins them.

For peers that speak the draft and nothing else: `calls.py`, its wire; `learner.py`; and `literal.py`, what they hear.
"""
