"""One function decides: this identity, this action, this range of names; and nothing is allowed that no rule allows.

A rule allows, or denies, actions of those it names, in rooms, sectors and names.  What one rule denies no other
allows.  A pattern may end in * for any ending, and may contain {name}, which is the asker's own name.

    [[allow]]
    who = ["role:device"]                     # anyone, anonymous, operator, role:…, a subject as "psk:lamp-*"
    do = ["register", "renew", "remove"]      # or "*"
    in = ["rd"]                               # rooms; all if left out
    sector = ["floor-1", "floor-2"]           # all if left out; "" is that of those that name none
    name = ["{name}"]                         # all if left out
    owner = "own"                             # only what is free or the asker's own; "any" if left out

A question about one name is allowed or not.  One about a range, such as a lookup, is allowed if any part of the
range is, and then answered from those parts alone (`Decision.view`).

First come, first remembered: a thing is remembered for whoever made it, by certificate, key or token; for a stranger
on a plain transport by the address, which can be forged and may change.  A rule with owner = "own" lets nobody else
touch it.

Source: design, Contracts; RFC 9176, 7.2 and 7.5; notes on reliability, D1 and D3.
"""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct, field

from waypost.errors import ConfigError
from waypost.identity import ANONYMOUS, KINDS, ROLES, Identity

RULES_MAX: Final = 1_000
MEMORY_MAX: Final = 4_096  # identities and actions whose rules are remembered, and ranges that were decided
OWN_NAME: Final = "{name}"


class Action(Enum):
    """What can be asked of a node, in words of the policy file."""

    DISCOVER = "discover"  # what this node is and has
    LOOK_UP = "look-up"
    READ = "read"  # one thing, whole
    WATCH = "watch"
    REGISTER = "register"
    RENEW = "renew"
    REMOVE = "remove"
    EVICT = "evict"  # and keep out, list who is, and let back in
    EXPORT = "export"
    IMPORT = "import"
    STATUS = "status"  # figures, metrics, health in detail
    PEER = "peer"  # what nodes say to each other
    JOIN = "join"  # get a certificate for a token
    ADMINISTER = "administer"  # tokens, certificates, revocations


OF_ONE: Final = frozenset({Action.READ.value, Action.REGISTER.value, Action.RENEW.value, Action.REMOVE.value})


class Span(NamedTuple):
    """Names: `start` alone, or all that begin with it."""

    start: str
    prefix: bool = False

    def covers(self, other: "Span") -> bool:
        return other.start.startswith(self.start) if self.prefix else self == other

    def meets(self, other: "Span") -> "Span | None":
        """The names that are in both."""
        if self.covers(other):
            return other
        return self if other.covers(self) else None


ALL: Final = Span("", prefix=True)


class Target(NamedTuple):
    """What it is about: `owner` is the subject that it is remembered for, "" for nobody's.

    `source` is the asker's address on a transport where that is all there is to remember.
    """

    room: str
    sector: Span = ALL
    name: Span = ALL
    owner: str = ""
    source: str = ""


class Scope(NamedTuple):
    sector: Span
    name: Span

    def meets(self, other: "Scope") -> "Scope | None":
        sector, name = self.sector.meets(other.sector), self.name.meets(other.name)
        return None if sector is None or name is None else Scope(sector, name)

    def covers(self, sector: str, name: str) -> bool:
        return self.sector.covers(Span(sector)) and self.name.covers(Span(name))


EVERYWHERE: Final = Scope(ALL, ALL)


class View(NamedTuple):
    """The parts of a range that may be seen: those within, less those without."""

    within: tuple[Scope, ...]
    without: tuple[Scope, ...] = ()

    def shows(self, sector: str | None, name: str) -> bool:
        """`sector` None is that of those that name none."""
        at = (sector or "", name)
        return any(scope.covers(*at) for scope in self.within) and not any(scope.covers(*at) for scope in self.without)


class Decision(NamedTuple):
    """`reason` says in a sentence why not.  `view` is what of the range is allowed; None: all of it."""

    allowed: bool
    reason: str = ""
    view: View | None = None


Decide = Callable[[Identity, Action, Target], Decision]

ALLOWED: Final = Decision(True)


class Written(Struct, frozen=True, forbid_unknown_fields=True):
    """A rule as it stands in the file."""

    who: Annotated[tuple[str, ...], Meta(min_length=1)]
    do: Annotated[tuple[str, ...], Meta(min_length=1)]
    rooms: tuple[str, ...] = field(name="in", default=("*",))
    sector: tuple[str, ...] = ("*",)
    name: tuple[str, ...] = ("*",)
    owner: str = "any"


