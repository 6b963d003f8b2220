"""A node and a network with the three things of the matrix in them, and who asks them next."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from embedded import Embedded
from logbook import Logbook
from lone import POLICY, Lone, Whole
from people import member
from people import record as signed
from rights import ASKERS, SECTORS, THINGS, policy
from serving import Answer, Api, serving

from waypost.api.routes import PEER_ROUTES, ROUTES
from waypost.cli.keys import wall_ms
from waypost.identity import OPERATOR, Identity
from waypost.rd.questions import Register, Registered
from waypost.record import Record, Roster, network_of

FOUNDERS = Roster(1, (member("anna"),), (member("node-2"),), POLICY)
EVERY = tuple({(route.method, route.path): route for route in (*ROUTES, *PEER_ROUTES)}.values())


class House:
    """A node with the three things in it, made anew for each test, behind one server; `asker` is who asks next."""

    def __init__(self) -> None:
        self.policy = policy()
        self.asker = "operator"
        self.node = Embedded()
        self.log = Logbook(Lone(wall_ms(), FOUNDERS))
        self.records: dict[str, Record] = {}
        self.locations: dict[str, str] = {}
        self.begin()

    def begin(self) -> None:
        self.node = Embedded(self.policy.decide)
        for thing in sorted(THINGS):
            who = OPERATOR if thing == "safe" else ASKERS[thing]
            links = f"</{thing}>;rt=thing".encode()
            made = self.put(Register(thing, SECTORS[thing], 600, "coap://h", "", (), links, "192.0.2.1", who))
            assert isinstance(made, Registered)
            self.locations[thing] = made.location
        self.log = Logbook(Lone(wall_ms(), FOUNDERS))
        for thing in sorted(THINGS):
            self.records[thing] = self.log.put(self.record(thing))

    @property
    def mesh(self) -> Lone:
        return self.log.mesh

    def record(self, thing: str, before: Record | None = None) -> Record:
        return signed(thing, before, place=(SECTORS[thing], thing), network=network_of(FOUNDERS), wall_ms=wall_ms())

    def put(self, question: Any) -> object:
        return asyncio.run(self.node.ask(question))

    async def ask(self, question: Any) -> object:
        return await Whole(self.node, self.log).ask(question)

    async def identify(self, _: object) -> Identity:
        return ASKERS[self.asker]

    def after(self, table: str, key: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        return Whole(self.node, self.log).after(table, key, limit)

    def path(self, path: str, thing: str) -> str:
        """Of a route, about that thing."""
        made = self.records[thing]
        named = {
            "id": self.locations[thing],
            "namespace": SECTORS[thing],
            "key": thing,
            "version": "1",
            "txid": made.txid,
        }
        for name, value in named.items():
            path = path.replace(f"{{{name}}}", value)
        return path


@contextmanager
def served(house: House) -> Iterator[Api]:
    with serving(house.ask, rows=house, identify=house.identify, decide=house.policy.decide, routes=EVERY) as one:
        yield one


def named(text: str) -> frozenset[str]:
    return frozenset(thing for thing in THINGS if thing in text)


def refused(answer: Answer, asker: str) -> bool:
    """401 for strangers and 403 for all others; what is hidden is not there."""
    if answer.status in (401, 403):
        assert answer.status == (401 if asker == "anonymous" else 403)
        return True
    return answer.status == 404
