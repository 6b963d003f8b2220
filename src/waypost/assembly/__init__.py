"""The rooms joined into one engine: the table of contents of the product.

Read `engine.py`: what arrives goes to the room that owns it, a room's question goes to the room
that answers it, and every change goes to whoever indexes or follows it.  `carrier.py` makes the
directory's announcements durable on this node alone, `carrying.py` on all nodes of its network (`network.py`).
"""
