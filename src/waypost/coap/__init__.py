"""CoAP without sockets: RFC 7252, block-wise transfer (RFC 7959), Observe (RFC 7641), Echo (RFC 9175).

Read `message.py` (one message on the wire), `numbers.py` (codes, options, limits), `request.py`
(what a resource sees and answers), `links.py` (RFC 6690), then `peer.py`, which joins both roles:
`server.py` with its organs `options.py`, `answering.py`, `block.py`, `observing.py` and `reply.py`, and
`client.py` with `transfer.py`.  Both send through `outbox.py`.  `stream.py` brings them what comes on connections
(RFC 8323), `group.py` what was sent to a group.
"""
