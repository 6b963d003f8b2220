"""What a reader asks of a head: by which log, and cosigned by which of the witnesses.

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> all|any|<k> <name>...
    quorum <name>|none

A policy is octets: names are compared as such, and spaces and tabs alone part them.  A head that a quorum has cosigned
has no second history that another quorum cosigned, while at most `faulty_max` of the witnesses lie.

Source: C2SP tlog-policy; notes on the ledger, 2, 5 (reader policy) and L6.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from waypost.errors import ProofError, WireError
from waypost.ledger.checkpoint import Head, cosigned_at, cosigner_of, require_signed
from waypost.ledger.note import Algorithm, Key, Verify

POLICY_MAX: Final = 1 << 20  # octets
LINES_MAX: Final = 1_000
EACH_MAX: Final = 128  # logs, witnesses and groups; the specification wants 32
NONE: Final = "none"  # the quorum that is always met
LOG_TYPES: Final = (Algorithm.ED25519, Algorithm.MLDSA_44)
WITNESS_TYPES: Final = (Algorithm.COSIGNATURE, Algorithm.MLDSA_44)
SKEW_S: Final = 300  # how far ahead of ours a witness's clock may be
_SPACE: Final = re.compile(r"[ \t]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_COUNT: Final = re.compile(r"[1-9][0-9]{0,3}")


@dataclass(frozen=True, slots=True)
class Log:
    """Its origin is the key's name."""

    key: Key
    url: str = ""


