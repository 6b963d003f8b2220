"""A judge of blocks of numbers, and what an observer makes of them by itself: I11, active allocations are prefix-free.

A key of the namespace "blocks" is a prefix; its value lists what of it is given on, "11@0 123@4": the block 11 may be
made as its first version, 123 as its fifth.  Nothing listed is a prefix of anything else listed.  A block is made by
the holder of the one above it, citing the version that lists it; a listed block is struck off, or listed anew, by
citing the version in which it was given back, a tombstone.  So no two votes on two keys, each fair as its voters saw
it, come to a double allocation: what allows one of them is over where the other holds.

Source: notes on DRiP, 2.4 (a), 4.4 (ranges).
"""

from collections.abc import Mapping

from waypost.drip.judge import ALLOWED, Holders, Verdict
from waypost.record import Place, Record

BLOCKS = "blocks"
ROOT: Place = (BLOCKS, "1")


def listed(record: Record) -> dict[str, int]:
    """What is given on, and after which version of it."""
    return {key: int(after) for key, _, after in (item.partition("@") for item in (record.value or "").split())}


def listing(blocks: Mapping[str, int]) -> str:
    return " ".join(f"{key}@{after}" for key, after in sorted(blocks.items()))


class Prefixes:
    """Of other namespaces the default judge's word is good."""

    def judge(self, old: Record | None, new: Record, cited: Mapping[Place, Record], wall_ms: int) -> Verdict:
        if new.namespace != BLOCKS:
            return Holders().judge(old, new, cited, wall_ms)
        if new.place == ROOT and old is None:
            return Holders().judge(None, new, cited, wall_ms)
        if old is None or old.value is None:
            return self._made(new, cited)
        if new.author != old.holder:
            return Verdict(False, "only the holder may change it")
        if new.holder != old.holder and not new.taken:
            return Verdict(False, "the new holder has not accepted it")
        if new.value is None:
            return Verdict(not listed(old), "parts of it are given on")
        return self._relisted(old, new, cited)

    def _made(self, new: Record, cited: Mapping[Place, Record]) -> Verdict:
        above = [record for place, record in cited.items() if place[0] == BLOCKS and new.key.startswith(place[1])]
        for parent in above:
            is_listed = listed(parent).get(new.key) == new.version - 1 and new.value == ""
            if is_listed and parent.holder == new.author:
                return ALLOWED
        return Verdict(False, "it cites no version that lists it")

    def _relisted(self, old: Record, new: Record, cited: Mapping[Place, Record]) -> Verdict:
        before, after = listed(old), listed(new)
        if not self.may_stand(new.key, list(after)):
            return Verdict(False, "what it lists is not prefix-free")
        for key in before:
            if before[key] != after.get(key, -1):
                back = cited.get((BLOCKS, key))
                if back is None or back.value is not None or back.version <= before[key]:
                    return Verdict(False, "what it strikes off was not given back")
                if key in after and after[key] != back.version:
                    return Verdict(False, "what it lists anew goes on after the tombstone")
        return ALLOWED

    def may_stand(self, key: str, below: list[str]) -> bool:
        """Whether they are parts of it, and none a part of another."""
        apart = all(one == other or not other.startswith(one) for one in below for other in below)
        return apart and all(each.startswith(key) and each != key for each in below)


class Overlapping(Prefixes):
    """Broken: lets parts overlap."""

    def may_stand(self, key: str, below: list[str]) -> bool:
        return all(each.startswith(key) and each != key for each in below)


class Trusting:
    """Broken: whoever signs may."""

    def judge(self, old: Record | None, new: Record, cited: Mapping[Place, Record], wall_ms: int) -> Verdict:
        return ALLOWED


class Pushing(Prefixes):
    """Broken: a key is anybody's whom its holder names."""

    def judge(self, old: Record | None, new: Record, cited: Mapping[Place, Record], wall_ms: int) -> Verdict:
        if old is not None and new.author == old.holder and new.namespace != BLOCKS:
            return ALLOWED
        return super().judge(old, new, cited, wall_ms)
