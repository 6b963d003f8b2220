"""A policy as its file has it: the rules as they were written, each checked, with a sentence for what is wrong.

    [[allow]]
    who = ["role:device"]                     # anyone, anonymous, operator, role:…, a subject as "psk:lamp-*"
    do = ["register", "renew", "remove"]      # or "*"
    in = ["rd"]                               # rooms; all if left out
    sector = ["floor-1", "floor-2"]           # all if left out; "" is that of those that name none
    name = ["{name}"]                         # all if left out
    owner = "own"                             # only what is free or the asker's own; "any" if left out

Source: docs/policy.md.
"""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct, field, structs

from waypost.errors import ConfigError
from waypost.identity import KINDS, NAME, ROLES

RULES_MAX: Final = 1_000
KINDS_OF_RULE: Final = ("allow", "deny")
ROOMS: Final = ("node", "rd", "records", "log")
OWN_NAME: Final = "{name}"
NAMELESS: Final = ("anyone", "anonymous", "operator")  # of who, without a colon


class Action(Enum):
    """What can be asked of a node, in words of the policy file."""

    DISCOVER = "discover"  # what this node is and has
    LOOK_UP = "look-up"
    READ = "read"  # one thing, whole
    WATCH = "watch"
    REGISTER = "register"
    RENEW = "renew"
    REMOVE = "remove"
    CLAIM = "claim"  # have a record voted on; whether its author may is for the voters
    EVICT = "evict"  # and keep out, list who is, and let back in
    EXPORT = "export"
    IMPORT = "import"
    STATUS = "status"  # figures, metrics, health in detail
    PEER = "peer"  # what nodes say to each other
    JOIN = "join"  # get a certificate for a token
    ADMINISTER = "administer"  # tokens, certificates, revocations

    __hash__ = object.__hash__  # there is one of each; Enum's own takes as long as the rest of a decision


OF_ONE: Final = frozenset({Action.READ.value, Action.REGISTER.value, Action.RENEW.value, Action.REMOVE.value})


class Written(Struct, frozen=True, forbid_unknown_fields=True):
    """A rule as it stands in the file."""

    who: Annotated[tuple[str, ...], Meta(min_length=1)]
    do: Annotated[tuple[str, ...], Meta(min_length=1)]
    rooms: tuple[str, ...] = field(name="in", default=("*",))
    sector: tuple[str, ...] = ("*",)
    name: tuple[str, ...] = ("*",)
    owner: str = "any"


Rules = tuple[tuple[str, Written], ...]  # "allow" or "deny", each in the order of the file


def read_rules(document: Mapping[str, object], where: str) -> Rules:
    """Of TOML's tables; `where` is the file's name.  Raises ConfigError for what is not understood."""
    _known(document, KINDS_OF_RULE, where, "a policy has [[allow]] and [[deny]], and nothing else")
    rules: list[tuple[str, Written]] = []
    for kind in KINDS_OF_RULE:
        tables = document.get(kind, [])
        if not isinstance(tables, list):
            raise ConfigError(f"{where}: {kind} is one table", hint=f"each rule begins with [[{kind}]]")
        for number, table in enumerate(tables, 1):
            rules.append((kind, _read(table, f"{where}: [[{kind}]] {number}", allows=kind == "allow")))
            if len(rules) > RULES_MAX:
                raise ConfigError(
                    f"{where}: a policy has {RULES_MAX} rules at most",
                    hint="let patterns and roles do more of the work",
                )
    return tuple(rules)


def require_who(item: str, where: str) -> None:
    """Raises ConfigError if it is not one of `who` as a rule may have it."""
    kind, colon, name = item.partition(":")
    if kind == "role":
        _one_of(name, ROLES, where, "role")
        return
    _one_of(kind, ("anyone", "role", *KINDS), where, "kind of asker")
    if (kind in NAMELESS) == bool(colon):
        wrong = "has no name" if colon else "needs a name"
        raise ConfigError(f"{where}: {kind} {wrong}, and here is {item!r}", hint='as in "anyone", "psk:lamp-*"')
    if colon and name != "*" and not NAME.fullmatch(name.removesuffix("*")):
        raise ConfigError(
            f"{where}: nobody can have the name {name!r}",
            hint="1 to 64 of A-Z a-z 0-9 . _ @ -, perhaps with a * behind",
        )


def _read(table: object, where: str, *, allows: bool) -> Written:
    if isinstance(table, dict):
        keys = tuple(field.encode_name for field in structs.fields(Written))
        _known(table, keys, where, "a rule has " + ", ".join(keys))
    try:
        rule = msgspec.convert(table, Written)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}", hint='as in do = ["look-up", "read"]') from error
    for item in rule.who:
        require_who(item, where)
    for item in rule.do:
        _one_of(item, ("*", *(action.value for action in Action)), where, "action")
    for item in rule.rooms:
        _one_of(item, ("*", *ROOMS), where, "room")
    for item in (*rule.sector, *rule.name):
        if "*" in item[:-1]:
            raise ConfigError(
                f"{where}: {item!r} has a * that is not its end", hint="a pattern is a start, as in lamp-*"
            )
    _one_of(rule.owner, ("any", "own"), where, "owner")
    if rule.owner == "own" and (not allows or not {*rule.do} <= OF_ONE):
        raise ConfigError(
            f"{where}: only an [[allow]] of {', '.join(sorted(OF_ONE))} can ask for an owner",
            hint="leave owner out, or give these actions a rule of their own",
        )
    return rule


def _known(table: Iterable[str], keys: tuple[str, ...], where: str, hint: str) -> None:
    for key in table:
        if key not in keys:
            raise ConfigError(f"{where}: there is no key {key!r}", hint=_close(key, keys) or hint)


def _one_of(word: str, words: tuple[str, ...], where: str, what: str) -> None:
    if word not in words:
        raise ConfigError(
            f"{where}: there is no {what} {word!r}", hint=_close(word, words) or "there are " + ", ".join(words)
        )


def _close(word: str, words: tuple[str, ...]) -> str | None:
    from difflib import get_close_matches  # takes its time to import, and a right file needs none

    close = get_close_matches(word, words, n=1)
    return f"did you mean {close[0]}?" if close else None
