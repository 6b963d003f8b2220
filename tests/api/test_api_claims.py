"""Both clients about voted records: what is claimed is read, listed, watched and checked."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, closing
from typing import Final

import pytest
from lone import CREATOR, NETWORK, Lone, made
from people import WALL_MS, key_of, public_of
from serving import Api, serving

from waypost.api import claims
from waypost.api.calls import RefusedError
from waypost.api.client import Client
from waypost.api.sync import SyncClient
from waypost.api.voted import Next
from waypost.record import Place, Record

PLACE: Final = ("names", "floor-1/lamp")
FIRST: Final = made("1", place=PLACE)
SECOND: Final = made("2", FIRST, place=PLACE, txid=2)


@pytest.fixture
def node() -> Lone:
    return Lone()


@pytest.fixture
def api(node: Lone) -> Iterator[Api]:
    with serving(node.ask, rows=node) as api:
        yield api


def drafted(next: Next, place: Place = PLACE, value: str | None = "x", txid: int = 7) -> Record:
    key = key_of(CREATOR)
    author = key.public_key().public_bytes_raw()
    return claims.next_version(
        next,
        place,
        value,
        author=author,
        sign=key.sign,
        holder=author.hex(),
        wall_ms=WALL_MS,
        txid=f"{txid:032x}",
    )


def test_a_record_is_made_of_what_a_refusal_and_what_a_read_say(api: Api) -> None:
    with SyncClient(api.url) as client:
        with pytest.raises(RefusedError) as error:
            client.record(*PLACE)
        missing = claims.contested(error.value)
        assert error.value.code == 404
        assert missing is not None
        assert missing.next is not None
        first = drafted(missing.next)
        assert client.claim(first).state == "committed"
        second = drafted(client.record(*PLACE).next, value=None, txid=8)
        assert client.claim(second).state == "committed"
        standing = client.record(*PLACE, quorum=True)
        assert (standing.record, standing.next.version) == (second, 3)
        assert client.outcome(*PLACE, 1, first.txid).state == "committed"


def test_the_synchronous_client_reads_lists_and_watches(api: Api, node: Lone) -> None:
    node.put(FIRST, SECOND, made("x", place=("names", "door")))
    with SyncClient(api.url) as client:
        assert [item.record for item in client.history(*PLACE, count=1)] == [FIRST, SECOND]
        assert [item.record.key for item in client.records(count=1)] == ["door", "floor-1/lamp"]
        assert [item.record for item in client.records("names", "floor-1/")] == [SECOND]
        with closing(client.changes("names", "floor")) as events:
            event = next(events)
            assert (event.event, event.record) == ("put", SECOND)
            assert next(events).event == "synced"
        assert client.peers().network == NETWORK
        assert client.votes().total == 0


def test_the_asynchronous_client_does_the_same(api: Api, node: Lone) -> None:
    node.put(made("x", place=("names", "door")))

    async def tell() -> None:
        async with Client(api.url) as client:
            assert (await client.claim(FIRST)).state == "committed"
            assert (await client.claim(SECOND)).state == "committed"
            assert (await client.record(*PLACE)).record == SECOND
            assert (await client.outcome(*PLACE, 1, FIRST.txid)).state == "committed"
            assert [item.record async for item in client.history(*PLACE, count=1)] == [FIRST, SECOND]
            assert [item.record.key async for item in client.records(count=1)] == ["door", "floor-1/lamp"]
            async with aclosing(client.changes("names", "floor")) as events:
                assert (await anext(events)).record == SECOND
            assert (await client.peers()).network == NETWORK
            assert (await client.votes()).total == 0

    asyncio.run(tell())


@pytest.mark.parametrize("key", ["..", ".", "a/../b", "%2F", "a b", "é", "?x#y"])
def test_both_clients_mean_the_key_that_they_are_given(api: Api, node: Lone, key: str) -> None:
    record = made("x", place=("names", key))

    async def tell() -> None:
        async with Client(api.url) as client:
            assert (await client.claim(record)).state == "committed"
            assert (await client.record("names", key)).record == record

    asyncio.run(tell())
    with SyncClient(api.url) as client:
        assert client.record("names", key).record == record


def test_a_lost_claim_is_an_error_that_says_who_holds_it(api: Api, node: Lone) -> None:
    node.put(FIRST)
    with SyncClient(api.url) as client:
        with pytest.raises(RefusedError) as error:
            client.claim(made("mine", place=PLACE, txid=9))
        lost = claims.contested(error.value)
        assert error.value.code == 412
        assert lost is not None
        assert lost.current is not None
        assert (lost.state, lost.current.record.holder) == ("lost", public_of(CREATOR))


def test_who_only_reads_is_not_made_to_wait_and_who_claims_is() -> None:
    assert claims.record(PLACE, quorum=False).slow_s == 0
    assert (
        claims.record(PLACE, quorum=True).slow_s
        == claims.claim(FIRST).slow_s
        == claims.outcome(PLACE, 1, FIRST.txid).slow_s
        > 10
    )
    assert claims.claim(FIRST).repeatable
