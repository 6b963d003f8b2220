"""Real nodes that keep logs, cosign for each other, and say after a kill what they said before it."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

import pytest
from daemons import Daemon, Federation, put
from reading import Keys, cosigners_of, entries_of, fetch, head_of, keys_of, kinds, page, until
from running import running

from waypost.ledger.checkpoint import Head, read_head
from waypost.ledger.entry import Kind

NODES: Final = 3
ROUND_S: Final = 1
RNG: Final = Random(6)
COMMIT: Final = Kind.COMMIT.value


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    federation = Federation(tmp_path_factory.mktemp("nodes"), NODES, ledger__round_s=ROUND_S)
    try:
        asyncio.run(federation.found())
        yield federation
    finally:
        federation.end()


def http(daemon: Daemon) -> str:
    assert daemon.node is not None
    return daemon.node.http


def all_keys(federation: Federation) -> dict[str, Keys]:
    return {daemon.name: keys_of(http(daemon)) for daemon in federation.daemons}


def claim(federation: Federation, daemon: Daemon, key: str) -> None:
    record = federation.operator.record(("names", key), 1, "", "on", daemon.name, RNG)
    status, answer = asyncio.run(put(daemon, record))
    assert status == 200, answer


def cosigned_head(daemon: Daemon, keys: dict[str, Keys], least: int = 1) -> Head:
    """That of the node with at least so many entries and the cosignatures of all others, once it is there."""
    others = {name: each.cosigner for name, each in keys.items() if name != daemon.name}

    def whole() -> Head | None:
        head = head_of(http(daemon), keys[daemon.name])
        return head if head and head.size >= least and len(cosigners_of(head, others)) == len(others) else None

    return until(whole)


def commits(daemon: Daemon, head: Head) -> list[bytes]:
    return [entry.body for entry in entries_of(http(daemon), head) if entry.kind is Kind.COMMIT]


def test_each_node_s_head_is_cosigned_by_both_others_within_a_few_rounds(federation: Federation) -> None:
    keys = all_keys(federation)
    assert len({each.hex for each in keys.values()}) == NODES
    for daemon in federation.daemons:
        head = cosigned_head(daemon, keys)
        assert COMMIT in {*kinds(entries_of(http(daemon), head))}


def test_what_is_voted_on_is_in_every_log_and_in_every_mirror_of_it(federation: Federation) -> None:
    keys = all_keys(federation)
    claim(federation, federation[2], "lamp")
    for daemon in federation.daemons:

        def logged(daemon: Daemon = daemon) -> Head | None:
            head = cosigned_head(daemon, keys)
            return head if any(b'"lamp"' in body for body in commits(daemon, head)) else None

        head = until(logged)
        for other in federation.daemons:
            if other is daemon:
                continue
            below = f"mirror/{keys[daemon.name].hex}/"

            def mirrored(other: Daemon = other, below: str = below, least: int = head.size) -> Head | None:
                status, body = fetch(f"{http(other)}/log/{below}checkpoint")
                return read_head(body) if status == 200 and read_head(body).size >= least else None

            entries = entries_of(http(other), until(mirrored), below)
            assert entries[: head.size] == entries_of(http(daemon), head)


def test_the_heads_of_others_that_were_cosigned_are_entries(federation: Federation) -> None:
    keys = all_keys(federation)
    for daemon in federation.daemons:

        def linked(daemon: Daemon = daemon) -> bool | None:
            entries = entries_of(http(daemon), cosigned_head(daemon, keys))
            heads = [read_head(entry.body) for entry in entries if entry.kind is Kind.PEER_HEAD]
            others = {each.log.name for name, each in keys.items() if name != daemon.name}
            return {head.origin for head in heads} == others or None

        until(linked)


def test_a_witness_shows_the_head_that_it_cosigned_last(federation: Federation) -> None:
    keys = all_keys(federation)
    first, second, _ = federation.daemons
    head = cosigned_head(first, keys)
    shown = read_head(page(http(second), f"witness/{keys[first.name].hex}/checkpoint"))
    assert shown.size >= head.size
    assert cosigners_of(shown, {second.name: keys[second.name].cosigner}) == {second.name}


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_node_that_was_away_goes_on_with_the_log_that_it_had(federation: Federation, how: str) -> None:
    keys = all_keys(federation)
    third = federation[3]
    before = cosigned_head(third, keys)
    had = entries_of(http(third), before)
    getattr(third, how)()
    claim(federation, federation[1], f"while-{how}")
    third.start()
    assert keys_of(http(third)) == keys[third.name]

    def grown() -> Head | None:
        head = cosigned_head(third, keys, before.size)
        return head if any(f'"while-{how}"'.encode() in body for body in commits(third, head)) else None

    after = until(grown)
    assert entries_of(http(third), after)[: before.size] == had


def test_nodes_that_are_idle_do_not_feed_each_other(federation: Federation) -> None:
    """A link is an entry, and must not be what the next round is for."""
    keys = all_keys(federation)
    for daemon in federation.daemons:
        cosigned_head(daemon, keys)
    time.sleep(2 * ROUND_S)
    before = [cosigned_head(daemon, keys).size for daemon in federation.daemons]
    time.sleep(3 * ROUND_S)
    assert [cosigned_head(daemon, keys).size for daemon in federation.daemons] == before


def test_who_is_no_node_tells_of_no_heads_and_gets_no_cosignature_for_a_log_of_nobody(federation: Federation) -> None:
    base = f"{http(federation[1])}/log/"
    assert fetch(base + "heads", b"[]")[0] in (404, 405)
    assert fetch(base + "evidence", b"x")[0] in (404, 405)
    assert fetch(base + "add-checkpoint", b"")[0] == 400
    head = b"nobody\n1\n" + b"A" * 43 + b"=\n\n\xe2\x80\x94 nobody " + b"A" * 90 + b"==\n"
    assert fetch(base + "add-checkpoint", b"old 0\n\n" + head)[0] == 404


def test_a_directory_with_a_log_of_its_own_begins_it_alone(tmp_path: Path) -> None:
    """Nobody is there to cosign, and the log is signed and served all the same."""
    with running(tmp_path, ledger__round_s=1, ledger__origin="registry.example/log") as node:
        keys = keys_of(node.http)
        assert keys.log.name == "registry.example/log"
        head = until(lambda: head_of(node.http, keys))
        had = entries_of(node.http, head)
    with running(tmp_path, ledger__round_s=1, ledger__origin="registry.example/log") as node:
        assert keys_of(node.http) == keys
        again = until(lambda: head_of(node.http, keys))
        assert entries_of(node.http, again)[: head.size] == had
