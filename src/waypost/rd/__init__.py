"""Resource Directory: RFC 9176, with what clients of draft -12 send.

Read `questions.py` (what can be asked and answered), `parameters.py` (what a registration may say),
`record.py` (how it is stored), `index.py` and `lookup.py` (how it is found), `engine.py` (the two
timers, and asking for durability), then `interface.py`, its face on CoAP.
"""
