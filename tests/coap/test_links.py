"""CoRE Link Format: the specifications' examples, and any bytes at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.coap.links import (
    ATTRIBUTES_MAX,
    LINKS_MAX,
    NAME_MAX,
    TARGET_MAX,
    VALUE_MAX,
    Link,
    filter_links,
    is_limited,
    origin,
    parse,
    require_limited,
    resolve,
    serialise,
)
from waypost.errors import WireError

TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=20)
NAMES = st.sampled_from(("rt", "if", "ct", "sz", "obs", "title*", "x-y")) | st.from_regex(
    "[a-z][a-z0-9]{0,9}", fullmatch=True
)
ATTRIBUTES = st.lists(st.tuples(NAMES.filter(lambda name: name != "anchor"), st.none() | TEXT), max_size=5).map(tuple)
LINKS = st.lists(st.builds(Link, st.from_regex("/[!#-;=?-~]{0,20}", fullmatch=True), ATTRIBUTES), max_size=5)


def test_an_example_of_the_specification_is_read() -> None:
    """RFC 6690, 5."""
    document = b'</sensors/temp>;rt="temperature-c";if="sensor",</t>;anchor="/sensors/temp";rel="alternate";sz=12;obs'
    assert parse(document) == [
        Link("/sensors/temp", (("rt", "temperature-c"), ("if", "sensor"))),
        Link("/t", (("anchor", "/sensors/temp"), ("rel", "alternate"), ("sz", "12"), ("obs", None))),
    ]
    assert serialise(parse(document)) == document


def test_quotes_make_no_difference_and_escapes_are_undone() -> None:
    """RFC 6690, 2."""
    assert parse(b"</a>;ct=40;t=x") == parse(b'</a>;ct="40";t="x"')
    assert parse(rb'</a>;title="a\"b\\c;,"') == [Link("/a", (("title", 'a"b\\c;,'),))]


def test_an_empty_value_and_none_are_two_things() -> None:
    """RFC 6690, 2: a link-extension has a value, perhaps an empty one, or has none."""
    assert parse(b'</a>;obs,</b>;obs=""') == [Link("/a", (("obs", None),)), Link("/b", (("obs", ""),))]


def test_long_attributes_are_read_like_short_ones() -> None:
    """Only short texts are remembered."""
    document = b"</a>" + b"".join(b';n%d="%s"' % (number, b"v" * 40) for number in range(20))
    assert parse(document) == [Link("/a", tuple((f"n{number}", "v" * 40) for number in range(20)))]


def test_spaces_and_line_ends_around_separators_are_passed_over() -> None:
    assert parse(b'</a> ; rt = "x y" ,\r\n\t</b>\n') == [Link("/a", (("rt", "x y"),)), Link("/b", ())]


def test_an_empty_document_has_no_links() -> None:
    assert parse(b"") == parse(b" \r\n") == []


@pytest.mark.parametrize(
    "document",
    [
        b"x", b"</a", b"</a>,", b",</a>", b"</a>;", b'</a>;rt="x', b"</a>;=x", b"</a>;rt=", b"</a>x", b"</a b>",
        b"\xff",
        b'</a>;anchor="/x";anchor="/y"', b"</a>;anchor", b'</a>;anchor="/x y"', b'</a>;rt="\x01"', b"<\xc3\xa9>",
    ],
)  # fmt: skip
def test_what_is_no_link_format_is_refused(document: bytes) -> None:
    with pytest.raises(WireError):
        parse(document)


@pytest.mark.parametrize(
    "document",
    [
        b",".join([b"</a>"] * (LINKS_MAX + 1)),
        b"</a>" + b";a" * (ATTRIBUTES_MAX + 1),
        b"</" + b"a" * TARGET_MAX + b">",
        b"</a>;" + b"a" * (NAME_MAX + 1),
        b"</a>;a=" + b"a" * (VALUE_MAX + 1),
    ],
)
def test_each_limit_is_held(document: bytes) -> None:
    with pytest.raises(WireError, match=r"more than|over"):
        parse(document)


@given(LINKS)
def test_links_survive_the_wire(links: list[Link]) -> None:
    assert parse(serialise(links)) == links


@given(st.binary() | st.text('</>;,="\\ abc', max_size=60).map(str.encode))
def test_any_bytes_are_links_or_raise_wire_error(data: bytes) -> None:
    try:
        links = parse(data)
    except WireError:
        return
    assert parse(serialise(links)) == links


@pytest.mark.parametrize("text", ["/", "/a", "coap://h/a", "urn:x", "a+b-c.d:"])
def test_a_scheme_or_exactly_one_slash_is_limited_link_format(text: str) -> None:
    """RFC 9176, appendix C."""
    assert is_limited(text)
    require_limited([Link(text, (("anchor", text),))])


@pytest.mark.parametrize("text", ["", "a", "//h/a", "../a", "?q", "#f", "1a:b", "a/b:c"])
def test_any_other_reference_is_not(text: str) -> None:
    """RFC 9176, appendix C."""
    assert not is_limited(text)
    with pytest.raises(WireError, match="target"):
        require_limited([Link(text, ())])
    with pytest.raises(WireError, match="anchor"):
        require_limited([Link("/", (("anchor", text),))])


@pytest.mark.parametrize(
    ("query", "targets"),
    [
        ([], ["/a", "/b"]),
        (["rt=core.rd"], ["/a"]),
        (["rt=core.rd*"], ["/a", "/b"]),
        (["rt=y"], ["/b"]),
        (["rt=core.rd x y"], []),
        (["href=/b"], ["/b"]),
        (["href=/*"], ["/a", "/b"]),
        (["obs"], ["/b"]),
        (["ct=40", "rt=y"], ["/b"]),
        (["ct=40", "obs=x"], []),
        (["nothing=*"], []),
    ],
)
def test_a_filter_is_exact_or_a_prefix_and_looks_into_lists(query: list[str], targets: list[str]) -> None:
    """RFC 6690, 4.1."""
    links = [
        Link("/a", (("rt", "core.rd"), ("ct", "40"))),
        Link("/b", (("rt", "core.rd-x y"), ("ct", "40"), ("obs", None))),
    ]
    assert [link.href for link in parse(filter_links(links, query))] == targets


@pytest.mark.parametrize(
    ("reference", "uri"),
    [
        ("g:h", "g:h"), ("g", "S://a/b/c/g"), ("./g", "S://a/b/c/g"), ("g/", "S://a/b/c/g/"), ("/g", "S://a/g"),
        ("//g", "S://g"), ("?y", "S://a/b/c/d;p?y"), ("g?y", "S://a/b/c/g?y"), ("#s", "S://a/b/c/d;p?q#s"),
        ("g#s", "S://a/b/c/g#s"), ("g?y#s", "S://a/b/c/g?y#s"), (";x", "S://a/b/c/;x"), ("g;x", "S://a/b/c/g;x"),
        ("", "S://a/b/c/d;p?q"), (".", "S://a/b/c/"), ("./", "S://a/b/c/"), ("..", "S://a/b/"), ("../", "S://a/b/"),
        ("../g", "S://a/b/g"), ("../..", "S://a/"), ("../../", "S://a/"), ("../../g", "S://a/g"),
        ("../../../g", "S://a/g"), ("/./g", "S://a/g"), ("/../g", "S://a/g"), ("g.", "S://a/b/c/g."),
        (".g", "S://a/b/c/.g"), ("g..", "S://a/b/c/g.."), ("./../g", "S://a/b/g"), ("./g/.", "S://a/b/c/g/"),
        ("g/./h", "S://a/b/c/g/h"), ("g/../h", "S://a/b/c/h"), ("g;x=1/../y", "S://a/b/c/y"),
        ("g?y/../x", "S://a/b/c/g?y/../x"), ("g#s/../x", "S://a/b/c/g#s/../x"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["http", "coap", "coaps", "coap+tcp", "x-new"])
def test_references_resolve_as_the_specification_shows(scheme: str, reference: str, uri: str) -> None:
    """RFC 3986, 5.4, whose base is S://a/b/c/d;p?q."""
    assert resolve(f"{scheme}://a/b/c/d;p?q", reference) == uri.replace("S:", scheme + ":")


def test_a_base_without_a_path_gets_its_slash() -> None:
    """RFC 3986, 5.2.3."""
    assert resolve("coap://h", "x") == resolve("coap://h", "/x") == "coap://h/x"


@pytest.mark.parametrize("uri", ["coap://h:1", "coap://h:1/", "coap://h:1/a/b", "coap://h:1?q", "coap://h:1#f"])
def test_the_origin_ends_with_the_authority(uri: str) -> None:
    assert origin(uri) == "coap://h:1"
