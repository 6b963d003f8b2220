"""Who asks over HTTP: strangers, bearers of tokens, and pages of other origins."""

import asyncio
import http.client
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from embedded import Embedded
from serving import JSON, Api, serving

from waypost.api.asking import FAILURES, Asking
from waypost.identity import OPERATOR
from waypost.identity.anchors import Revoked, Trust
from waypost.identity.credentials import Credentials
from waypost.identity.token import Created, CreateToken, RevokeToken, Shown

LAMP = b'{"ep": "lamp", "base": "coap://lamp"}'


@pytest.fixture
def node() -> Embedded:
    return Embedded()


@pytest.fixture
def api(node: Embedded) -> Iterator[Api]:
    with serving(node.ask, rows=node, identify=Asking(node.ask).identify) as api:
        yield api


def ask(node: Embedded, question: Any) -> Any:
    return asyncio.run(node.ask(question))


def created(node: Embedded, *roles: str, **more: Any) -> Shown:
    outcome = ask(node, CreateToken("ci", roles, OPERATOR, **more))
    assert isinstance(outcome, Created)
    return outcome.shown


def bearer(shown: Shown | str) -> dict[str, str]:
    return {"Authorization": f"Bearer {shown if isinstance(shown, str) else shown.text}"}


def rest(response: http.client.HTTPResponse) -> bytes:
    """What still comes of an answer that breaks off."""
    try:
        return response.read()
    except http.client.IncompleteRead as error:
        return error.partial
    except ConnectionError:
        return b""


def test_whoever_says_nothing_is_a_stranger_on_loopback_too(api: Api) -> None:
    answer = api.ask("GET", "/v1/evictions")
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "anonymous" in answer.problem["detail"]
    assert api.ask("GET", "/v1/endpoints").status == 200


def test_a_bearer_is_the_tokens_holder(api: Api, node: Embedded) -> None:
    assert api.ask("GET", "/v1/evictions", headers=bearer(created(node, "admin"))).status == 200
    refused = api.ask("GET", "/v1/evictions", headers=bearer(created(node, "reader")))
    assert (refused.status, "token:ci" in refused.problem["detail"]) == (403, True)


def test_what_a_bearer_registers_is_remembered_for_the_token(api: Api, node: Embedded) -> None:
    assert api.ask("POST", "/v1/endpoints", LAMP, JSON | bearer(created(node, "device"))).status == 201
    assert api.ask("POST", "/v1/endpoints", LAMP, JSON).status == 403
    assert api.ask("POST", "/v1/endpoints", LAMP, JSON | bearer(created(node))).status == 200, "of the same name"


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_the_scheme_has_no_case(api: Api, node: Embedded, scheme: str) -> None:
    """RFC 9110, 11.1."""
    headers = {"Authorization": f"{scheme} {created(node, 'admin').text}"}
    assert api.ask("GET", "/v1/evictions", headers=headers).status == 200


def test_what_was_wrong_with_a_token_is_not_told(api: Api, node: Embedded) -> None:
    good, short, joins = created(node, "admin"), created(node, "admin", lifetime_s=1), None
    joins = ask(node, CreateToken("n", ("peer",), OPERATOR, pin="ab" * 32)).shown
    gone = created(node, "admin")
    ask(node, RevokeToken(gone.id, OPERATOR))
    node.now += 2.0
    wrong = [
        bearer(Shown(good.id, bytes(32))),
        bearer(Shown("aaaaaaaa", good.secret)),
        bearer(short),
        bearer(gone),
        bearer(joins),
        bearer("nonsense"),
        bearer(""),
        {"Authorization": "Basic YWRtaW46YWRtaW4="},
        {"Authorization": good.text},
    ]
    answers = [api.ask("GET", "/livez", headers=headers) for headers in wrong]
    assert {answer.status for answer in answers} == {401}
    assert len({answer.body for answer in answers}) == 1
    assert api.ask("GET", "/livez", headers=bearer(good)).status == 200


