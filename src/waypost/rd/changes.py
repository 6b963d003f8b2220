"""What a registration, update or removal comes to: an outcome at once, or an announcement to make.

Source: RFC 9176, 5, 5.3.1 and 5.3.2.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Final

import msgspec

from waypost.coap.links import Link
from waypost.errors import WireError
from waypost.identity import OPERATOR
from waypost.identity.admission import Buckets
from waypost.identity.policy import owner_of
from waypost.rd.access import is_free
from waypost.rd.admission import holder
from waypost.rd.announcing import Announcements, Change, UnderWay
from waypost.rd.groups import is_group
from waypost.rd.index import Registration, parse_limited
from waypost.rd.parameters import require_registration, require_update, require_zone
from waypost.rd.questions import (
    Attributes,
    Busy,
    Cause,
    Import,
    Imported,
    Kept,
    Outcome,
    Reason,
    Refused,
    Register,
    Registered,
    Removed,
    Renew,
    Renewed,
)
from waypost.rd.record import Record, key_of
from waypost.rd.registrations import Registrations
from waypost.rd.zones import is_link_local

REGISTRATIONS_MAX: Final = 1_000_000
DOCUMENT_OCTETS_MAX: Final = 64 << 10  # of one registration's links
OCTETS_MAX: Final = 1 << 30  # of all distinct documents
PER_SOURCE: Final = 100_000  # of them may be one source's
RATE: Final = 200.0  # registrations a second of one source
BURST: Final = 2_000
GRACE: Final = 86_400.0  # seconds that an expired registration can be revived
BRAKE_SHARE: Final = 0.15  # of the visible registrations, that may expire in a window (brake.py)
BRAKE_HOLD: Final = 900.0  # seconds
FULL_RETRY: Final = 60  # seconds
LOCATION: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)  # RFC 9562, 4


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits; `registrations_per_source` and, of one source, `registrations_per_second`: 0 for any number.

    `default_sector` where `d` is not given; `simple` allows simple registration; `freshness` "echo" asks for an
    Echo value with each change.  `node` is this node's name where others hold the same registrations, of at most
    `record_octets_max` as they are stored; empty, it is alone.
    """

    registrations_max: int = REGISTRATIONS_MAX
    registrations_per_source: int = PER_SOURCE
    registrations_per_second: float = RATE
    burst: int = BURST
    grace_s: float = GRACE
    document_octets_max: int = DOCUMENT_OCTETS_MAX
    octets_max: int = OCTETS_MAX
    brake_share: float = BRAKE_SHARE
    brake_hold_s: float = BRAKE_HOLD
    default_sector: str | None = None
    simple: bool = True
    freshness: str = "off"
    node: str = ""
    record_octets_max: int = 0


