"""Secrets that a node and a device share, as an operator writes them down.

    [psk."lamp-3"]
    key = "<hexadecimal>"                   # 16 to 64 octets
    roles = ["device"]

    [oscore."lamp-4"]                       # RFC 8613, 3.2; the ids as this node sees them
    master_secret = "<hexadecimal>"
    master_salt = "<hexadecimal>"           # may be left out
    sender_id = "01"
    recipient_id = "02"
    id_context = "<hexadecimal>"            # may be left out
    roles = ["device"]

Secrets that are too short, that stand in manuals or that somebody could guess are refused.  No message shows one.

Source: notes on reliability, D1 ("start refuses weak or sample values"); RFC 8613, 3.2; RFC 4279, 5.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from waypost.errors import ConfigError
from waypost.identity import NAME, ROLES, Identity
from waypost.identity.oscore import SecurityContext

SECRETS_MAX: Final = 100_000  # of each kind
SECRET_MIN: Final = 16  # octets
SECRET_MAX: Final = 64
DISTINCT_MIN: Final = 6  # of 16 random octets fewer differ once in 10^13
SAMPLES: Final = (b"changeme", b"change-me", b"secret", b"password", b"passwort", b"example", b"default", b"waypost")

COULD_BE_SECRET: Final = re.compile(r"[0-9A-Fa-f]{24,}", re.ASCII)  # in a message

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class SharedKey:
    """A pre-shared key and whom it stands for; `key` never shows in a text."""

    key: bytes
    who: Identity

    def __repr__(self) -> str:
        return f"SharedKey(of {self.who.subject})"


@dataclass(frozen=True, slots=True)
class Shared:
    """Pre-shared keys by the identity that a client sends, and OSCORE contexts."""

    psks: Mapping[bytes, SharedKey]
    contexts: tuple[SecurityContext, ...]


NONE: Final = Shared({}, ())


class WrittenKey(Struct, frozen=True, forbid_unknown_fields=True):
    key: str
    roles: tuple[str, ...] = ()


class WrittenContext(Struct, frozen=True, forbid_unknown_fields=True):
    master_secret: str
    sender_id: str
    recipient_id: str
    master_salt: str = ""
    id_context: str | None = None
    roles: tuple[str, ...] = ()


def read_shared(data: bytes, where: str) -> Shared:
    """`where` is the file's name.  Raises ConfigError, and nothing else, for what is not as it must be."""
    try:
        return _read(data, where)
    except ConfigError as error:  # a secret may stand where a name belongs
        raise ConfigError(COULD_BE_SECRET.sub("…", str(error)), hint=error.hint) from None


def _read(data: bytes, where: str) -> Shared:
    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        place = re.search(r"\(at [^()]*\)", str(error))  # and nothing of the text itself
        raise ConfigError(f"{where} is not TOML" + (f" {place[0]}" if place else "")) from None
    for section in document:
        if section not in ("psk", "oscore"):
            raise ConfigError(f"{where}: there is no section [{section}]", hint="there are psk and oscore")
    keys = _each(document.get("psk", {}), f"{where}: psk", _key)
    contexts = _each(document.get("oscore", {}), f"{where}: oscore", _context)
    _require_one_owner(contexts, where)
    return Shared({key.who.name.encode(): key for key in keys}, tuple(contexts))


def _each(section: object, where: str, read: Callable[[str, object, str], T]) -> list[T]:
    if not isinstance(section, dict):
        raise ConfigError(f"{where} is a section, not a key")
    if len(section) > SECRETS_MAX:
        raise ConfigError(f"{where}: there are {SECRETS_MAX} at most")
    for name in section:
        if not NAME.fullmatch(name):
            raise ConfigError(f"{where}: {name!r} is no name: 1 to 64 letters, digits and ._@-")
    return [read(name, value, f'{where}."{name}"') for name, value in section.items()]


def _key(name: str, value: object, where: str) -> SharedKey:
    written = _convert(value, WrittenKey, where)
    return SharedKey(_secret(written.key, f"{where}: key"), Identity("psk", name, _roles(written.roles, where)))


def _context(name: str, value: object, where: str) -> SecurityContext:
    written = _convert(value, WrittenContext, where)
    secret = _secret(written.master_secret, f"{where}: master_secret")
    salt = _octets(written.master_salt, f"{where}: master_salt")
    sender_id = _octets(written.sender_id, f"{where}: sender_id")
    recipient_id = _octets(written.recipient_id, f"{where}: recipient_id")
    id_context = None if written.id_context is None else _octets(written.id_context, f"{where}: id_context")
    who = Identity("oscore", name, _roles(written.roles, where))
    try:
        return SecurityContext(who, secret, sender_id, recipient_id, salt, id_context)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _convert(value: object, kind: type[T], where: str) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {str(error).lower()}") from None


def _secret(text: str, where: str) -> bytes:
    secret = _octets(text, where)
    if not SECRET_MIN <= len(secret) <= SECRET_MAX:
        size = f"{SECRET_MIN} to {SECRET_MAX} are needed"
        raise ConfigError(f"{where} has {len(secret)} octets, and {size}", hint="openssl rand -hex 32")
    if _is_guessable(secret):
        raise ConfigError(f"{where} is a sample or can be guessed", hint="openssl rand -hex 32")
    return secret


def _is_guessable(secret: bytes) -> bool:
    """Few octets, one after the other at equal steps as in examples, or a word that stands for a secret."""
    steps = {(after - before) % 256 for before, after in pairwise(secret)}
    return len({*secret}) < DISTINCT_MIN or len(steps) == 1 or any(word in secret.lower() for word in SAMPLES)


def _octets(text: str, where: str) -> bytes:
    if not re.fullmatch(r"(?:[0-9A-Fa-f]{2})*", text, re.ASCII):
        raise ConfigError(f"{where} is not in hexadecimal", hint="openssl rand -hex 32")
    return bytes.fromhex(text)


def _roles(roles: tuple[str, ...], where: str) -> tuple[str, ...]:
    for role in roles:
        if role not in ROLES:
            raise ConfigError(f"{where}: there is no role {role!r}", hint="there are " + ", ".join(ROLES))
    return tuple(sorted({*roles}))


def _require_one_owner(contexts: list[SecurityContext], where: str) -> None:
    """RFC 8613, 3.3: a recipient id and id context lead to one context."""
    found: dict[tuple[bytes, bytes | None], str] = {}
    for context in contexts:
        other = found.setdefault((context.recipient_id, context.id_context), context.who.name)
        if other != context.who.name:
            raise ConfigError(f"{where}: oscore: {other} and {context.who.name} have the same recipient_id")
