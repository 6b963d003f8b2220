"""Reads the logs of real nodes as a stranger does: over plain HTTP, with nothing but the keys in hand."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from waypost.identity.keys import verifies
from waypost.ledger.checkpoint import Head, cosigned_at, read_head, require_signed
from waypost.ledger.entry import Entry, decode
from waypost.ledger.note import Key
from waypost.ledger.tiles import ENTRIES, bundles, decode_bundle
from waypost.ledger.tree import Tree

ANSWER_S = 10.0
WITHIN_S = 15.0

T = TypeVar("T")


@dataclass(frozen=True)
class Keys:
    """Of one node."""

    log: Key
    cosigner: Key

    @property
    def hex(self) -> str:
        """What its log is called elsewhere."""
        return sha256(self.log.name.encode()).hexdigest()


def fetch(url: str, body: bytes | None = None) -> tuple[int, bytes]:
    try:
        with urlopen(Request(url, body), timeout=ANSWER_S) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def page(http: str, path: str) -> bytes:
    """What is at that path below the log of the node there, as it must be."""
    status, body = fetch(f"{http}/log/{path}")
    assert status == 200, (path, status, body)
    return body


def keys_of(http: str) -> Keys:
    _, _, log, cosigner, *_ = page(http, "keys").decode().split("\n")
    return Keys(Key.decode(log), Key.decode(cosigner))


def head_of(http: str, keys: Keys) -> Head | None:
    """The checkpoint, signed; None, there is none yet."""
    status, body = fetch(f"{http}/log/checkpoint")
    if status == 404:
        return None
    head = read_head(body)
    require_signed(head, keys.log, verifies)
    assert head.origin == keys.log.name
    return head


def cosigners_of(head: Head, witnesses: dict[str, Key]) -> set[str]:
    """The names of those that cosigned it, each verified."""
    return {name for name, key in witnesses.items() if cosigned_at(head, key, verifies) is not None}


def entries_of(http: str, head: Head, below: str = "") -> list[Entry]:
    """All of them, whose tree is what the head says; `below` as in mirror/…/."""
    data: list[bytes] = []
    for bundle in bundles(0, head.size):
        assert bundle.level == ENTRIES
        data += decode_bundle(page(http, below + bundle.path), bundle.width)
    tree = Tree()
    tree.extend(data)
    assert tree.root() == head.root
    return [decode(each) for each in data]


def kinds(entries: list[Entry]) -> Iterator[str]:
    for entry in entries:
        assert entry.kind is not None
        yield entry.kind.value


def until(holds: Callable[[], T | None], within_s: float = WITHIN_S) -> T:
    end = time.monotonic() + within_s
    while (found := holds()) is None:
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.05)
    return found
