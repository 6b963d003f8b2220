"""Where the other nodes are, kept beside the keys: one that has lost its disk asks those to be let in again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from waypost.assembly.installation import Reach
from waypost.drip.questions import Peers, ShowPeers
from waypost.errors import ConfigError
from waypost.storage.keyring import Keyring
from waypost.storage.network import contacts_of, remember_contacts

log = logging.getLogger(__name__)


class Contacts:
    """`outside` gets all that the node asks of the world, and sees it first."""

    def __init__(
        self, keyring: Keyring, ask: Callable[[object], Awaitable[object]], outside: Callable[[object], None]
    ) -> None:
        self._keyring = keyring
        self._ask = ask
        self._outside = outside
        self._changed = asyncio.Event()

    def outside(self, body: object) -> None:
        self._outside(body)
        if isinstance(body, Reach):  # others than before, or elsewhere
            self._changed.set()

    async def follow(self) -> None:
        """For as long as the node runs."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            peers = await self._ask(ShowPeers())
            assert isinstance(peers, Peers)
            try:
                await asyncio.to_thread(remember_contacts, self._keyring, contacts_of(peers.roster))
            except (ConfigError, OSError) as error:
                log.warning("where the other nodes are cannot be kept: %s", error)
