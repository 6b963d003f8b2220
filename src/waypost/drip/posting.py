"""What the organs of the mesh have to say, put together for each node: what may be large goes alone."""

from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from waypost.drip.messages import MESSAGES_MAX
from waypost.drip.plumtree import Plumtree
from waypost.drip.rumours import (
    IDS_MAX,
    PROOFS_MAX,
    Graft,
    Have,
    News,
    Page,
    Prune,
    Pulled,
    Rumour,
    Whisper,
    size_of,
    spread_of,
)
from waypost.record import Proof

T = TypeVar("T")

SPREAD_OCTETS_MAX: Final = 384 << 10  # of the records in one message
SPREAD_RECORDS_MAX: Final = 256
GRAFTS_MAX: Final = 128  # ids in one message: they cost an allowance most


def take_whispers(tree: Plumtree[News], said: Iterable[tuple[str, Rumour]]) -> list[Whisper]:
    """What waits in the tree's queues, which are empty then, and what else was said to whom."""
    light: dict[str, list[Rumour]] = {}
    heavy: list[Whisper] = []
    for node, news in tree.pushes.items():
        heavy.extend(Whisper(node, (spread_of(batch),)) for batch in _batches(news))
    for node, ids in tree.names.items():
        light.setdefault(node, []).extend(Have(tuple(part)) for part in _parts(ids, IDS_MAX))
    for node, ids in tree.grafts.items():
        light.setdefault(node, []).extend(Graft(tuple(part)) for part in _parts(ids, GRAFTS_MAX))
    for node in tree.prunes:
        light.setdefault(node, []).append(Prune())
    tree.pushes, tree.names, tree.grafts, tree.prunes = {}, {}, {}, {}
    for node, message in said:
        if isinstance(message, Page | Pulled):
            heavy.append(Whisper(node, (message,)))
        else:
            light.setdefault(node, []).append(message)
    for node, messages in light.items():
        heavy.extend(Whisper(node, tuple(part)) for part in _parts(messages, MESSAGES_MAX))
    return heavy


def _parts(items: list[T], size: int) -> list[list[T]]:
    return [items[place : place + size] for place in range(0, len(items), size)]


def _batches(many: list[News]) -> Iterator[list[News]]:
    batch: list[News] = []
    octets = proofs = 0
    for news in many:
        size, is_proof = size_of(news), isinstance(news, Proof)
        full = octets + size > SPREAD_OCTETS_MAX or len(batch) >= SPREAD_RECORDS_MAX or proofs + is_proof > PROOFS_MAX
        if batch and full:
            yield batch
            batch, octets, proofs = [], 0, 0
        batch.append(news)
        octets += size
        proofs += is_proof
    if batch:
        yield batch
