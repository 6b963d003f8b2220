"""HTTP for programs: the API under /v1/, health and metrics, and the client library.

For the server read `schemas.py` (the bodies), `routes.py` (the table of routes), `operations.py` (what
each does), `server.py` (the rules for every request), then `openapi.py`, made from the same table.  The change
feed is `changes.py` (read from disk), `watching.py` (who is told what) and `lines.py` (in which form).
For the client read `calls.py` (what is sent and read), `resuming.py` (how the feed is taken up again), then
`client.py` and `sync.py`, which carry it.
"""
