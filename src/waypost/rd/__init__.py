"""Resource Directory: RFC 9176, with what clients of draft -12 send.

Read `questions.py` (what can be asked and answered), `parameters.py` (what a registration may say), `zones.py`
(which links it may speak of), `record.py` (how it is stored), `pairs.py`, `postings.py`, `index.py`,
`criterion.py`, `groups.py`, `lookup.py` and `exact.py` (how it is found), `access.py` (what the policy is asked),
`reading.py` (lookups, carried on), `registrations.py` (how long it is held), `changes.py` (what a change comes to),
`announcing.py` (what is on its way to being durable), `debts.py` (what is announced though nobody asked), `sound.py`
(what is taken from other nodes), `simple.py` (links that the directory fetches itself),
`filing.py` and `observation.py` (which observed lookups a change concerns), `engine.py` (all of it together), then
`interface.py`, its face on CoAP.  `following.py` is for those who follow the change feed.
"""
