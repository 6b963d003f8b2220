"""What nodes might say to one another: messages of every kind, made of their types, with values that are near to ours.

A member that means ill has its own key and no other, so it signs what it likes in its own name, and repeats what others
have signed.
"""

from random import Random
from typing import Final, cast, get_args

import msgspec
from msgspec import Struct, inspect

from waypost.drip import parcel
from waypost.drip.envelope import Envelope
from waypost.drip.messages import Admit, Message, Poll, Promise, Restored, VoteCall, Yes
from waypost.drip.parcel import Said
from waypost.drip.rumours import Rumour, Spread
from waypost.errors import WireError
from waypost.record import Ballot, Mark, Matter, Record, Sign, Vote
from waypost.record.gossiped import Gossiped
from waypost.record.vote import cast as signed_mark
from waypost.sim.people import member

KINDS: Final = (*get_args(Message), *get_args(Rumour), Envelope)
TYPES: Final = {kind: inspect.type_info(kind) for kind in KINDS}
EDGES: Final = (0, 1, 1, 1, 2, 2, 3, 7, 1 << 20, (1 << 20) + 1, (1 << 47) - 1, (1 << 53) - 1)
NODES: Final = ("anna", "berta", "carla", "dora", "nobody")
NAMESPACES: Final = ("names", "rd", "_network", "numbers")
KEYS: Final = ("lamp", "roster", "door", "a", "ü", "x" * 255)
TEXTS: Final = ("", "https://berta.example:8481", "on", '{"epoch":2}', "x" * 64)


class Tongue:
    """Says something of every kind, as `name` whose key is behind `sign`; `overheard` is repeated now and then."""

    def __init__(self, rng: Random, name: str, network: str, sign: Sign, wall_ms: int) -> None:
        self._rng = rng
        self._name = name
        self._network = network
        self._sign = sign
        self.wall_ms = wall_ms
        self.overheard: list[Said] = []

    def say(self) -> Said:
        """Something that survives the wire."""
        if self.overheard and self._rng.random() < 0.3:
            return self._answered(self._rng.choice(self.overheard))
        kind = self._rng.choice(KINDS)
        while True:
            made = self._some(TYPES[kind], "")
            try:
                (said,) = parcel.read(b"[" + parcel.spell(self._signed(cast(Struct, made))) + b"]")
            except WireError:  # it would be refused at the door
                continue
            return said

    def body(self) -> bytes:
        """An array of such, or of what is nearly such."""
        count = self._rng.choice((0, 1, 1, 1, 2))
        spelled = [parcel.spell(cast(Struct, self._some(TYPES[self._rng.choice(KINDS)], ""))) for _ in range(count)]
        return b"[" + b",".join(spelled) + b"]"

    def _some(self, type: inspect.Type, field: str) -> object:
        rng = self._rng
        match type:
            case inspect.IntType(ge=least, le=most):
                if field.endswith("_ms") and rng.random() < 0.7:
                    return self.wall_ms + rng.choice((-60_000, -1, 0, 1, 60_000))
                number = rng.choice(EDGES)
                return max(least or 0, min(number, most if most is not None else number))
            case inspect.StrType():
                return self._text(type, field)
            case inspect.BytesType(min_length=least, max_length=most):
                return rng.randbytes(max(least or 0, min(rng.choice((0, 8, 16, 32, 64)), most or 64)))
            case inspect.BoolType():
                return rng.random() < 0.5
            case inspect.NoneType():
                return None
            case inspect.LiteralType(values=values):
                return rng.choice(values)
            case inspect.UnionType(types=types):
                return self._some(rng.choice(types), field)
            case inspect.VarTupleType(item_type=item, min_length=least):
                return tuple(self._some(item, field) for _ in range(max(least or 0, rng.choice((0, 1, 1, 2, 3)))))
            case inspect.TupleType(item_types=items):
                return tuple(self._some(item, field) for item in items)
            case inspect.DictType(key_type=key, value_type=value):
                return {self._some(key, ""): self._some(value, "") for _ in range(rng.randrange(3))}
            case inspect.StructType(cls=cls, fields=fields):
                made = {each.name: self._some(each.type, each.name) for each in fields}
                if cls in (Record, Matter):
                    made["prev"] = "" if made["version"] == 1 else "00" * 32
                return cls(**made)
            case _:
                raise AssertionError(type)

    def _text(self, type: inspect.StrType, field: str) -> str:
        rng = self._rng
        pattern = type.pattern or ""
        if "64" in pattern and "gossiped|voted" not in pattern and "a-f" in pattern and "z" not in pattern:
            return "00" * 32 if rng.random() < 0.5 else rng.randbytes(32).hex()
        if "128" in pattern:
            return "00" * 64
        if "{32}" in pattern:
            return rng.randbytes(16).hex()
        if "gossiped|voted" in pattern:
            return rng.choice(("gossiped/", "voted/")) + rng.choice(NAMESPACES)
        if "[a-z0-9_]" in pattern:
            return rng.choice(NAMESPACES)
        if "A-Za-z0-9" in pattern:
            return rng.choice((*NODES, self._name, self._name))
        if "x00" in pattern:
            return rng.choice(KEYS) if rng.random() < 0.8 else f"key {rng.randrange(100_000)}"
        return rng.choice(TEXTS)[: type.max_length or 64]

    def _signed(self, made: Struct) -> Struct:
        """In its own name, where it may; most of what is not signed is refused early."""
        replace, rng = msgspec.structs.replace, self._rng
        match made:
            case Envelope():
                named = replace(
                    made,
                    sender=self._name,
                    incarnation=1,
                    target=rng.choice(("anna", "anna", "carla", made.target)),
                    count=made.count or 1,
                    sent_ms=self.wall_ms + rng.choice((0, 1, 29_999, 60_000)),
                )
                return named.signed(self._network, self._sign)
            case Yes() | Restored():
                return replace(made, vote=replace(made.vote, mark=self._marked(made.vote.matter)))
            case Spread():
                return replace(made, records=tuple(self._gossiped(record) for record in made.records))
            case Admit():
                return replace(made, member=replace(member(self._name), url=made.member.url))
            case _:
                return made

    def _answered(self, heard: Said) -> Said:
        """What was heard again, or what fits it: a vote, a promise, another ballot."""
        rng, replace = self._rng, msgspec.structs.replace
        ballot = Ballot(1, rng.choice(EDGES), rng.choice((self._name, "anna")))
        match heard:
            case VoteCall() if rng.random() < 0.5:
                matter = Matter.of(heard.record, rng.choice((heard.ballot, ballot)), self._network)
                return Yes(Vote(matter, self._marked(matter)))
            case Poll() if rng.random() < 0.5:
                return Promise(heard.namespace, heard.key, heard.version, heard.ballot, rng.choice(EDGES), None)
            case VoteCall() | Poll():
                return replace(heard, ballot=ballot)
            case _:
                return heard

    def _marked(self, matter: Matter) -> Mark:
        return signed_mark(matter, self._name, 1, self._rng.choice(EDGES), self._network, self._sign)

    def _gossiped(self, record: Gossiped) -> Gossiped:
        own = msgspec.structs.replace(record, node=self._name, incarnation=1, signature="")
        return own.signed(self._network, self._sign)


def bodies(network: str, sign: Sign) -> list[bytes]:
    """One of each kind, and some more, for decoders."""
    tongue = Tongue(Random(1), "berta", network, sign, 1_800_000_000_000)
    return [b"[" + parcel.spell(tongue.say()) + b"]" for _ in range(200)]
