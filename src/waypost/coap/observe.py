"""Who observes what.

A source that is not validated may observe on credit: three times the octets of its request, less
what it has been sent; acknowledging a notification renews the credit.  There are few places for such
strangers, since whoever forges addresses can take them all; who acknowledges, or brings an Echo value, needs none.

Source: RFC 7641, sections 3 and 4.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Final

from waypost.coap.numbers import (
    CONFIRM_EVERY,
    OBSERVATIONS_MAX,
    OBSERVATIONS_PER_SOURCE_MAX,
    STRANGERS_OBSERVING_MAX,
)
from waypost.coap.request import Request, Response
from waypost.engine import Endpoint, Path

CONFIRM_AFTER: Final = 24 * 3600.0  # seconds: at least this often a notification is confirmable (4.5)

Key = tuple[Endpoint, bytes]  # a source and its token


@dataclass(slots=True)
class Observation:
    path: Path
    token: bytes
    request: Request
    name: Hashable
    size: int  # octets of the request, the measure of its credit
    credit: int  # octets it may still be sent while its source is not validated
    sequence: int = 0
    message_id: int | None = None  # of the last notification, by which a reset names it
    unconfirmed: int = 0  # notifications since the last confirmable one
    confirmed_at: float = 0.0
    waiting: bool = False  # for the acknowledgement of a confirmable one
    news: Response | None = None  # what it is to be told next
    stranger: bool = False  # it has not shown to be at its address

    @property
    def key(self) -> Key:
        return (self.path.peer, self.token)

    def confirm(self, validated: bool, now: float) -> bool:
        """Must the next notification be confirmable?  Never on a connection (RFC 8323, 7.1)."""
        if self.path.message_max is not None:
            return False
        return not validated or self.unconfirmed + 1 >= CONFIRM_EVERY or now - self.confirmed_at >= CONFIRM_AFTER


class Observations:
    def __init__(self) -> None:
        self._by_key: dict[Key, Observation] = {}
        self._by_name: dict[Hashable, dict[Key, Observation]] = {}
        self._by_message: dict[tuple[Endpoint, int], Key] = {}
        self._of_source: dict[str, dict[Key, None]] = {}  # by host
        self._events: list[tuple[Hashable, bool]] = []
        self._strangers = 0

    def add(self, observation: Observation) -> bool:
        """False if a limit is reached: the request is then answered and not observed (RFC 7641, 4.1)."""
        self.remove(observation.key)  # the same token again replaces (3.3.1)
        host = observation.path.peer.host
        keys = self._of_source.get(host, {})
        if len(keys) >= OBSERVATIONS_PER_SOURCE_MAX or len(self._by_key) >= OBSERVATIONS_MAX:
            return False
        if observation.stranger and self._strangers >= STRANGERS_OBSERVING_MAX:
            return False
        self._strangers += observation.stranger
        self._of_source.setdefault(host, keys)[observation.key] = None
        self._by_key[observation.key] = observation
        self._by_name.setdefault(observation.name, {})[observation.key] = observation
        self._events.append((observation.name, True))
        return True

    def validate(self, observation: Observation) -> None:
        """Its source has shown to be at its address."""
        self._strangers -= observation.stranger
        observation.stranger = False

    def get(self, key: Key) -> Observation | None:
        return self._by_key.get(key)

    def __iter__(self) -> Iterator[Observation]:
        return iter(self._by_key.values())

    def of(self, name: Hashable) -> list[Observation]:
        return list(self._by_name.get(name, {}).values())

    def sent(self, observation: Observation, message_id: int) -> None:
        self._forget_message(observation)
        observation.message_id = message_id
        self._by_message[observation.path.peer, message_id] = observation.key

    def reset(self, peer: Endpoint, message_id: int) -> bool:
        """A reset names a notification: its observation ends (3.6)."""
        key = self._by_message.get((peer, message_id))
        return key is not None and self.remove(key)

    def remove(self, key: Key) -> bool:
        observation = self._by_key.pop(key, None)
        if observation is None:
            return False
        self._strangers -= observation.stranger
        self._forget_message(observation)
        named = self._by_name[observation.name]
        del named[key]
        if not named:
            del self._by_name[observation.name]
            self._events.append((observation.name, False))
        keys = self._of_source[key[0].host]
        del keys[key]
        if not keys:
            del self._of_source[key[0].host]
        return True

    def remove_source(self, peer: Endpoint) -> None:
        """It no longer acknowledges: all it observes ends (4.5)."""
        for key in [key for key in self._of_source.get(peer.host, ()) if key[0] == peer]:
            self.remove(key)

    def remove_connection(self, path: Path) -> None:
        """It is closed, and all that is observed on it ends (RFC 8323, 7.4)."""
        for key in [key for key in self._of_source.get(path.peer.host, ()) if self._by_key[key].path.link == path.link]:
            self.remove(key)

    def take_events(self) -> list[tuple[Hashable, bool]]:
        """In order: names that one more observes (True), and names that nobody observes any more (False)."""
        events, self._events = self._events, []
        return events

    def check(self) -> None:
        assert sum(map(len, self._by_name.values())) == len(self._by_key)
        assert sum(map(len, self._of_source.values())) == len(self._by_key)
        assert len(self._by_message) <= len(self._by_key)
        assert sum(observation.stranger for observation in self) == self._strangers <= STRANGERS_OBSERVING_MAX

    def __len__(self) -> int:
        return len(self._by_key)

    def _forget_message(self, observation: Observation) -> None:
        if observation.message_id is not None:
            self._by_message.pop((observation.path.peer, observation.message_id), None)
