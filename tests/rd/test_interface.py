"""The directory on CoAP: requests to questions, outcomes to responses."""

import pytest
from carried import Carried, register
from hypothesis import given
from hypothesis import strategies as st

from waypost.coap.links import filter_links, parse
from waypost.coap.numbers import LINK_FORMAT, TEXT_PLAIN, Code
from waypost.coap.request import Request, Response
from waypost.engine import Endpoint, Path
from waypost.identity import ANONYMOUS
from waypost.rd.interface import RESOURCES, implicit_base, question, response
from waypost.rd.questions import (
    Busy,
    Found,
    Kind,
    Lookup,
    Outcome,
    Read,
    Reason,
    Refused,
    Register,
    Registered,
    Remove,
    Removed,
    Renew,
    Renewed,
)


def path_of(host: str = "2001:db8::9", port: int = 5683, transport: str = "udp") -> Path:
    return Path(transport, Endpoint(host, port), Endpoint("2001:db8::1", 5683), 1, ANONYMOUS, validated=False)


def asked(
    method: int, path: str, *query: str, payload: bytes = b"", ct: int | None = None, accept: int | None = None
) -> object:
    return question(Request(1, method, tuple(path.split("/")), query, payload, ct, accept), path_of())


def refusal(outcome: object) -> int:
    assert isinstance(outcome, Response), outcome
    assert outcome.payload, "a diagnostic"
    return outcome.code


def test_a_registration_is_read() -> None:
    """RFC 9176, 5."""
    assert asked(Code.POST, "rd", "ep=a", "d=x", "lt=5", "base=coap://h", "et=y", payload=b"</a>", ct=40) == Register(
        "a", "x", 5, "coap://h", "coap://[2001:db8::9]", (("et", "y"),), b"</a>", "2001:db8::9"
    )
    assert asked(Code.POST, "rd/", "ep=a") == Register(
        "a", None, 90_000, None, "coap://[2001:db8::9]", (), b"", "2001:db8::9"
    )


def test_updates_removals_and_reads_are_read() -> None:
    """RFC 9176, 5.3."""
    base = "coap://[2001:db8::9]"
    assert asked(Code.POST, "reg/x", "lt=5", "et=y") == Renew("x", 5, None, base, (("et", "y"),), "2001:db8::9")
    assert asked(Code.DELETE, "reg/x") == Remove("x", "2001:db8::9")
    assert asked(Code.GET, "reg/x", accept=LINK_FORMAT) == Read("x")


@pytest.mark.parametrize("path", ["rd-lookup/ep", "rd-lookup/ep/"])
def test_lookups_are_read_with_and_without_a_trailing_slash(path: str) -> None:
    """RFC 9176, 6.2."""
    assert asked(Code.GET, path, "rt=x", "obs", "page=1", "count=2") == Lookup(
        Kind.ENDPOINTS, (("rt", "x"), ("obs", None)), 1, 2
    )


def test_what_is_wrong_is_refused_in_words() -> None:
    """RFC 7252, 5.5.2 and 12.1.2."""
    assert refusal(asked(Code.GET, "rd-lookup/ep", "page=1")) == Code.BAD_REQUEST
    assert refusal(asked(Code.POST, "rd", "ep=a", "lt=x")) == Code.BAD_REQUEST
    assert refusal(asked(Code.POST, "reg/x", payload=b"</a>", ct=40)) == Code.BAD_REQUEST
    assert refusal(asked(Code.POST, "reg/x", "ep=a")) == Code.BAD_REQUEST
    assert refusal(asked(Code.GET, "rd-lookup/xy")) == Code.NOT_FOUND
    assert refusal(asked(Code.GET, "reg")) == Code.NOT_FOUND
    assert refusal(asked(Code.GET, "reg/x/y")) == Code.NOT_FOUND
    assert refusal(asked(Code.GET, "rd")) == Code.METHOD_NOT_ALLOWED
    assert refusal(asked(Code.PUT, "reg/x")) == Code.METHOD_NOT_ALLOWED
    assert refusal(asked(Code.POST, "rd-lookup/res")) == Code.METHOD_NOT_ALLOWED
    assert refusal(asked(Code.GET, "rd-lookup/res", accept=50)) == Code.NOT_ACCEPTABLE
    assert refusal(asked(Code.GET, "reg/x", accept=TEXT_PLAIN)) == Code.NOT_ACCEPTABLE
    assert isinstance(asked(Code.POST, "rd", "ep=a", payload=b"</a>"), Register)
    assert refusal(asked(Code.POST, "rd", "ep=a", ct=50)) == Code.UNSUPPORTED_CONTENT_FORMAT


