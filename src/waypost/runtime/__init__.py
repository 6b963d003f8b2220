"""Engines carried out on asyncio: the only rooms with sockets, threads and clocks below `node`.

Read `host.py` first: one engine, its effects and its one timer.  `writer.py` is the thread that
makes commits durable, `udp.py` moves datagrams, `coap.py` is a client on a socket of its own,
and `http.py` puts limits around an aiohttp application.
"""
