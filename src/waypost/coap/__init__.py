"""CoAP without sockets: RFC 7252, block-wise transfer (RFC 7959), Observe (RFC 7641), Echo (RFC 9175).

Read `message.py` (one message on the wire), `numbers.py` (codes, options, limits), `request.py`
(what a resource sees and answers), `links.py` (RFC 6690), then `server.py`, whose organs are
`options.py`, `block.py`, `observing.py`, `reply.py` and `outbox.py`; `client.py` is the other role.
"""
