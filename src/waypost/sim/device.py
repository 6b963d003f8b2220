"""A CoAP device at a simulated address: the same client and server that a node has, over the world's network.

A request that finds no answer ends with None.  What the device serves it serves as long as it is asked.

Source: RFC 7252, 2.2: an endpoint is client and server at once.
"""

import itertools
from collections.abc import Callable
from random import Random
from typing import Final

from waypost.coap.numbers import LINK_FORMAT, Code
from waypost.coap.peer import Peer, serve_nothing
from waypost.coap.request import Response
from waypost.coap.server import Serve
from waypost.coap.transfer import Call
from waypost.engine import Answer, Endpoint, Path, Send
from waypost.identity import ANONYMOUS
from waypost.sim.world import Client, World

LINK: Final = 1  # the device's one socket

OnAnswer = Callable[[Response | None], None]


class Device:
    """Its clock is the world's."""

    def __init__(
        self,
        world: World,
        host: str,
        server: Endpoint,
        port: int = 5683,
        *,
        name: str | None = None,
        serve: Serve = serve_nothing,
    ) -> None:
        self.server = server
        self._world = world
        self._client = world.client(host, port, self._on_datagram, name=name)
        self._peer = Peer(Random(f"{world.seed}/{host}/device"), serve, itertools.count(1))
        self._waiting: dict[int, OnAnswer] = {}
        self._armed: float | None = None  # time of the earliest timer event on its way

    def request(self, code: Code, path: str, query: tuple[str, ...], payload: bytes, on_answer: OnAnswer) -> None:
        """`path` as in a URI; the payload is link-format.  on_answer() gets the whole answer, or None."""
        segments = tuple(path.strip("/").split("/"))
        call = Call(code, segments, query, payload, LINK_FORMAT if payload else None)
        id = self._peer.client.request(call, self._path(self.server), self._world.now)
        self._waiting[id] = on_answer
        self._settle()

    def _path(self, peer: Endpoint) -> Path:
        return Path("udp", peer, self._client.endpoint, LINK, ANONYMOUS, validated=False)

    def _on_datagram(self, client: Client, data: bytes, source: Endpoint) -> None:
        self._peer.receive_datagram(data, self._path(source), self._world.now)
        self._settle()

    def _on_timer(self, when: float) -> None:
        if when == self._armed:
            self._armed = None
            self._peer.handle_timer(when)
            self._settle()

    def _settle(self) -> None:
        """After each call: carry out the effects, arm the timer, check."""
        for effect in self._peer.take_effects():
            match effect:
                case Send(path=path, data=data):
                    self._client.send(data, path.peer)
                case Answer(id=id, result=result):
                    # An event of its own: whoever is answered may ask again.
                    answer = result if isinstance(result, Response) else None
                    self._world.at(self._world.now, self._waiting.pop(id), answer)
                case _:
                    raise AssertionError(effect)
        when = self._peer.next_timer()
        if when is not None and (self._armed is None or when < self._armed):
            self._armed = max(when, self._world.now)
            self._world.at(self._armed, self._on_timer, self._armed)
        if self._world.check_each:
            self._peer.check()
