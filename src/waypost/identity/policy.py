"""One function decides: this identity, this action, this range of names; and nothing is allowed that no rule allows.

A rule allows, or denies, actions of those it names, in rooms, sectors and names (`rules.py` has how it is written).
What one rule denies no other allows; their order does not matter.  A pattern may end in * for any ending, and may
contain {name}, which is the asker's own name.

A question about one name is allowed or not.  One about a range, such as a lookup, is allowed if any part of the
range is, and then answered from those parts alone (`Decision.view`).  The node itself has no parts: a rule for some
sectors or names, or a token for some, allows nothing of it.

First come, first remembered: a thing is remembered for whoever made it, by certificate, key or token; for a stranger
on a plain transport by the address, which can be forged and may change.  A rule with owner = "own" lets nobody else
touch it.

Who is revoked may nothing any more.  When the rules or the revoked change, the next question is decided anew; what is
under way, such as an observation, ends when whoever keeps it asks again.

Source: design, Contracts; RFC 9176, 7.2 and 7.5; notes on reliability, D1 and D3.
"""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from waypost.errors import StateError
from waypost.identity import ANONYMOUS, KINDS, Identity
from waypost.identity.rules import NAMELESS, OF_ONE, OWN_NAME, RULES_MAX, Action, Rules, Written, read_rules
from waypost.identity.scopes import ALL, EVERYWHERE, Scope, Span, View, pattern

__all__ = [
    "ALL",
    "ALLOWED",
    "DEFAULT",
    "OF_ONE",
    "RULES_MAX",
    "THE_NODE",
    "Action",
    "Decide",
    "Decision",
    "Policy",
    "Scope",
    "Span",
    "Target",
    "View",
    "default",
    "owner_of",
]

NODE: Final = "node"  # the room of what is about the node as a whole
MEMORY_MAX: Final = 4_096  # identities and actions whose rules are remembered, and ranges that were decided
REVOKED_MAX: Final = 100_000


class Target(NamedTuple):
    """What it is about: `owner` is the subject that it is remembered for, "" for nobody's.

    `source` is the asker's address on a transport where that is all there is to remember.
    """

    room: str
    sector: Span = ALL
    name: Span = ALL
    owner: str = ""
    source: str = ""


THE_NODE: Final = Target(NODE)


class Decision(NamedTuple):
    """`reason` says in a sentence why not.  `view` is what of the range is allowed; None: all of it."""

    allowed: bool
    reason: str = ""
    view: View | None = None


Decide = Callable[[Identity, Action, Target], Decision]

ALLOWED: Final = Decision(True)


@dataclass(frozen=True, slots=True)
class Rule:
    """A written rule as it concerns one asker and one action; `number` is its place among its kind, from 1."""

    allows: bool
    number: int
    rooms: frozenset[str] | None  # None: all
    own: bool
    scopes: tuple[Scope, ...]
    everywhere: bool  # its only scope is all there is

    def concerns(self, who: Identity, target: Target) -> bool:
        """Whether it is about the target's room and owner."""
        if self.rooms is not None and target.room not in self.rooms:
            return False
        return not self.own or not target.owner or target.owner == owner_of(who, target.source)

    def parts(self, who: Identity, target: Target) -> Iterable[Scope]:
        """The parts of the target's range that the rule is about."""
        if not self.concerns(who, target):
            return ()
        asked = Scope(target.sector, target.name)
        if self.everywhere:
            return (asked,)
        return [part for scope in self.scopes if (part := scope.meets(asked)) is not None]


