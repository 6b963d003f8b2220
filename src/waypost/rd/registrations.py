"""The registrations: visible until their lifetime passes, kept for a grace, then to be forgotten.

Of what several nodes hold, one keeps it: the one that accepted it last.  It alone knows what the client was told, and
says so when a lifetime ends; to the others a lifetime lasts as long as is stored.  Nobody has to say that such a
registration is forgotten, for each node does so by itself.

Source: RFC 9176, 5 (lifetime) and 5.3 (an update may revive an expired registration).
"""

from collections.abc import Collection
from sys import intern
from typing import Final

import msgspec

from waypost.coap import links as linkformat
from waypost.engine import Deadlines
from waypost.errors import StoreError, WireError
from waypost.rd.admission import Holdings
from waypost.rd.clocks import ROUNDING, Clocks
from waypost.rd.index import Index, Registration
from waypost.rd.record import SLACK, Record, key_of

MARGIN: Final = 0.25  # of a lifetime, that a refresh leaves of the slack: a wall clock may be off after a restart


class Registrations:
    """`deadlines` say when to hide what is visible, and when to forget what is hidden.

    `node` is this one's name among those that hold the same; empty, it is alone.
    """

    def __init__(self, clocks: Clocks, grace_s: float, node: str = "") -> None:
        self.index = Index()
        self.by_key: dict[bytes, Registration] = {}
        self.deadlines: Deadlines[Registration] = Deadlines()
        self.holdings = Holdings()
        self._sharing: dict[str, dict[Registration, None]] = {}  # by location: who is not found where another is
        self.held: dict[Registration, None] = {}  # past their lifetime and still visible: see brake.py
        self.refreshed: dict[Registration, float] = {}  # when, since what is stored of it; others do not know of it
        self._clocks = clocks
        self._grace_s = grace_s
        self._node = node

    def put(self, key: bytes, record: Record, parsed: list[linkformat.Link] | None, expires: float, now: float) -> None:
        """`parsed` are the links if they are at hand.  Raises StoreError if those of the record cannot be read."""
        registration = self._hold(key, record, parsed)
        registration.expires = expires
        self._place((registration,), now)

    def restore(self, key: bytes, record: Record) -> None:
        """Hold what the disk has; place() shows it once the wall clock is known.  Raises StoreError."""
        self._hold(key, record, None)

    def place(self, now: float) -> None:
        """Show what was restored, as far as its lifetime goes."""
        for registration in self.by_key.values():
            registration.expires = self.expiry(registration.stored_ms, registration.lt, now)
        self._place(self.by_key.values(), now)

    def hold(self, registration: Registration, until: float) -> None:
        """Leave it visible past its lifetime."""
        self.held[registration] = None
        self.deadlines.set(registration, until)

    def hide(self, registration: Registration) -> None:
        self.held.pop(registration, None)
        self.index.hide(registration)
        self.deadlines.set(registration, registration.expires + self._grace_s)

    def forget(self, key: bytes) -> None:
        registration = self.by_key.pop(key, None)
        if registration is None:
            return
        self._release(registration)
        self.deadlines.clear(registration)

    def refresh(self, registration: Registration, lt: int, now: float) -> bool:
        """Move the deadline, if what is stored lasts long enough; and nobody else goes by an earlier one."""
        if not self.is_own(registration):
            return False
        expires = now + lt
        if not registration.visible or lt != registration.lt or expires + lt * MARGIN > self.stored(registration):
            return False
        self.held.pop(registration, None)
        registration.expires = expires
        self.deadlines.set(registration, expires)
        if self.is_carried(registration):
            self.refreshed[registration] = now
        return True

    def owes(self, registration: Registration, now: float) -> bool:
        """What is stored is not what should be: it is to be forgotten, lasts too long, or not long enough."""
        if not self.is_own(registration):
            return False
        stored = self.stored(registration)
        if registration.visible:
            return stored < registration.expires - ROUNDING
        if self.is_past(registration, now):
            return not self.is_carried(registration)
        return stored > registration.expires + ROUNDING

    def is_own(self, registration: Registration) -> bool:
        """This node keeps it."""
        return not self._node or registration.node in ("", self._node)

    def refreshed_ms(self, registration: Registration) -> int:
        """Wall-clock time of a client's last word that only this node knows; 0 if there is none."""
        when = self.refreshed.get(registration)
        return 0 if when is None or not registration.visible else self._clocks.to_wall_ms(when)

    def is_carried(self, registration: Registration) -> bool:
        """Other nodes hold it too, and each forgets it by itself."""
        return bool(self._node and registration.node)

    def is_past(self, registration: Registration, now: float) -> bool:
        """Hidden for the grace: to be forgotten."""
        return not registration.visible and now >= registration.expires + self._grace_s

    def stored(self, registration: Registration) -> float:
        """When what is stored expires, on our clock."""
        return self._clocks.from_wall_ms(registration.stored_ms)

    def expiry(self, stored_ms: int, lt: int, now: float) -> float:
        """What a record of unknown history promises; a wrong wall clock cannot make it longer than it ever was."""
        return min(self._clocks.from_wall_ms(stored_ms), now + lt * (1 + SLACK))

    def expires_ms(self, now: float, lt: int) -> int:
        """What to store for a lifetime that begins now."""
        return self._clocks.to_wall_ms(now + lt * (1 + SLACK))

    def restated(self, registration: Registration) -> Record:
        """The record as it should be stored now."""
        slack = registration.lt * SLACK if registration.visible else 0.0
        return self.kept(self.record(registration, self._clocks.to_wall_ms(registration.expires + slack)))

    def kept(self, record: Record) -> Record:
        """By this node from now on, or on it alone."""
        node = "" if record.is_local else self._node
        return record if record.node == node else msgspec.structs.replace(record, node=node)

    def record(self, registration: Registration, expires_ms: int) -> Record:
        return Record(
            attributes=registration.attributes,
            base=registration.base,
            d=registration.d,
            ep=registration.ep,
            expires_ms=expires_ms,
            explicit=registration.explicit,
            holder=registration.holder,
            links=registration.document.payload.decode(),
            location=registration.location,
            lt=registration.lt,
            members=registration.members,
            node=registration.node,
            owner=registration.owner,
            zone=registration.zone,
        )

    def check(self) -> None:
        """Takes time in proportion to the registrations."""
        self.index.check(self.by_key.values())
        self.holdings.check(registration.holder for registration in self.by_key.values())
        assert len(self.by_key) == len(self.index.by_location) + sum(map(len, self._sharing.values()))
        for key, registration in self.by_key.items():
            assert registration.key == key == key_of(registration.d, registration.ep)
            others = self._sharing.get(registration.location, {})
            assert (self.index.by_location[registration.location] is registration) is (registration not in others)
        assert all(registration.visible for registration in self.held)
        assert all(self.by_key[registration.key] is registration for registration in self.refreshed)
        # A hidden one whose grace is over has no deadline any more: its removal is under way or owed.
        assert len(self.index.visible) <= len(self.deadlines) <= len(self.by_key)

    def _hold(self, key: bytes, record: Record, parsed: list[linkformat.Link] | None) -> Registration:
        payload = record.links.encode()
        try:
            origin = linkformat.origin(record.base)
            document = self.index.acquire(payload, parsed)
        except (WireError, ValueError) as error:
            raise StoreError(f"the stored registration {key!r} cannot be read: {error}") from error
        registration = self.by_key.get(key)
        if registration is None:
            registration = self.by_key[key] = Registration()
            registration.key, registration.d, registration.ep = key, record.d, record.ep
        else:
            self._release(registration)
        self.holdings.add(record.holder)
        registration.document = document
        registration.location = record.location
        self._locate(registration)
        registration.base = record.base
        registration.origin = record.base if origin == record.base else origin
        registration.explicit = record.explicit
        registration.holder = intern(record.holder)  # few sources have many registrations
        registration.attributes = record.attributes
        registration.lt = record.lt
        registration.members = record.members
        registration.node = intern(record.node)
        registration.owner = intern(record.owner)
        registration.zone = record.zone
        registration.stored_ms = record.expires_ms
        registration.visible = False
        return registration

    def _release(self, registration: Registration) -> None:
        """Let go of all that is about to be another's, or another."""
        self.held.pop(registration, None)
        self.refreshed.pop(registration, None)
        if registration.visible:
            self.index.hide(registration)
        self.holdings.remove(registration.holder)
        self.index.release(registration.document)
        self._leave(registration)

    def _locate(self, registration: Registration) -> None:
        """Of registrations with one location, which no node gives twice, the first by key is found there."""
        first = self.index.by_location.setdefault(registration.location, registration)
        if first is not registration:
            first, other = sorted((first, registration), key=_key)
            self.index.by_location[registration.location] = first
            self._sharing.setdefault(registration.location, {})[other] = None

    def _leave(self, registration: Registration) -> None:
        location = registration.location
        others = self._sharing.get(location)
        if others is None:
            del self.index.by_location[location]
            return
        if self.index.by_location[location] is registration:
            registration = self.index.by_location[location] = min(others, key=_key)
        del others[registration]
        if not others:
            del self._sharing[location]

    def _place(self, registrations: Collection[Registration], now: float) -> None:
        for registration in registrations:
            ends = registration.expires
            self.deadlines.set(registration, ends if ends > now else ends + self._grace_s)
        self.index.show(registration for registration in registrations if registration.expires > now)


def _key(registration: Registration) -> bytes:
    return registration.key