def test_a_token_that_the_trust_file_revokes_is_nobodys(node: Embedded) -> None:
    first, second = created(node, "admin"), created(node, "admin")
    trust = Trust(revoked=Revoked(tokens=frozenset({first.id})))
    asking = Asking(node.ask, lambda: Credentials(b"", b"", trust, {}))
    with serving(node.ask, identify=asking.identify) as api:
        assert api.ask("GET", "/v1/evictions", headers=bearer(first)).status == 401
        assert api.ask("GET", "/v1/evictions", headers=bearer(second)).status == 200


def test_a_wrong_token_makes_nobody_a_stranger(api: Api) -> None:
    """It may be that it was revoked: what a stranger may do is not done in its holder's name."""
    assert api.ask("GET", "/v1/endpoints", headers=bearer("wp_x")).status == 401


def test_wrong_tokens_are_limited_by_source_and_right_ones_are_not(api: Api, node: Embedded) -> None:
    good = created(node, "admin")
    statuses = [api.ask("GET", "/livez", headers=bearer("wp_x")).status for _ in range(FAILURES + 5)]
    assert statuses[: FAILURES - 1] == [401] * (FAILURES - 1)
    assert statuses[-1] == 429
    assert api.ask("GET", "/livez", headers=bearer("wp_x")).headers["Retry-After"] == "1"
    assert api.ask("GET", "/v1/evictions", headers=bearer(good)).status == 200


def test_a_refused_token_is_in_the_log_without_its_secret(
    api: Api, node: Embedded, caplog: pytest.LogCaptureFixture
) -> None:
    good = created(node, "admin")
    wrong = Shown(good.id, bytes(31) + b"x")
    with caplog.at_level(logging.DEBUG):
        api.ask("GET", f"/livez?token={good.text}", headers=bearer(wrong))
    assert "refused 127.0.0.1" in caplog.text
    for shown in (good, wrong):
        assert shown.text.rpartition("_")[2] not in caplog.text


def test_a_token_in_the_url_is_nobodys(api: Api, node: Embedded) -> None:
    good = created(node, "admin")
    assert api.ask("GET", f"/v1/evictions?access_token={good.text}").status == 401


def test_two_tokens_in_one_request_are_none(api: Api, node: Embedded) -> None:
    good = created(node, "admin").text
    connection = http.client.HTTPConnection(api.host, api.port, timeout=20)
    connection.putrequest("GET", "/v1/evictions")
    connection.putheader("Authorization", f"Bearer {good}")
    connection.putheader("Authorization", f"Bearer {good}")
    connection.endheaders()
    assert connection.getresponse().status in (400, 401)
    connection.close()


def test_a_stream_ends_when_its_token_is_revoked(api: Api, node: Embedded) -> None:
    shown = created(node, "reader")
    connection = http.client.HTTPConnection(api.host, api.port, timeout=20)
    connection.request("GET", "/v1/watch", headers=bearer(shown) | {"Accept": "application/jsonl"})
    response = connection.getresponse()
    assert b'"synced"' in response.readline()
    ask(node, RevokeToken(shown.id, OPERATOR))
    assert api.ask("POST", "/v1/endpoints", LAMP, JSON).status == 201
    assert b"lamp" not in rest(response)
    connection.close()


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://[", ""])
def test_a_page_of_another_origin_changes_nothing(api: Api, node: Embedded, origin: str) -> None:
    headers = JSON | bearer(created(node, "admin")) | {"Origin": origin}
    for method, target in (("POST", "/v1/endpoints"), ("DELETE", "/v1/endpoints/x"), ("PATCH", "/v1/endpoints/x")):
        answer = api.ask(method, target, LAMP, headers)
        assert (answer.status, "another origin" in answer.problem["detail"]) == (403, True)
    assert api.ask("GET", "/v1/endpoints").json["endpoints"] == []


def test_a_page_of_the_nodes_own_origin_may(api: Api, node: Embedded) -> None:
    headers = JSON | bearer(created(node, "admin")) | {"Origin": api.url}
    assert api.ask("POST", "/v1/endpoints", LAMP, headers).status == 201
