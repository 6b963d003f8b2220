"""Where a rogue stands in the simulator: in the place of a node, with its keys and what was in its log."""

from rogues import Rogue

from waypost.ledger.checkpoint import read_head
from waypost.ledger.questions import Reply, Serve
from waypost.sim.calls import OnReply
from waypost.sim.histories import History
from waypost.sim.notaries import Notaries, entries_of, log_key, node_key, notary_of
from waypost.sim.people import fast


class Stage:
    """From its making on, the node of that name is a rogue."""

    def __init__(self, party: Notaries, name: str) -> None:
        self.host = party.host(name)
        self._party = party
        node = party.nodes.pop(name)
        party.world.nodes.pop(name)
        history = History(log_key(name), fast(f"{name}/log").sign, entries_of(node.disk))
        self.rogue = Rogue(notary_of(name, lambda path: None), node_key(name), history)
        self.rogue.now_s = lambda: party.world.wall_ms() // 1000
        for _, value in node.disk.scan("ledger_witness"):
            if value.startswith(b"waypost/"):  # what it cosigned while it was honest
                head = read_head(value)
                self.rogue.cosigned[head.origin] = head
        if node.engine is not None:
            node.crash(power_cut=False)
        party.calls.servers[name] = self

    def serve(self, question: Serve, on_reply: OnReply) -> None:
        on_reply(self.rogue.serve(question))

    def submit(self, node: str, size: int | None = None) -> None:
        """It has its head cosigned by that node, or tries to."""
        call = self.rogue.submit(node, size)

        def on_reply(reply: Reply | None) -> None:
            if self.rogue.heard(node, call, reply):
                self.submit(node, size)

        self._party.calls.call(self.rogue.name, self.host, call, on_reply)
