"""A state directory with many registrations, written without a node: over CoAP that takes minutes."""

import time
from pathlib import Path
from random import Random
from uuid import UUID

from waypost.engine import Commit, Put
from waypost.rd.record import Record, key_of
from waypost.storage import Store

BATCH = 10_000  # rows of a transaction
LIFETIME = 86_400  # seconds


def store_fleets(directory: Path, count: int, documents: list[str]) -> None:
    """`count` registrations, as a node that has just taken them would hold them; each has one of `documents`."""
    rng, store = Random(1), Store.open(directory)
    expires_ms = time.time_ns() // 1_000_000 + LIFETIME * 1_500
    try:
        for start in range(0, count, BATCH):
            records = [
                Record(
                    attributes=(),
                    base=f"coap://n{number}.example.net",
                    d=None,
                    ep=f"node{number}",
                    expires_ms=expires_ms,
                    explicit=True,
                    links=documents[number % len(documents)],
                    location=str(UUID(int=rng.getrandbits(128), version=4)),
                    lt=LIFETIME,
                )
                for number in range(start, min(start + BATCH, count))
            ]
            puts = tuple(Put("directory", key_of(None, record.ep), record.encode()) for record in records)
            store.commit([Commit(puts=puts)])
    finally:
        store.close()