@pytest.mark.parametrize(
    ("path", "base"),
    [
        (path_of("2001:db8::9"), "coap://[2001:db8::9]"),
        (path_of("2001:db8::9", 61616), "coap://[2001:db8::9]:61616"),
        (path_of("192.0.2.1", 5684), "coap://192.0.2.1:5684"),
        (path_of("::ffff:192.0.2.1"), "coap://192.0.2.1"),
        (path_of("fe80::1%eth0"), "coap://[fe80::1]"),
        (path_of("192.0.2.1", 5684, "dtls"), "coaps://192.0.2.1"),
        (path_of("192.0.2.1", 5683, "tcp"), "coap+tcp://192.0.2.1"),
    ],
)
def test_the_senders_base_has_no_default_port_and_no_zone(path: Path, base: str) -> None:
    """RFC 9176, 5, base; R5."""
    assert implicit_base(path) == base


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Registered("u", created=True), Response(Code.CREATED, location=("reg", "u"))),
        (Registered("u", created=False), Response(Code.CREATED, location=("reg", "u"))),
        (Renewed(), Response(Code.CHANGED)),
        (Removed(), Response(Code.DELETED)),
        (Found(b"</a>"), Response(Code.CONTENT, b"</a>", LINK_FORMAT)),
        (Refused(Reason.BAD_REQUEST, "no"), Response(Code.BAD_REQUEST, b"no")),
        (Refused(Reason.NOT_FOUND, "no"), Response(Code.NOT_FOUND, b"no")),
        (Refused(Reason.TOO_LARGE, "no"), Response(Code.BAD_REQUEST, b"no")),
        (Busy(7, "later"), Response(Code.SERVICE_UNAVAILABLE, b"later", max_age=7)),
    ],
)
def test_outcomes_become_responses(outcome: Outcome, expected: Response) -> None:
    """RFC 9176, 5, 5.3 and 6.2; RFC 7252, 5.9.3.4."""
    assert response(outcome) == expected


def test_one_registration_is_shown_by_its_links() -> None:
    carried = Carried()
    location = carried.location(carried.ask(register(links=b'</a>;rt="x";anchor="/b"')))
    shown = response(carried.ask(Read(location)))
    assert shown.content_format == LINK_FORMAT
    assert shown.payload == b'<coap://[2001:db8::1]/a>;anchor="coap://[2001:db8::1]/b";rt="x"'


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        ("rt=core.rd", ["/rd"]),
        ("rt=core.rd-lookup-ep", ["/rd-lookup/ep"]),
        ("rt=core.rd-lookup-res", ["/rd-lookup/res"]),
        ("rt=core.rd-lookup*", ["/rd-lookup/ep", "/rd-lookup/res", "/rd-lookup/gp"]),
        ("rt=core.rd*", ["/rd", "/rd-lookup/ep", "/rd-lookup/res", "/rd-group", "/rd-lookup/gp"]),
        ("ct=40", ["/rd", "/rd-lookup/ep", "/rd-lookup/res", "/rd-group", "/rd-lookup/gp"]),
        ("rt=other", []),
    ],
)
def test_the_interfaces_are_discovered_by_resource_type(query: str, paths: list[str]) -> None:
    """RFC 9176, 4.3; D1."""
    assert [link.href for link in parse(filter_links(RESOURCES, [query]))] == paths


@given(
    st.integers(1, 7),
    st.sampled_from(["rd", "rd/", "reg", "reg/x", "rd-lookup/ep", "rd-lookup/res", "rd-lookup/", "", "x"]),
    st.lists(st.text(max_size=10) | st.sampled_from(["ep=a", "lt=1", "page=0", "count=1"]), max_size=4),
    st.binary(max_size=10),
    st.none() | st.integers(0, 100),
)
def test_any_request_gets_an_answer(method: int, path: str, query: list[str], payload: bytes, ct: int | None) -> None:
    carried = Carried()
    wanted = asked(method, path, *query, payload=payload, ct=ct)
    if not isinstance(wanted, Response):
        response(carried.ask(wanted))  # type: ignore[arg-type]
