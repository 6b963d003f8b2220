"""What a request says, read by pure functions."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.api import reading, schemas
from waypost.api.problem import Refusal
from waypost.api.schemas import JSON, LINK_FORMAT
from waypost.coap import links
from waypost.rd import parameters
from waypost.rd.questions import Kind


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8480",
        "localhost.",
        "127.0.0.1",
        "127.9.9.9:1",
        "[::1]",
        "[::1]:8480",
        "node.example:80",
        "[2001:DB8::0:1]",
    ],
)
def test_the_loopback_and_given_names_are_served(host: str) -> None:
    assert reading.served(host, {"node.example", "2001:db8::1"})


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.0.2.1",
        "[2001:db8::2]:8480",
        "0.0.0.0",
        "127.1",
        "localhost:x",
        "localhost:80:80",
        "user@localhost",
        "localhost,evil.example",
        "local host",
        "[::1",
        "[::1]x",
    ],
)
def test_any_other_name_is_not(host: str | None) -> None:
    assert not reading.served(host, {"node.example"})


def test_a_query_is_read_in_order_with_repeated_and_bare_names() -> None:
    assert reading.pairs("rt=a+b&obs&&rt=%C3%A9%26&x=") == (("rt", "a b"), ("obs", None), ("rt", "é&"), ("x", ""))


@pytest.mark.parametrize("query", ["ep=%FF", "%C3=1", "ep=\udcff", "&".join(["a"] * (reading.PAIRS_MAX + 1))])
def test_a_query_that_is_not_text_or_too_long_is_refused(query: str) -> None:
    with pytest.raises(Refusal) as refusal:
        reading.pairs(query)
    assert refusal.value.code == 400


def test_a_lookup_is_paged_even_if_nobody_asks() -> None:
    lookup = reading.lookup(Kind.ENDPOINTS, (("et", "lamp"),), structured=True)
    assert (lookup.criteria, lookup.page, lookup.count) == ((("et", "lamp"),), 0, reading.COUNT_DEFAULT)


@pytest.mark.parametrize(
    "query",
    [
        (("page", "1"),),
        (("count", "0x10"),),
        (("count", "1001"),),
        (("count", None),),
        (("count", "1"), ("count", "1")),
        (("page", "-1"), ("count", "1")),
        (("page", "9" * 5000), ("count", "1")),
    ],
)
def test_pages_that_cannot_be_are_refused(query: reading.Pairs) -> None:
    """RFC 9176, 6.2."""
    with pytest.raises(Refusal, match=r"page|count"):
        reading.lookup(Kind.RESOURCES, query, structured=True)


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/link-format", LINK_FORMAT),
        ("Application/Link-Format;q=0.5", LINK_FORMAT),
        ("application/json;q=0.5, application/link-format", LINK_FORMAT),
        ("*/*;q=0.1, application/link-format;q=0.2", LINK_FORMAT),
        ("application/json;q=0, */*", LINK_FORMAT),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
        ("application/json;charset=utf-8", JSON),
    ],
)
def test_the_client_gets_what_it_likes_best(accept: str | None, media: str) -> None:
    """RFC 9110, 12.5.1."""
    assert reading.chosen(accept, (JSON, LINK_FORMAT)) == media


@pytest.mark.parametrize(
    "accept", ["text/html", "application/json;q=0", "*/*;q=0", "*/*;q=nan", "*/*;q=9", ";", "json"]
)
def test_a_client_that_likes_nothing_of_it_is_told_what_there_is(accept: str) -> None:
    with pytest.raises(Refusal, match="application/json") as refusal:
        reading.chosen(accept, (JSON,))
    assert refusal.value.code == 406


@given(st.text(max_size=60))
def test_any_accept_field_chooses_or_is_refused(accept: str) -> None:
    try:
        media = reading.chosen(accept, (JSON, LINK_FORMAT))
    except Refusal:
        return
    assert media in (JSON, LINK_FORMAT)


@given(st.text(max_size=60))
def test_any_host_field_is_judged(host: str) -> None:
    reading.served(host, ())


@pytest.mark.parametrize(
    ("field", "encoding"),
    [(None, None), ("", None), ("text/plain", None), ("application/x-www-form-urlencoded", None), (JSON, "gzip")],
)
def test_a_body_of_another_or_no_type_or_compressed_is_refused(field: str | None, encoding: str | None) -> None:
    """What a page of another origin can send without asking first is among them."""
    with pytest.raises(Refusal) as refusal:
        reading.content_type(field, encoding, (JSON,))
    assert refusal.value.code == 415


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not application/json"),
        (b"{", "not application/json"),
        (b"\xff", "not application/json"),
        (b'{"ep": "\\ud800"}', "not application/json"),
        (b'{"a\xff": 1}', "not application/json"),
        (b"[]", "expected `object`, got `array`"),
        (b"{}", "missing required field `ep`"),
        (b'{"ep": 1}', "expected `str`, got `int` - at `$.ep`"),
        (b'{"ep": ""}', "length >= 1 - at `$.ep`"),
        (b'{"ep": "a", "lt": 0}', ">= 1 - at `$.lt`"),
        (b'{"ep": "a", "lt": 4294967296}', "<= 4294967295 - at `$.lt`"),
        (b'{"ep": "a", "lt": 1.5}', "got `float` - at `$.lt`"),
        (b'{"ep": "a", "lt": 1e999}', "at `$.lt`"),
        (b'{"ep": "a", "atributes": []}', "unknown field `atributes`; did you mean `attributes`?"),
        (b'{"ep": "a", "zzz": 1}', "unknown field `zzz`; there are ep, d, lt, base, attributes, links"),
        (b'{"ep": "a", "attributes": [["x"]]}', "at `$.attributes[0]`"),
        (b'{"ep": "a", "links": ["</x>"]}', "expected `object`, got `str` - at `$.links[0]`"),
        (b'{"ep": "a", "links": [{"href": "/", "achor": ""}]}', "at `$.links[0]`; did you mean `anchor`?"),
        (b'{"ep": "a", "links": ' + b"[" * 100_000, "at `$.links[0]`"),
    ],
)
def test_a_wrong_body_is_told_what_is_wrong_and_where(body: bytes, sentence: str) -> None:
    with pytest.raises(Refusal) as refusal:
        reading.json(body, schemas.Registration)
    assert refusal.value.code == 400
    assert sentence in str(refusal.value)


@given(st.binary())
def test_any_bytes_are_a_body_or_refused(body: bytes) -> None:
    with suppress(Refusal):
        reading.json(body, schemas.Registration)


def test_the_limits_of_bodies_are_the_directorys() -> None:
    for name in ("NAME_OCTETS_MAX", "LIFETIME_DEFAULT", "LIFETIME_MAX", "ATTRIBUTES_MAX"):
        assert getattr(schemas, name) == getattr(parameters, name)
    assert (schemas.LINKS_MAX, schemas.ATTRIBUTES_MAX) == (links.LINKS_MAX, links.ATTRIBUTES_MAX)
