"""What a registration and a lookup may say.

The faces split a request into (name, value) pairs and read them here; the directory requires the
values again, whoever asks.  Every refusal is a WireError whose sentence says what to do.

Source: RFC 9176, 5, 5.3.1 and 6.2.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from waypost.errors import WireError
from waypost.rd.questions import Attributes, Kind, Lookup, Register, Renew
from waypost.rd.zones import is_link_local

NAME_OCTETS_MAX: Final = 63  # ep and d
LIFETIME_MAX: Final = (1 << 32) - 1  # seconds
LIFETIME_DEFAULT: Final = 90_000  # seconds
LIFETIME_DEFAULT_12: Final = 86_400  # seconds; of draft -12
BASE_MAX: Final = 512  # characters
ATTRIBUTES_MAX: Final = 32  # of one registration, or update
ATTRIBUTE_NAME_MAX: Final = 64  # characters
ATTRIBUTE_VALUE_MAX: Final = 512  # characters
CRITERIA_MAX: Final = 16  # of one lookup
CRITERION_MAX: Final = 1_024  # characters
NUMBER_MAX: Final = (1 << 32) - 1  # page and count

RESERVED: Final = frozenset(("page", "count", "rt", "href", "anchor"))  # RFC 9176, 9.3: not of a registration
OWN: Final = frozenset(("ep", "d", "lt", "base"))

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # RFC 9176, 5: 0-31 and 127-159
_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)
_NAME = re.compile(r"[!#$&+\-.^_`|~0-9A-Za-z]++\*?+")  # parmname of RFC 5987, as in a link
_BASE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*+://([!#-.0-;=@-~]++)(?:/[!$-;=@-~]*+)?+")

Pairs = Iterable[tuple[str, str | None]]


@dataclass(frozen=True, slots=True)
class Parameters:
    """None: not given."""

    ep: str | None
    d: str | None
    lt: int | None
    base: str | None
    attributes: Attributes


def split(query: Iterable[str]) -> list[tuple[str, str | None]]:
    """`name=value` or a bare `name`, for each option."""
    pairs: list[tuple[str, str | None]] = []
    for item in query:
        name, equals, value = item.partition("=")
        pairs.append((name, value if equals else None))
    return pairs


def read(pairs: Pairs) -> Parameters:
    """The parameters of a registration or an update; what is not the specification's own is an attribute."""
    own: dict[str, str] = {}
    attributes: list[tuple[str, str | None]] = []
    for name, value in pairs:
        if name == "con":
            name = "base"  # its name in draft -12
        if name in OWN:
            if name in own:
                raise WireError(f"{name} is given twice: give it once")
            if value is None:
                raise WireError(f"{name} has no value: write {name}=…")
            own[name] = value
        else:
            attributes.append((name, value))
    lt = own.get("lt")
    return Parameters(
        own.get("ep"), own.get("d"), None if lt is None else number("lt", lt), own.get("base"), tuple(attributes)
    )


def lookup(kind: Kind, pairs: Pairs, *, structured: bool = False) -> Lookup:
    """RFC 9176, 6.2."""
    page: int | None = None
    count: int | None = None
    criteria: list[tuple[str, str | None]] = []
    for name, value in pairs:
        if name == "page":
            if page is not None:
                raise WireError("page is given twice: give it once")
            page = number(name, value)
        elif name == "count":
            if count is not None:
                raise WireError("count is given twice: give it once")
            count = number(name, value)
        else:
            criteria.append((name, value))
    if page is not None and count is None:
        raise WireError("page needs count: add count=10, for example")  # RFC 9176, 6.2
    return Lookup(kind, tuple(criteria), page or 0, count, structured)


def number(name: str, value: str | None) -> int:
    if value is None or _NUMBER.fullmatch(value) is None:
        raise WireError(f"{name} must be a number in decimal digits, such as {name}=10")
    return int(value)


def require_registration(register: Register) -> None:
    """Raises WireError for what may not be registered."""
    if not register.ep:
        raise WireError("a registration needs a name: add ep=…")
    _require_name("ep", register.ep)
    if register.d is not None:
        _require_name("d", register.d)
    _require_lifetime(register.lt)
    base = register.implicit_base if register.base is None else register.base
    _require_base(base)
    require_zone(base, register.zone)
    _require_attributes(register.attributes)