class Document(Struct, frozen=True, forbid_unknown_fields=True):
    allow: tuple[Written, ...] = ()
    deny: tuple[Written, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """A written rule as it concerns one asker and one action."""

    allows: bool
    rooms: frozenset[str] | None  # None: all
    own: bool
    scopes: tuple[Scope, ...]

    def parts(self, who: Identity, target: Target) -> Iterable[Scope]:
        """The parts of the target's range that the rule is about."""
        if self.rooms is not None and target.room not in self.rooms:
            return ()
        if self.own and target.owner and target.owner != owner_of(who, target.source):
            return ()
        asked = Scope(target.sector, target.name)
        if self.scopes == (EVERYWHERE,):
            return (asked,)
        return [part for scope in self.scopes if (part := scope.meets(asked)) is not None]


class Policy:
    """Raises nothing once it is read: whoever asks gets a Decision.  What was decided of ranges is remembered."""

    def __init__(self, document: Document) -> None:
        self._written = [(False, written) for written in document.deny] + [
            (True, written) for written in document.allow
        ]
        self._rules: dict[tuple[Identity, Action], tuple[Rule, ...]] = {}
        self._ranges: dict[tuple[Identity, Action, Target], Decision] = {}

    @classmethod
    def read(cls, document: Mapping[str, object], where: str) -> "Policy":
        """Of TOML's tables; `where` is the file's name.  Raises ConfigError for what is not understood."""
        try:
            policy = msgspec.convert(document, Document)
            for kind, rules in (("allow", policy.allow), ("deny", policy.deny)):
                for number, rule in enumerate(rules, 1):
                    _require(rule, f"[[{kind}]] {number}", allows=kind == "allow")
        except (msgspec.ValidationError, ConfigError) as error:
            raise ConfigError(f"{where}: {error}", hint=getattr(error, "hint", None)) from error
        if len(policy.allow) + len(policy.deny) > RULES_MAX:
            raise ConfigError(f"{where}: a policy has {RULES_MAX} rules at most")
        return cls(policy)

    def decide(self, who: Identity, action: Action, target: Target) -> Decision:
        if not target.name.prefix:
            return self._decide(who, action, target)
        decision = self._ranges.get((who, action, target))
        if decision is None:
            if len(self._ranges) >= MEMORY_MAX:
                self._ranges.clear()  # cheaper than keeping them in order of use
            decision = self._ranges[who, action, target] = self._decide(who, action, target)
        return decision

    def _decide(self, who: Identity, action: Action, target: Target) -> Decision:
        rules = self._rules.get((who, action))
        if rules is None:
            rules = self._compile(who, action)
        asked = Scope(target.sector, target.name)
        within: dict[Scope, None] = {}
        without: dict[Scope, None] = {}
        for rule in rules:
            (within if rule.allows else without).update(dict.fromkeys(rule.parts(who, target)))
        if asked in without:
            return Decision(False, f"a rule of the policy denies {action.value} to {who.subject} here")
        if not within:
            return Decision(False, _why(who, action, target, rules))
        if asked in within and not without:
            return ALLOWED
        return Decision(True, view=View(tuple(within), tuple(without)))

    def _compile(self, who: Identity, action: Action) -> tuple[Rule, ...]:
        if len(self._rules) >= MEMORY_MAX:
            self._rules.clear()
        rules = tuple(
            Rule(
                allows,
                None if "*" in written.rooms else frozenset(written.rooms),
                written.owner == "own",
                tuple(Scope(s, n) for s in _spans(written.sector, who) for n in _spans(written.name, who)),
            )
            for allows, written in self._written
            if any(item in ("*", action.value) for item in written.do) and any(_is(item, who) for item in written.who)
        )
        self._rules[who, action] = rules
        return rules


def default() -> Policy:
    return Policy.read(tomllib.loads(DEFAULT), "the default policy")


def owner_of(who: Identity, source: str) -> str:
    """What a thing that `who` makes is remembered by."""
    return f"source:{source}" if who == ANONYMOUS else who.subject


def _why(who: Identity, action: Action, target: Target, rules: Iterable[Rule]) -> str:
    if any(rule.allows and rule.parts(who, target._replace(owner="")) for rule in rules):
        return "it is another's: only who registered it may change it"
    return f"no rule of the policy allows {action.value} to {who.subject} here"


def _is(item: str, who: Identity) -> bool:
    if item == "anyone":
        return True
    if item.startswith("role:"):
        return item.removeprefix("role:") in who.roles
    return _pattern(item).covers(Span(who.subject))


def _spans(patterns: Iterable[str], who: Identity) -> list[Span]:
    """A star in the asker's own name stands for itself; who has no name has nothing of that name."""
    spans = [_pattern(text) for text in patterns if who.name or OWN_NAME not in text]
    return [Span(start.replace(OWN_NAME, who.name), prefix) for start, prefix in spans]


def _pattern(text: str) -> Span:
    return Span(text[:-1], prefix=True) if text.endswith("*") else Span(text)


def _require(rule: Written, where: str, *, allows: bool) -> None:
    actions = ["*", *(action.value for action in Action)]
    for item in rule.do:
        if item not in actions:
            raise ConfigError(f"{where}: there is no action {item!r}", hint="there are " + ", ".join(actions))
    for item in rule.who:
        kind, colon, name = item.partition(":")
        if kind == "role" and name not in ROLES:
            raise ConfigError(f"{where}: there is no role {name!r}", hint="there are " + ", ".join(ROLES))
        if kind not in ("anyone", "role", *KINDS) or (kind in ("anyone", "anonymous", "operator")) == bool(colon):
            raise ConfigError(f"{where}: {item!r} names nobody", hint='as in "anyone", "role:device", "psk:lamp-*"')
    if rule.owner not in ("any", "own"):
        raise ConfigError(f"{where}: owner is any or own, not {rule.owner!r}")
    if rule.owner == "own" and (not allows or not {*rule.do} <= OF_ONE):
        raise ConfigError(f"{where}: only an [[allow]] of {', '.join(sorted(OF_ONE))} can ask for an owner")


# What a node without a policy file goes by.  `waypost init` and the first start write it out.
DEFAULT: Final = """\
# Who may do what.  Nothing is allowed that no rule allows; docs/policy.md tells what can stand here, and
# `waypost policy test` what a rule would do.  A node reads this file when it starts.

# Whoever can reach a listener may look around.
[[allow]]
who = ["anyone"]
do = ["discover", "look-up", "read", "watch"]

# First come, first remembered: a free name is anyone's, and then only theirs.
[[allow]]
who = ["anyone"]
do = ["register", "renew", "remove"]
owner = "own"

[[allow]]
who = ["anyone"]
do = ["status", "join"]

[[allow]]
who = ["role:peer"]
do = ["peer"]

[[allow]]
who = ["operator", "role:admin"]
do = ["*"]
"""
