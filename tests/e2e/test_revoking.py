"""A certificate that is revoked while somebody who showed it goes on asking."""

import asyncio
from pathlib import Path

from waypost.cli.verbs import call
from waypost.config import Coap, Coaps, Config, Http, Peers
from waypost.identity import Identity
from waypost.node import Node
from waypost.rd.questions import Found, Kind, Lookup, Refused

LAMP = Identity("certificate", "lamp-3", ("device",))
DOOR = Identity("certificate", "door", ("device",))
WITHIN_S = 15.0


def test_who_is_revoked_is_refused_though_its_session_goes_on(tmp_path: Path) -> None:
    """And may come again with another certificate."""
    here = ["--dir", str(tmp_path / "state")]

    async def asked(node: Node, who: Identity) -> object:
        return await node.ask(Lookup(Kind.ENDPOINTS, (), who=who))

    async def becomes(node: Node, kind: type) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not isinstance(await asked(node, LAMP), kind):
                await asyncio.sleep(0.1)

    async def tell() -> None:
        config = Config(
            dir=tmp_path / "state",
            coap=Coap(listen=()),
            coaps=Coaps(listen=()),
            http=Http(listen=()),
            peers=Peers(listen=()),
        )
        async with Node(config) as node:
            for name in ("lamp-3", "door"):
                out = ["--role", "device", "--out", str(tmp_path / name)]
                assert await asyncio.to_thread(call, ["ca", "issue", name, *out, *here]) == 0
            assert isinstance(await asked(node, LAMP), Found)
            assert await asyncio.to_thread(call, ["ca", "revoke", "lamp-3", *here]) == 0
            await becomes(node, Refused)
            assert isinstance(await asked(node, DOOR), Found)
            out = ["--role", "device", "--out", str(tmp_path / "new")]
            assert await asyncio.to_thread(call, ["ca", "issue", "lamp-3", *out, *here]) == 0
            await becomes(node, Found)

    asyncio.run(tell())
