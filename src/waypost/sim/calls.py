"""HTTP between simulated nodes, for ledgers: a Call of one is a Serve for the other, and its Answer comes back.

Both ways take as long as the network's weather says.  What is lost or cut off is answered with None when the caller has
waited long enough, and so is what the called node forgets in a crash; a node that is down is known to be so at once.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

from waypost.engine import Ask
from waypost.ledger.questions import Call, Reply, Serve
from waypost.sim.node import Node
from waypost.sim.world import World

WAIT_S: Final = 3.0  # for an answer, from the call on

OnReply = Callable[[Reply | None], None]


class Server(Protocol):
    """Who answers for a node."""

    @property
    def host(self) -> str: ...
    def serve(self, question: Serve, on_reply: OnReply, /) -> None:
        """At once or later, or never; with None if it is down."""
        ...


class Watcher(Protocol):
    """Is told what leaves a node: what is called, and what is answered."""

    def called(self, name: str, call: Call, /) -> None: ...
    def replied(self, name: str, question: Serve, reply: Reply, /) -> None: ...


class Calls:
    """`servers` are found by the name of the node; more may be added at any time."""

    def __init__(self, world: World, watcher: Watcher | None = None) -> None:
        self.servers: dict[str, Server] = {}
        self._world = world
        self._watcher = watcher

    def carry(self, node: Node[Any], ask: Ask, call: Call, name: str = "") -> None:
        """Of an engine, by this name if not by the node's; a later one of its lives hears nothing of it."""
        incarnation = node.incarnation

        def on_reply(reply: Reply | None) -> None:
            if node.engine is not None and node.incarnation == incarnation:
                node.answer(ask.id, reply)

        self.call(name or node.name, node.endpoints[0].host, call, on_reply)

    def call(self, name: str, host: str, call: Call, on_reply: OnReply) -> None:
        """By whoever is called so and is there."""
        pending = [on_reply]

        def end(reply: Reply | None) -> None:
            if pending:
                pending.pop()(reply)

        if self._watcher is not None:
            self._watcher.called(name, call)
        self._world.after(WAIT_S, lambda: end(None))
        server = self.servers.get(call.node)
        if server is not None:
            octets = call.path.encode() + call.body
            self._send(host, server.host, octets, lambda: self._arrive(server, name, host, call, end))

    def _arrive(self, server: Server, name: str, host: str, call: Call, end: OnReply) -> None:
        question = Serve(call.method, call.path, call.body, name)

        def on_reply(reply: Reply | None) -> None:
            if reply is not None and self._watcher is not None:
                self._watcher.replied(call.node, question, reply)
            kept = reply if reply is not None and len(reply.body) <= call.octets_max else None
            self._send(server.host, host, b"reply" + (kept.body if kept else b""), lambda: end(kept))

        server.serve(question, on_reply)

    def _send(self, source: str, target: str, octets: bytes, arrive: Callable[[], None]) -> None:
        world = self._world
        for when, arrived in world.network.post(source, target, octets, world.now, is_stream=True)[:1]:
            if arrived == octets:  # what is damaged breaks the stream, and nothing comes twice
                world.at(when, self._pass, (source, target, arrive))

    def _pass(self, letter: tuple[str, str, Callable[[], None]]) -> None:
        source, target, arrive = letter
        if self._world.network.passes(source, target):
            arrive()


class Asked:
    """A node whose engine answers."""

    def __init__(self, node: Node[Any]) -> None:
        self._node = node

    @property
    def host(self) -> str:
        return self._node.endpoints[0].host

    def serve(self, question: Serve, on_reply: OnReply) -> None:
        def on_answer(result: object) -> None:
            assert isinstance(result, Reply)
            on_reply(result)

        if self._node.engine is None:
            on_reply(None)
        else:
            self._node.ask(lambda engine, now: engine.ask(question, now), on_answer)