def require_update(renew: Renew) -> None:
    """Raises WireError for what an update may not say."""
    if renew.lt is not None:
        _require_lifetime(renew.lt)
    for base in (renew.base, renew.implicit_base):
        if base is not None:
            _require_base(base)
    _require_attributes(renew.attributes)


def require_zone(base: str, zone: int) -> None:
    """RFC 9176, 5: a link-local base is local to the link that the request came by."""
    if not zone and is_link_local(base):
        raise WireError("a link-local base is taken only from its own link: give a base that others can reach")


def require_lookup(lookup: Lookup) -> None:
    if lookup.count is not None and not 1 <= lookup.count <= NUMBER_MAX:
        raise WireError(f"count must be 1 to {NUMBER_MAX}")
    if not 0 <= lookup.page <= NUMBER_MAX or (lookup.page and lookup.count is None):
        raise WireError(f"page must be 0 to {NUMBER_MAX}, and needs count")
    if len(lookup.criteria) > CRITERIA_MAX:
        raise WireError(f"a lookup may have {CRITERIA_MAX} criteria, not {len(lookup.criteria)}")
    for name, value in lookup.criteria:
        if not name or len(name) > CRITERION_MAX or (value is not None and len(value) > CRITERION_MAX):
            raise WireError(f"a criterion is name=value, and neither is over {CRITERION_MAX} characters")


def _require_name(name: str, value: str) -> None:
    octets = len(value) if value.isascii() else len(value.encode(errors="replace"))
    if octets > NAME_OCTETS_MAX:
        raise WireError(f"{name} has {octets} octets: use {NAME_OCTETS_MAX} at most")
    if _CONTROL.search(value) is not None or not _is_text(value):
        raise WireError(f"{name} has a control character: leave it out")


def _require_lifetime(lt: int) -> None:
    if not 1 <= lt <= LIFETIME_MAX:
        raise WireError(f"lt must be 1 to {LIFETIME_MAX} seconds")


def _require_base(base: str) -> None:
    """RFC 9176, 5: scheme and authority, perhaps a path; no query, no fragment, no zone."""
    if len(base) > BASE_MAX:
        raise WireError(f"base has more than {BASE_MAX} characters")
    if "?" in base or "#" in base:
        raise WireError("base must not have a query or a fragment: end it after the path")
    match = _BASE.fullmatch(base)
    if match is None:
        raise WireError("base must be an absolute URI such as coap://[2001:db8::1]:5683")
    host = match[1].rpartition("@")[2]
    if host.startswith("["):
        literal, bracket, port = host.partition("]")
        if "%" in literal:
            raise WireError("base must not have a zone: leave out what follows the % sign")
        if not bracket or (port and (port[0] != ":" or not (port[1:] == "" or _NUMBER.fullmatch(port[1:])))):
            raise WireError("base must have its IPv6 address in brackets, then perhaps :port")
    elif host.count(":") > 1:
        raise WireError("base must have its IPv6 address in brackets, such as coap://[2001:db8::1]")


def _require_attributes(attributes: Attributes) -> None:
    if len(attributes) > ATTRIBUTES_MAX:
        raise WireError(f"a registration may have {ATTRIBUTES_MAX} attributes of its own, not {len(attributes)}")
    for name, value in attributes:
        if name in RESERVED:
            raise WireError(f"{name} is not a parameter of a registration: leave it out")  # RFC 9176, 9.3
        if name in OWN or len(name) > ATTRIBUTE_NAME_MAX or _NAME.fullmatch(name) is None:
            raise WireError(f"{name[:ATTRIBUTE_NAME_MAX]!r} cannot be the name of an attribute")
        if value is not None and (
            len(value) > ATTRIBUTE_VALUE_MAX or _CONTROL.search(value) is not None or not _is_text(value)
        ):
            raise WireError(f"{name} has a control character or more than {ATTRIBUTE_VALUE_MAX} characters")


def _is_text(value: str) -> bool:
    """Not so for lone surrogates, which JSON can carry and UTF-8 cannot."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
