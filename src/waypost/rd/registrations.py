"""The registrations: visible until their lifetime passes, kept for a grace, then to be forgotten.

Source: RFC 9176, 5 (lifetime) and 5.3 (an update may revive an expired registration).
"""

from collections.abc import Collection
from sys import intern
from typing import Final

from waypost.coap import links as linkformat
from waypost.engine import Deadlines
from waypost.errors import StoreError, WireError
from waypost.rd.admission import Holdings
from waypost.rd.clocks import ROUNDING, Clocks
from waypost.rd.index import Index, Registration
from waypost.rd.record import Record, key_of

SLACK: Final = 0.5  # of a lifetime, by which the stored expiry is later than the client's
MARGIN: Final = 0.25  # of a lifetime, that a refresh leaves of the slack: a wall clock may be off after a restart


class Registrations:
    """`deadlines` say when to hide what is visible, and when to forget what is hidden."""

    def __init__(self, clocks: Clocks, grace_s: float) -> None:
        self.index = Index()
        self.by_key: dict[bytes, Registration] = {}
        self.deadlines: Deadlines[Registration] = Deadlines()
        self.holdings = Holdings()
        self.held: dict[Registration, None] = {}  # past their lifetime and still visible: see brake.py
        self._clocks = clocks
        self._grace_s = grace_s

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
        """Move the deadline, if what is stored lasts long enough."""
        expires = now + lt
        if not registration.visible or lt != registration.lt or expires + lt * MARGIN > self.stored(registration):
            return False
        self.held.pop(registration, None)
        registration.expires = expires
        self.deadlines.set(registration, expires)
        return True

    def owes(self, registration: Registration, now: float) -> bool:
        """What is stored is not what should be: it is to be forgotten, lasts too long, or not long enough."""
        stored = self.stored(registration)
        if registration.visible:
            return stored < registration.expires - ROUNDING
        return self.is_past(registration, now) or stored > registration.expires + ROUNDING

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
        return self.record(registration, self._clocks.to_wall_ms(registration.expires + slack))

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
            owner=registration.owner,
            zone=registration.zone,
        )

    def check(self) -> None:
        """Takes time in proportion to the registrations."""
        self.index.check(self.by_key.values())
        self.holdings.check(registration.holder for registration in self.by_key.values())
        assert len(self.by_key) == len(self.index.by_location)
        for key, registration in self.by_key.items():
            assert registration.key == key == key_of(registration.d, registration.ep)
            assert self.index.by_location[registration.location] is registration
        assert all(registration.visible for registration in self.held)
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
        self.index.by_location[record.location] = registration
        registration.document = document
        registration.location = record.location
        registration.base = record.base
        registration.origin = record.base if origin == record.base else origin
        registration.explicit = record.explicit
        registration.holder = intern(record.holder)  # few sources have many registrations
        registration.attributes = record.attributes
        registration.lt = record.lt
        registration.members = record.members
        registration.owner = intern(record.owner)
        registration.zone = record.zone
        registration.stored_ms = record.expires_ms
        registration.visible = False
        return registration

    def _release(self, registration: Registration) -> None:
        """Let go of all that is about to be another's, or another."""
        self.held.pop(registration, None)
        if registration.visible:
            self.index.hide(registration)
        self.holdings.remove(registration.holder)
        self.index.release(registration.document)
        del self.index.by_location[registration.location]

    def _place(self, registrations: Collection[Registration], now: float) -> None:
        for registration in registrations:
            ends = registration.expires
            self.deadlines.set(registration, ends if ends > now else ends + self._grace_s)
        self.index.show(registration for registration in registrations if registration.expires > now)