@dataclass(frozen=True, slots=True)
class Witness:
    """`name` is what this policy calls it."""

    name: str
    key: Key
    url: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """It has witnessed when `needs` of its members have, which are witnesses or groups before it."""

    name: str
    needs: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy says of a head that the `log` has signed: `met`, if enough of its witnesses have cosigned it.

    `cosigned` has the witnesses that count, by their names in the policy, and when they did, in POSIX time; `refused`
    those that have cosigned, and why they do not count.
    """

    log: Key
    met: bool
    cosigned: dict[str, int]
    refused: dict[str, str]

    def require(self) -> None:
        """Raises ProofError unless it is met."""
        if not self.met:
            refused = "".join(f"; {shown(name)} {why}" for name, why in self.refused.items())
            names = ", ".join(map(shown, self.cosigned)) or "nobody"
            raise ProofError(f"the quorum of witnesses is not met: cosigned by {names}{refused}")


@dataclass(frozen=True, slots=True)
class Policy:
    """As decode() takes it: names are defined once, before their use, and each is a member of one group at most."""

    logs: tuple[Log, ...]
    witnesses: tuple[Witness, ...] = ()
    groups: tuple[Group, ...] = ()
    quorum: str = NONE

    def encode(self) -> bytes:
        lines = [
            *(f"log {log.key.encode()} {log.url}" for log in self.logs),
            *(f"witness {witness.name} {witness.key.encode()} {witness.url}" for witness in self.witnesses),
            *(f"group {group.name} {group.needs} {' '.join(group.members)}" for group in self.groups),
            f"quorum {self.quorum}",
        ]
        return "".join(f"{line.rstrip(' ')}\n" for line in lines).encode(errors="surrogateescape")

    @classmethod
    def decode(cls, data: bytes) -> "Policy":
        """Raises WireError, which names the line."""
        if len(data) > POLICY_MAX:
            raise WireError("the policy is too large")
        text = data.decode(errors="surrogateescape")  # what is no UTF-8 remains what it is
        if _CONTROL.search(text):
            raise WireError("the policy has control characters")
        *lines, rest = text.split("\n")
        if rest:  # a line that was cut short may still be one, of fewer witnesses
            raise WireError("the last line has no end")
        if len(lines) > LINES_MAX:
            raise WireError(f"the policy has more than {LINES_MAX} lines")
        reading = _Reading()
        for number, line in enumerate(lines, 1):
            words = [word for word in _SPACE.split(line) if word]
            try:
                if words and not words[0].startswith("#"):
                    reading.line(words)
            except WireError as error:
                raise WireError(f"line {number}: {error}") from error
        return reading.policy()

    @classmethod
    def of(cls, logs: Iterable[Key], witnesses: Sequence[Key], needs: int) -> "Policy":
        """So many of these witnesses, by the names of their keys.  Raises WireError if two cannot be told apart."""
        members = tuple(key.name for key in witnesses)
        policy = cls(
            tuple(map(Log, logs)),
            tuple(Witness(key.name, key) for key in witnesses),
            (Group("quorum", needs, members),) if needs else (),
            "quorum" if needs else NONE,
        )
        return cls.decode(policy.encode())

    def check(self, head: Head, verify: Verify, now_s: int, age_max_s: int | None = None) -> Verdict:
        """Whether it is a head of one of the logs, with witnesses enough; POSIX time.

        With `age_max_s`, a cosignature that is older does not count, nor one of the future: a head may be old, but
        somebody must have found lately that there is none newer.  The log's own node never counts.  Raises ProofError
        if none of the logs has signed the head, or one signature by a key of the policy is wrong.
        """
        try:
            log = self._signer(head, verify)
            times = {each.name: cosigned_at(head, each.key, verify) for each in self.witnesses}
        except WireError as error:
            raise ProofError(str(error)) from error
        cosigned, refused = {}, {}
        for witness in self.witnesses:
            time_s = times[witness.name]
            if time_s is None:
                continue
            why = self._refusal(log, witness, time_s, now_s, age_max_s)
            if why:
                refused[witness.name] = why
            else:
                cosigned[witness.name] = time_s
        return Verdict(log, self.is_met(cosigned), cosigned, refused)

    def is_met(self, names: Iterable[str]) -> bool:
        """Whether these witnesses are a quorum."""
        present = set(names)
        return self.quorum == NONE or self._fold(lambda name: int(name in present), _reaches) > 0

    @property
    def faulty_max(self) -> int:
        """With so many witnesses that lie, whichever they be, no two quorums cosign two histories.

        -1: it takes no liar, only a network that keeps honest witnesses apart.  For k of n it is tolerated(n, k).
        """
        return -1 if self.quorum == NONE else self._fold(lambda _: 1, _to_fork) - 1

    @property
    def down_max(self) -> int:
        """With so many witnesses that are silent, whichever they be, the others are a quorum."""
        return len(self.witnesses) if self.quorum == NONE else self._fold(lambda _: 1, _to_silence) - 1

    def _signer(self, head: Head, verify: Verify) -> Key:
        keys = [log.key for log in self.logs if log.key.name == head.origin]
        signed = [key for key in keys if any(line.is_by(key) for line in head.note.lines)]
        if not signed:
            raise ProofError(f"no log of the policy has signed this head of {head.origin}")
        for key in signed:
            require_signed(head, key, verify)
        return signed[0]

    @staticmethod
    def _refusal(log: Key, witness: Witness, time_s: int, now_s: int, age_max_s: int | None) -> str:
        if is_own(log, witness.key):
            return "is the log's own"
        if age_max_s is not None and time_s < now_s - age_max_s:
            return f"did so {now_s - time_s} seconds ago, {age_max_s} at most"
        if age_max_s is not None and time_s > now_s + SKEW_S:
            return f"did so {time_s - now_s} seconds from now"
        return ""

    def _fold(self, of_witness: Callable[[str], int], of_group: Callable[[int, list[int]], int]) -> int:
        """The quorum's number, a group's being made of what it needs and the sorted numbers of its members."""
        numbers = {witness.name: of_witness(witness.name) for witness in self.witnesses}
        for group in self.groups:
            numbers[group.name] = of_group(group.needs, sorted(numbers[name] for name in group.members))
        return numbers[self.quorum]


def quorum_of(n: int) -> int:
    """How many of `n` witnesses a head should have: two thirds, and one more."""
    return min(n, 2 * n // 3 + 1)


def tolerated(n: int, k: int) -> int:
    """How many of `n` witnesses may lie while no two histories have `k` cosigners each; -1, if it takes no liar."""
    return max(2 * k - n, 0) - 1


def is_own(log: Key, witness: Key) -> bool:
    """Whether the witness is the log's own node: it would say anything about it."""
    return witness.public == log.public or witness.name in (log.name, cosigner_of(log.name))


