"""What a registration, an update and a lookup may say."""

import pytest
from carried import Carried, register, renew
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import WireError
from waypost.rd.parameters import Parameters, lookup, read, require_registration, split
from waypost.rd.questions import Attributes, Kind, Lookup, Reason, Refused


def test_the_own_parameters_are_told_from_attributes() -> None:
    """RFC 9176, 5."""
    query = ["ep=a", "d=floor", "lt=60", "base=coap://h", "et=x", "et=y", "flag", "empty="]
    attributes = (("et", "x"), ("et", "y"), ("flag", None), ("empty", ""))
    assert read(split(query)) == Parameters("a", "floor", 60, "coap://h", attributes)


def test_con_is_the_old_name_of_base() -> None:
    """Draft -12 of RFC 9176."""
    assert read(split(["ep=a", "con=coap://h"])).base == "coap://h"


@pytest.mark.parametrize(
    "query",
    [
        ["ep=a", "ep=a"], ["base=coap://h", "con=coap://h"], ["lt=1", "lt=1"], ["d=a", "d=b"], ["ep"],
        ["lt="], ["lt=x"], ["lt=-1"], ["lt=1.5"], ["lt=+1"], ["lt= 1"], ["lt=\u0661"], ["lt=12345678901"],
    ],
)  # fmt: skip
def test_a_repeated_or_unreadable_parameter_is_refused(query: list[str]) -> None:
    """RFC 9176, 5."""
    with pytest.raises(WireError):
        read(split(query))


@pytest.mark.parametrize("ep", ["a", "x" * 63, "é" * 31, "node 1/é:ü", "日" * 21])
def test_a_name_has_1_to_63_octets(ep: str) -> None:
    """RFC 9176, 5, ep; R2."""
    require_registration(register(ep))
    require_registration(register(d=ep))


@pytest.mark.parametrize("ep", ["", "x" * 64, "é" * 32, "a\x00", "a\x1f", "a\x7f", "a\x9f", "a\n", "\ud800"])
def test_a_name_that_is_too_long_or_has_control_characters_is_refused(ep: str) -> None:
    """RFC 9176, 5, ep and d; R2 and R3."""
    with pytest.raises(WireError):
        require_registration(register(ep))
    if ep:
        with pytest.raises(WireError):
            require_registration(register(d=ep))


@pytest.mark.parametrize(("lt", "legal"), [(0, False), (1, True), (2**32 - 1, True), (2**32, False), (-5, False)])
def test_a_lifetime_is_1_to_4294967295_seconds(lt: int, legal: bool) -> None:
    """RFC 9176, 5, lt; R4."""
    if legal:
        require_registration(register(lt=lt))
    else:
        with pytest.raises(WireError, match="4294967295"):
            require_registration(register(lt=lt))


@pytest.mark.parametrize(
    "base",
    [
        "coap://h",
        "coaps+tcp://[2001:db8::1]:61616",
        "http://h/path/",
        "coap://192.0.2.1:1",
        "coap://a%20b",
        "coap://u@h",
    ],
)
def test_a_base_is_scheme_and_authority_and_perhaps_a_path(base: str) -> None:
    """RFC 9176, 5, base; R5."""
    require_registration(register(base=base))


@pytest.mark.parametrize(
    "base",
    [
        "", "/a", "coap:", "coap://", "coap:///a", "h", "coap://h?q", "coap://h#f", "coap://h/a?b", "coap://[fe80::1%25eth0]",
        "coap://[fe80::1%eth0]:1", "coap://2001:db8::1", "coap://[::1", "coap://[::1]x", "coap://h/a b", 'coap://h/"',
        "coap://h/<", "coap://h/é", "coap://h\n", "coap://" + "h" * 600,
    ],
)  # fmt: skip
def test_any_other_base_is_refused(base: str) -> None:
    """RFC 9176, 5, base: no query, no fragment, no zone; R5."""
    with pytest.raises(WireError, match="base"):
        require_registration(register(base=base))


@pytest.mark.parametrize("name", ["page", "count", "rt", "href", "anchor"])
def test_what_is_only_of_lookups_is_no_parameter_of_a_registration(name: str) -> None:
    """RFC 9176, 9.3; R6."""
    with pytest.raises(WireError, match="not a parameter"):
        require_registration(register(attributes=((name, "1"),)))


@pytest.mark.parametrize(
    "attributes",
    [
        (("", "x"),),
        (("a b", "x"),),
        (('a"', None),),
        (("é", "x"),),
        (("a" * 65, "x"),),
        (("a", "x" * 513),),
        (("a", "\n"),),
    ],
)
def test_an_attribute_that_no_link_could_carry_is_refused(attributes: Attributes) -> None:
    with pytest.raises(WireError):
        require_registration(register(attributes=attributes))


def test_attributes_are_bounded_over_updates_too() -> None:
    carried = Carried()
    location = carried.location(carried.ask(register(attributes=tuple((f"a{i}", "1") for i in range(20)))))
    more = tuple((f"b{i}", "1") for i in range(20))
    outcome = carried.ask(renew(location, attributes=more))
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.BAD_REQUEST
    assert carried.names("b1=1") == []


def test_a_page_needs_a_count() -> None:
    """RFC 9176, 6.2; L6."""
    assert lookup(Kind.ENDPOINTS, split(["page=2", "count=5", "rt=x", "obs"])) == Lookup(
        Kind.ENDPOINTS, (("rt", "x"), ("obs", None)), 2, 5
    )
    for query in (["page=1"], ["count"], ["count=x"], ["count=-1"], ["page=1", "page=2", "count=1"]):
        with pytest.raises(WireError):
            lookup(Kind.ENDPOINTS, split(query))
    for wrong in (Lookup(Kind.ENDPOINTS, (), 0, 0), Lookup(Kind.ENDPOINTS, (), 1), Lookup(Kind.ENDPOINTS, (), -1, 1)):
        assert isinstance(Carried().ask(wrong), Refused)
    too_many = Lookup(Kind.ENDPOINTS, (("rt", "x"),) * 17)
    assert isinstance(Carried().ask(too_many), Refused)


@given(
    st.builds(
        register,
        st.text(max_size=70),
        st.binary(max_size=30) | st.just(b"</a>"),
        d=st.none() | st.text(max_size=300),
        lt=st.integers(),
        base=st.none() | st.text(max_size=30) | st.just("coap://h/p"),
        attributes=st.lists(st.tuples(st.text(max_size=5), st.none() | st.text(max_size=5)), max_size=3).map(tuple),
        source=st.text(max_size=10),
    )
)
def test_whatever_is_asked_is_registered_or_refused_in_words(question: object) -> None:
    carried = Carried()
    outcome = carried.ask(question)  # type: ignore[arg-type]
    if isinstance(outcome, Refused):
        assert outcome.detail
        assert not carried.rows
    else:
        assert carried.location(outcome)
        assert len(Carried(rows=carried.rows).find(Kind.ENDPOINTS)) == 1


@given(st.lists(st.text(max_size=8), max_size=4))
def test_any_lookup_is_answered_or_refused(query: list[str]) -> None:
    carried = Carried()
    carried.ask(register())
    try:
        question = lookup(Kind.RESOURCES, split(query))
    except WireError:
        return
    carried.ask(question)