class Changes:
    def __init__(
        self, rng: Random, settings: Settings, registrations: Registrations, announcements: Announcements
    ) -> None:
        self._rng = rng
        self._settings = settings
        self._registrations = registrations
        self._announcements = announcements
        self._admission = Buckets(settings.registrations_per_second, settings.burst)
        self.refreshed = 0

    def key(self, question: Change) -> bytes | None:
        """Whose registration it concerns; None for a location that is not known."""
        if isinstance(question, Import):
            question = question.register
        if not isinstance(question, Register):
            registration = self._registrations.index.by_location.get(question.location)
            return None if registration is None else registration.key
        try:
            return key_of(self._sector(question), question.ep)
        except (OverflowError, UnicodeEncodeError):
            return b""  # nobody's: register() refuses it and says why

    def name(self, question: Change) -> tuple[str | None, str]:
        """The sector and the endpoint that `question` names, if it does not name a location."""
        register = question.register if isinstance(question, Import) else question
        assert isinstance(register, Register)
        return self._sector(register), register.ep

    def register(self, id: int, key: bytes, question: Register, now: float) -> Outcome | UnderWay:
        """The same (d, ep) keeps its location, and all else is replaced."""
        registration = self._registrations.by_key.get(key)
        explicit = question.base is not None
        base = question.implicit_base if question.base is None else question.base
        zone = question.zone if question.zone and is_link_local(base) else 0
        owner = owner_of(question.who, question.source)
        if registration is not None and registration.owner and not is_free(registration):
            owner = registration.owner
        if (
            registration is not None
            and registration.document.payload == question.links
            and registration.base == base
            and registration.explicit == explicit
            and registration.attributes == question.attributes
            and registration.members == (question.members or ())
            and registration.zone == zone
            and registration.owner == owner
            and self._refresh(registration, question.lt, now)
        ):
            return Registered(registration.location, created=False, simple=question.simple)
        new = registration is None
        try:
            require_registration(question)
            if question.members is not None:
                refused = self._refuse_group(registration, question.members)
                if refused is not None:
                    return refused
            busy = self.full(key, question) or self._admit(question, now)
            if busy is not None:
                return busy
            parsed = self._parse(question.links)
        except WireError as error:
            return Refused(Reason.BAD_REQUEST, str(error))
        record = Record(
            attributes=question.attributes,
            base=base,
            d=self._sector(question),
            ep=question.ep,
            expires_ms=self._registrations.expires_ms(now, question.lt),
            explicit=explicit,
            holder=holder(question.who, question.source),
            links=question.links.decode(),
            location=self._location() if registration is None else self._kept_location(registration),
            lt=question.lt,
            members=question.members or (),
            owner=owner,
            zone=zone,
        )
        outcome = Registered(record.location, created=new, simple=question.simple)
        return UnderWay(key, id, outcome, "registered", record, told=now + question.lt, parsed=parsed, creates=new)

    def load(self, id: int, key: bytes, question: Import, now: float) -> Outcome | UnderWay:
        """A registration of another node, with the lifetime that is left of it; the quota is not asked."""
        new, held = question.register, self._registrations.by_key.get(key)
        if held is not None and held.visible:
            return Kept(held.location)  # the endpoint's own word is newer than any file
        try:
            require_registration(new)
            require_zone(new.implicit_base if new.base is None else new.base, 0)  # links have other numbers there
            if not all(map(LOCATION.fullmatch, new.members or ())):
                raise WireError("a member of the group is not a UUID in lower case")
            if not question.expires_in > 0:  # also for what is no number
                raise WireError("its lifetime has passed")
            location = self._free(question.location)
            busy = self.full(key, new) or self._admit(new, now)
            if busy is not None:
                return busy
            parsed = self._parse(new.links)
        except WireError as error:
            return Refused(Reason.BAD_REQUEST, str(error))
        told = now + min(question.expires_in, new.lt)
        record = Record(
            attributes=new.attributes,
            base=new.implicit_base if new.base is None else new.base,
            d=self._sector(new),
            ep=new.ep,
            expires_ms=self._registrations.expires_ms(told - new.lt, new.lt),
            explicit=new.base is not None,
            links=new.links.decode(),
            location=location or (self._location() if held is None else held.location),
            lt=new.lt,
            members=new.members or (),
            owner=question.owner,
        )
        outcome = Imported(record.location)
        if question.dry:
            return outcome
        return UnderWay(key, id, outcome, "imported", record, told=told, parsed=parsed, creates=held is None)

    def renew(self, id: int, key: bytes, question: Renew, now: float) -> Outcome | UnderWay:
        """An explicit base sticks, an implicit one follows the sender."""
        registration = self._registrations.by_key[key]
        lt = registration.lt if question.lt is None else question.lt
        base, explicit = registration.base, registration.explicit
        if question.base is not None:
            base, explicit = question.base, True
        elif question.implicit_base is not None and not explicit:
            base = question.implicit_base
        zone = registration.zone
        if base != registration.base or not explicit:
            zone = question.zone if question.zone and is_link_local(base) else 0
        owner = registration.owner
        if not owner and question.who != OPERATOR:
            owner = owner_of(question.who, question.source)
        attributes = overwritten(registration.attributes, question.attributes)
        same = base == registration.base and explicit == registration.explicit
        same = same and zone == registration.zone and owner == registration.owner
        if same and attributes == registration.attributes and self._refresh(registration, lt, now):
            return Renewed()
        try:
            require_update(replace(question, attributes=attributes))
            require_zone(base, zone)
        except WireError as error:
            return Refused(Reason.BAD_REQUEST, str(error))
        retry_s = self._admission.take(holder(question.who, question.source), now)
        if retry_s:
            return Busy(retry_s, "too many changes from your address: come back later", Cause.QUOTA)
        record = msgspec.structs.replace(
            self._registrations.record(registration, self._registrations.expires_ms(now, lt)),
            attributes=attributes,
            base=base,
            explicit=explicit,
            holder=holder(question.who, question.source) or registration.holder,
            lt=lt,
            owner=owner,
            zone=zone,
        )
        return UnderWay(key, id, Renewed(), "renewed", record, told=now + lt)

    def remove(self, id: int, key: bytes) -> UnderWay:
        return UnderWay(key, id, Removed(), "removed")

    def gauges(self) -> Mapping[str, int]:
        return {"sources": len(self._admission), "holders": len(self._registrations.holdings)}

    def full(self, key: bytes, question: Register) -> Busy | None:
        """Whether there is no room for it; what replaces a registration takes none but for its links."""
        index, settings = self._registrations.index, self._settings
        if key not in self._registrations.by_key:
            held = len(self._registrations.by_key) + self._announcements.creating
            if held >= settings.registrations_max:
                return Busy(FULL_RETRY, f"the directory is full: it holds {held} registrations", Cause.FULL)
            whose = holder(question.who, question.source)
            held = self._registrations.holdings.of(whose) + self._announcements.holdings.of(whose)
            if 0 < settings.registrations_per_source <= held:
                detail = f"{held} registrations came from your address, and more may not: remove one, or let it end"
                return Busy(FULL_RETRY, detail, Cause.HOLDINGS)
        grown = index.octets + len(question.links)
        if grown > settings.octets_max and question.links not in index.documents:
            return Busy(FULL_RETRY, "the directory is full: it holds as many links as it may", Cause.FULL)
        return None

    def _refresh(self, registration: Registration, lt: int, now: float) -> bool:
        if self._announcements.is_coming(registration.key):
            return False  # what only this node knows would be lost in a crash: all are told
        refreshed = self._registrations.refresh(registration, lt, now)
        self.refreshed += refreshed
        return refreshed

    def _refuse_group(self, registration: Registration | None, members: tuple[str, ...]) -> Refused | None:
        """draft -12, 6.1; and a group does not take the place of an endpoint."""
        if registration is not None and registration.visible and not is_group(registration):
            return Refused(Reason.BAD_REQUEST, "an endpoint has that name: name the group otherwise")
        for location in members:
            if self._registrations.index.at(location) is None:
                return Refused(Reason.NOT_FOUND, f"there is no registration {location[:64]}: register the member first")
        return None

    def _admit(self, question: Register, now: float) -> Busy | None:
        retry_s = self._admission.take(holder(question.who, question.source), now)
        if not retry_s:
            return None
        return Busy(retry_s, "too many registrations from your address: come back later", Cause.QUOTA)

    def _parse(self, payload: bytes) -> list[Link] | None:
        """None if the document is known.  Raises WireError."""
        if payload in self._registrations.index.documents:
            return None
        if len(payload) > self._settings.document_octets_max:
            raise WireError(f"the links have more than {self._settings.document_octets_max} octets: register fewer")
        return parse_limited(payload)

    def _sector(self, question: Register) -> str | None:
        return (self._settings.default_sector if question.d is None else question.d) or None

    def _free(self, location: str | None) -> str | None:
        """`location`, None if it is another's.  Raises WireError if it is no location of ours."""
        if location is None:
            return None
        if LOCATION.fullmatch(location) is None:
            raise WireError(f"the id {location[:64]!r} is not a UUID in lower case")
        taken = location in self._registrations.index.by_location or self._announcements.uses(location)
        return None if taken else location

    def _kept_location(self, registration: Registration) -> str:
        """Another one, if something else is found there by what another node said."""
        found = self._registrations.index.by_location[registration.location]
        return registration.location if found is registration else self._location()

    def _location(self) -> str:
        """A random UUID (RFC 9562, 5.4)."""
        number = self._rng.getrandbits(128) & ~(0xF << 76) & ~(0x3 << 62) | 0x4 << 76 | 0x2 << 62
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def overwritten(old: Attributes, new: Attributes) -> Attributes:
    """`old` with the values of `new` for each name that it has: overwritten, never removed."""
    if not new:
        return old
    given: dict[str, list[str | None]] = {}
    for name, value in new:
        given.setdefault(name, []).append(value)
    attributes: list[tuple[str, str | None]] = []
    done: dict[str, None] = {}
    for name, value in old + new:
        if name not in given:
            attributes.append((name, value))
        elif name not in done:
            done[name] = None
            attributes.extend((name, item) for item in given[name])
    return tuple(attributes)