def shown(name: str) -> str:
    """A name of a policy as text, whatever its octets are."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


# A group that needs k of n members, whose numbers are sorted.


def _reaches(needs: int, members: list[int]) -> int:
    return int(sum(members) >= needs)


def _to_fork(needs: int, members: list[int]) -> int:
    """How many liars it takes to witness two histories.

    A member that does not lie takes part in one of them, and which one is free.  2k parts are wanted and n members
    have one each, so 2k - n must have both; groups have no witness in common, so the cheapest will do.
    """
    return sum(members[: max(0, 2 * needs - len(members))])


def _to_silence(needs: int, members: list[int]) -> int:
    return sum(members[: len(members) - needs + 1])


class _Reading:
    """A policy, line by line."""

    def __init__(self) -> None:
        self._logs: list[Log] = []
        self._witnesses: list[Witness] = []
        self._groups: list[Group] = []
        self._quorum = ""
        self._free: dict[str, bool] = {}  # names, and whether they are in no group yet

    def line(self, words: list[str]) -> None:
        match words:
            case ["log", vkey]:
                self._log(Log(Key.decode(vkey)))
            case ["log", vkey, url]:
                self._log(Log(Key.decode(vkey), url))
            case ["witness", name, vkey]:
                self._witness(Witness(name, Key.decode(vkey)))
            case ["witness", name, vkey, url]:
                self._witness(Witness(name, Key.decode(vkey), url))
            case ["group", name, needs, *members] if members:
                self._group(Group(name, _needs(needs, len(members)), tuple(members)))
            case ["quorum", name]:
                if self._quorum:
                    raise WireError("there is a quorum already")
                if name != NONE and name not in self._free:
                    raise WireError("the quorum is not defined before this line")
                self._quorum = name
            case _:
                raise WireError("it is no log, witness, group or quorum, or has other parts")

    def policy(self) -> Policy:
        if not self._quorum:
            raise WireError("the policy has no quorum")
        return Policy(tuple(self._logs), tuple(self._witnesses), tuple(self._groups), self._quorum)

    def _log(self, log: Log) -> None:
        _require_key(log.key, [each.key for each in self._logs], LOG_TYPES)
        self._logs.append(log)

    def _witness(self, witness: Witness) -> None:
        _require_key(witness.key, [each.key for each in self._witnesses], WITNESS_TYPES)
        self._define(witness.name)
        self._witnesses.append(witness)

    def _group(self, group: Group) -> None:
        if len(self._groups) == EACH_MAX:
            raise WireError(f"there are more than {EACH_MAX} groups")
        for name in group.members:
            if not self._free.get(name):
                raise WireError("a member is not defined before this line, or is a member already")
            self._free[name] = False
        self._define(group.name)
        self._groups.append(group)

    def _define(self, name: str) -> None:
        if name == NONE or name in self._free:
            raise WireError("the name is taken")
        self._free[name] = True


def _require_key(key: Key, others: list[Key], types: Sequence[Algorithm]) -> None:
    if len(others) == EACH_MAX:
        raise WireError(f"there are more than {EACH_MAX} of them")
    if key.algorithm not in types:
        raise WireError("a key of that type does not sign that")
    if any(other.public == key.public for other in others):
        raise WireError("the key is there already")
    if any((other.name, other.id) == (key.name, key.id) for other in others):
        raise WireError("another key has the same name and ID")


def _needs(word: str, size: int) -> int:
    if word in ("any", "all"):
        return 1 if word == "any" else size
    if not _COUNT.fullmatch(word) or not 1 <= int(word) <= size:
        raise WireError(f"a group of {size} needs all, any, or from 1 to {size} of them")
    return int(word)