class Policy:
    """Raises nothing once it is read: whoever asks gets a Decision.  What was decided of ranges is remembered."""

    def __init__(self, rules: Rules) -> None:
        self._written = rules
        self._revoked: dict[str, None] = {}
        self._rules: dict[tuple[Identity, Action], tuple[Rule, ...]] = {}
        self._ranges: dict[tuple[Identity, Action, Target], Decision] = {}

    @classmethod
    def read(cls, document: Mapping[str, object], where: str) -> "Policy":
        """Of TOML's tables; `where` is the file's name.  Raises ConfigError for what is not understood."""
        return cls(read_rules(document, where))

    def decide(self, who: Identity, action: Action, target: Target) -> Decision:
        if not target.name.prefix:
            return self._decide(who, action, target)
        decision = self._ranges.get((who, action, target))
        if decision is None:
            if len(self._ranges) >= MEMORY_MAX:
                self._ranges.clear()  # cheaper than keeping them in order of use
            decision = self._ranges[who, action, target] = self._decide(who, action, target)
        return decision

    def deciding(self, who: Identity, action: Action, target: Target) -> list[Rule]:
        """The rules that make decide() say what it says: those that deny, else those that allow."""
        concerned = [rule for rule in self._concerning(who, action) if rule.parts(who, target)]
        return [rule for rule in concerned if not rule.allows] or concerned

    def adopt(self, other: "Policy") -> None:
        """Go by the rules of `other` from now on.  Who is revoked stays so."""
        self._written = other._written
        self._forget()

    def revoke(self, subject: str) -> None:
        """Nothing is allowed to `subject` any more, as "certificate:lamp-3".  Raises StateError if it is none."""
        kind, _, name = subject.partition(":")
        if kind not in KINDS or kind in NAMELESS or not name:
            raise StateError(f"{subject[:80]!r} is nobody who can be revoked")
        if len(self._revoked) >= REVOKED_MAX and subject not in self._revoked:
            raise StateError(f"{REVOKED_MAX} are revoked already")
        self._revoked[subject] = None
        self._forget()

    def reinstate(self, subject: str) -> None:
        self._revoked.pop(subject, None)
        self._forget()

    @property
    def written(self) -> list[tuple[str, int, Written]]:
        """The rules: "allow" or "deny", the number among its kind from 1, and what is written."""
        numbers = {"allow": 0, "deny": 0}
        found = []
        for kind, written in self._written:
            numbers[kind] += 1
            found.append((kind, numbers[kind], written))
        return found

    @property
    def remembered(self) -> int:
        """What was worked out already: of askers and actions, and of ranges."""
        return len(self._rules) + len(self._ranges)

    def _decide(self, who: Identity, action: Action, target: Target) -> Decision:
        rules = self._concerning(who, action)
        if rules and rules[-1].allows:  # none denies, for those come last: one that allows it all is enough
            for rule in rules:
                if rule.everywhere and rule.concerns(who, target):
                    return ALLOWED
        asked = Scope(target.sector, target.name)
        within: dict[Scope, None] = {}
        without: dict[Scope, None] = {}
        for rule in rules:
            (within if rule.allows else without).update(dict.fromkeys(rule.parts(who, target)))
        if asked in without:
            return Decision(False, f"a rule of the policy denies {action.value} to {who.subject} here")
        if asked in within and not without:
            return ALLOWED
        seen = [part for part in within if not any(denied.covers(part) for denied in without)]
        if not seen:
            return Decision(False, self._why(who, action, target, rules))
        if target.room == NODE:
            return Decision(False, f"{action.value} is about the whole node, and {who.subject} may it in part only")
        return Decision(True, view=View(tuple(seen), tuple(without)))

    def _concerning(self, who: Identity, action: Action) -> tuple[Rule, ...]:
        """The rules for this asker and action; none for who is revoked."""
        rules = self._rules.get((who, action))
        if rules is None:
            if len(self._rules) >= MEMORY_MAX:
                self._rules.clear()
            rules = () if who.subject in self._revoked else tuple(self._compile(who, action))
            self._rules[who, action] = rules
        return rules

    def _compile(self, who: Identity, action: Action) -> Iterable[Rule]:
        if who.actions and action.value not in who.actions:
            return
        for kind, number, written in self.written:
            allows = kind == "allow"
            if not any(item in ("*", action.value) for item in written.do):
                continue
            if not any(_is(item, who) for item in written.who):
                continue
            rooms = None if "*" in written.rooms else frozenset(written.rooms)
            sectors, names = _sectors(written, who), _spans(written.name, who)
            scopes = tuple(Scope(sector, name) for sector in sectors for name in names)
            yield Rule(allows, number, rooms, written.owner == "own", scopes, scopes == (EVERYWHERE,))

    def _why(self, who: Identity, action: Action, target: Target, rules: Iterable[Rule]) -> str:
        if who.subject in self._revoked:
            return f"{who.subject} was revoked"
        if any(rule.allows and rule.parts(who, target._replace(owner="")) for rule in rules):
            return "it is another's: only who registered it may change it"
        return f"no rule of the policy allows {action.value} to {who.subject} here"

    def _forget(self) -> None:
        self._rules.clear()
        self._ranges.clear()


def default() -> Policy:
    return Policy.read(tomllib.loads(DEFAULT), "the default policy")


def owner_of(who: Identity, source: str) -> str:
    """What a thing that `who` makes is remembered by."""
    return f"source:{source}" if who == ANONYMOUS else who.subject


def _is(item: str, who: Identity) -> bool:
    if item == "anyone":
        return True
    if item.startswith("role:"):
        return item.removeprefix("role:") in who.roles
    return pattern(item).covers(Span(who.subject))


def _spans(patterns: Iterable[str], who: Identity) -> list[Span]:
    """A star in the asker's own name stands for itself; who has no name has nothing of that name."""
    spans = [pattern(text) for text in patterns if who.name or OWN_NAME not in text]
    return [Span(start.replace(OWN_NAME, who.name), prefix) for start, prefix in spans]


def _sectors(written: Written, who: Identity) -> list[Span]:
    """Those of the rule, narrowed by what narrows the asker: of the others nothing is allowed that could be denied."""
    spans = _spans(written.sector, who)
    if not who.sectors:
        return spans
    return [both for span in spans for own in who.sectors if (both := span.meets(pattern(own))) is not None]


# What a node without a policy file goes by.  `waypost init` and the first start write it out.
DEFAULT: Final = """\
# Who may do what.  Nothing is allowed that no rule allows; docs/policy.md tells what can stand here, and
# `waypost policy test` what a rule would do.  A node reads this file when it starts, and on SIGHUP.

# Whoever can reach a listener may look around.
[[allow]]
who = ["anyone"]
do = ["discover", "look-up", "read", "watch"]

# First come, first remembered: a free name is anyone's, and then only theirs.
[[allow]]
who = ["anyone"]
do = ["register", "renew", "remove"]
owner = "own"

# A record that is voted on is signed by who holds its key, and the voters look at that.
[[allow]]
who = ["anyone"]
do = ["claim"]

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
