"""Giving, listing and revoking tokens over HTTP, and by the clients."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from embedded import Embedded
from serving import JSON, Api, serving

from waypost import Client, SyncClient
from waypost.errors import ConfigError, RemoteError

CI = {"name": "ci", "roles": ["reader", "device"], "expires_s": 60, "actions": ["look-up"], "sectors": ["floor-1*"]}


@pytest.fixture
def api() -> Iterator[Api]:
    node = Embedded()
    with serving(node.ask, rows=node) as api:
        yield api


def give(api: Api, **more: Any) -> Any:
    return api.ask("POST", "/v1/tokens", msgspec.json.encode(CI | more), JSON)


def test_a_token_is_shown_when_it_is_given_and_never_again(api: Api) -> None:
    given = give(api)
    assert given.status == 201
    assert re.fullmatch("wp_[a-z2-7]{8}_[a-z2-7]{52}", given.json["token"])
    listed = api.ask("GET", "/v1/tokens")
    assert given.json["token"].split("_")[2] not in listed.body.decode()
    (token,) = listed.json["tokens"]
    assert token == {name: value for name, value in given.json.items() if name != "token"}
    assert token == {
        "id": given.json["token"].split("_")[1],
        "name": "ci",
        "roles": ["device", "reader"],
        "actions": ["look-up"],
        "sectors": ["floor-1*"],
        "hosts": [],
        "join": False,
        "created": "2027-01-15T08:00:00Z",
        "expires": "2027-01-15T08:01:00Z",
        "used": None,
    }


def test_a_revoked_token_is_listed_no_more(api: Api) -> None:
    id = give(api).json["id"]
    assert api.ask("DELETE", f"/v1/tokens/{id}").status == 204
    assert api.ask("DELETE", f"/v1/tokens/{id}").status == 404
    assert api.ask("GET", "/v1/tokens").json == {"tokens": []}


@pytest.mark.parametrize(
    ("more", "detail"),
    [
        ({"name": ""}, "$.name"),
        ({"name": "a b"}, "no name"),
        ({"roles": ["king"]}, "$.roles"),
        ({"actions": ["fly"]}, "the actions are"),
        ({"expires_s": 0}, "$.expires_s"),
        ({"expires_s": 10**12}, "lives for 1 to"),
        ({"hosts": ["x"]}, "only a token to join with"),
        ({"sectors": ["\x00" * 300]}, "255 octets"),
        ({"token": "wp_mine"}, "unknown field"),
    ],
)
def test_what_no_token_can_be_is_a_problem(api: Api, more: dict[str, Any], detail: str) -> None:
    answer = give(api, **more)
    assert (answer.status, detail in answer.problem["detail"]) == (400, True), answer
    assert api.ask("GET", "/v1/tokens").json == {"tokens": []}


def test_half_a_surrogate_is_no_sector(api: Api) -> None:
    assert api.ask("POST", "/v1/tokens", rb'{"name": "a", "sectors": ["\ud800"]}', JSON).status == 400


def test_a_node_without_keys_lets_nobody_join(api: Api) -> None:
    assert give(api, join=True, roles=["peer"], actions=[], sectors=[]).status == 503
    assert api.ask("GET", "/v1/join").status == 503


def test_nobody_joins_in_plain(api: Api) -> None:
    body = msgspec.json.encode({"token": "wpj_x", "request": "x"})
    answer = api.ask("POST", "/v1/join", body, JSON)
    assert (answer.status, "TLS" in answer.problem["detail"]) == (403, True)


def test_both_clients_give_list_and_revoke(api: Api) -> None:
    with SyncClient(api.url) as client:
        given = client.create_token("one", roles=["reader"], actions=["read"])
        assert [token.name for token in client.tokens()] == ["one"]
        client.revoke_token(given.id)

    async def story() -> None:
        async with Client(api.url) as client:
            given = await client.create_token("two", expires_s=60)
            assert [token.id for token in await client.tokens()] == [given.id]
            await client.revoke_token(given.id)
            assert await client.tokens() == ()
            with pytest.raises(RemoteError, match="no token of this id"):
                await client.revoke_token(given.id)

    asyncio.run(story())


@pytest.mark.parametrize("url", ["http://192.0.2.1:1", "http://node.example", "http://[2001:db8::1]:1"])
def test_a_token_is_not_sent_in_plain_to_another_machine(url: str) -> None:
    with pytest.raises(ConfigError, match="not sent over plain HTTP"), SyncClient(url, token="wp_x") as client:
        client.status()

    async def story() -> None:
        async with Client(url, token="wp_x") as client:
            await client.status()

    with pytest.raises(ConfigError, match="not sent over plain HTTP"):
        asyncio.run(story())


def test_a_client_shows_its_token_nowhere() -> None:
    client = SyncClient("http://127.0.0.1:1", token="wp_secret")
    assert "secret" not in repr(client)


@pytest.mark.parametrize("url", ["unix://", "unix://host/path", "unix:///x?y", "ftp://x"])
def test_a_url_that_is_none_of_a_node_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="URL of a node"):
        SyncClient(url)


def test_roots_that_cannot_be_read_are_an_error_that_names_the_file() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.crt"):
        SyncClient("https://127.0.0.1:1", ca="nowhere.crt")
