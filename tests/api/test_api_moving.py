"""Evictions, exports and imports over HTTP, against the real directory."""

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from embedded import Embedded
from serving import JSONL, Api, serving

from waypost.api.moving import EXPORTS_MAX, PAGE
from waypost.rd.questions import Busy, Export, Imported, Located

ID = "6f1d3c62-6a3b-4f6e-9d53-0f5f0f4b6c11"


def a_line(ep: str, **more: object) -> bytes:
    return json.dumps({"ep": ep, "base": "coap://lamp", "lt": 100, "links": "</t>;rt=x"} | more).encode() + b"\n"


@pytest.fixture
def node() -> Embedded:
    return Embedded()


@pytest.fixture
def api(node: Embedded) -> Iterator[Api]:
    with serving(node.ask) as api:
        yield api


def load(api: Api, body: bytes, query: str = "") -> Any:
    answer = api.ask("POST", "/v1/import" + query, body, JSONL)
    assert answer.status == 200, answer
    return answer.json


def export(api: Api, query: str = "") -> list[dict[str, Any]]:
    answer = api.ask("GET", "/v1/export" + query)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/jsonl")
    return [json.loads(line) for line in answer.body.splitlines()]


def test_an_export_imported_elsewhere_is_the_same_export(api: Api) -> None:
    lines = b"".join(a_line(f"n{number}", attributes=[["et", "x"], ["on", None]]) for number in range(2 * PAGE + 7))
    assert load(api, lines) == {"imported": 2 * PAGE + 7, "kept": 0, "moved": 0, "errors": []}
    exported = api.ask("GET", "/v1/export").body
    with serving(Embedded().ask) as other:
        assert load(other, exported)["imported"] == 2 * PAGE + 7
        assert other.ask("GET", "/v1/export").body == exported
        assert load(other, exported) == {"imported": 0, "kept": 2 * PAGE + 7, "moved": 0, "errors": []}


def test_an_export_can_be_of_some(api: Api) -> None:
    load(api, a_line("a", links="</t>;rt=lamp") + a_line("b", links="</t>;rt=door"))
    assert [entry["ep"] for entry in export(api, "?rt=la*")] == ["a"]
    assert export(api, "?rt=window") == []


def test_an_empty_directory_is_an_empty_export(api: Api) -> None:
    assert export(api) == []


def test_the_head_of_an_export_has_no_body(api: Api) -> None:
    answer = api.ask("HEAD", "/v1/export")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (b"garbage", "is not application/json"),
        (b"\xff\x00", "is not application/json"),
        (b"[1]", "expected `object`"),
        (b'{"ep": "a"}', "missing required field `base`"),
        (a_line("a", extra=1), "unknown field `extra`"),
        (a_line(""), "length >= 1"),
        (a_line("a", lt=0), ">= 1"),
        (a_line("a", lt=2**32), "<= 4294967295"),
        (a_line("é" * 40), "80 octets"),
        (a_line("a", base="lamp"), "absolute URI"),
        (a_line("a", base="lamp", explicit=False), "absolute URI"),
        (a_line("a", links="<t"), "<target>"),
        (a_line("a", links="</t>" + "," * 70_000), "65536 octets"),
        (a_line("a", links="\ud800"), "is not application/json"),
        (a_line("a", links="<t>"), "leading"),
        (a_line("a", expires_in=0), "its lifetime has passed"),
        (a_line("a", expires_in=-1e300), "its lifetime has passed"),
        (a_line("a", id="7"), "not a UUID"),
        (a_line("a", id="../../v1/status"), "not a UUID"),
        (a_line("a", attributes=[["rt", "x"]]), "not a parameter of a registration"),
        (a_line("a", attributes=[["x", "y"]] * 33), "length <= 32"),
    ],
)
def test_a_line_that_is_wrong_is_named_and_keeps_no_other_out(api: Api, line: bytes, detail: str) -> None:
    result = load(api, a_line("first") + b"\n" + line.strip(b"\n") + b"\r\n" + a_line("last"))
    assert result["imported"] == 2
    ((number, sentence),) = [(error["line"], error["detail"]) for error in result["errors"]]
    assert number == 3
    assert detail in sentence
    assert [entry["ep"] for entry in export(api)] == ["first", "last"]


def test_a_name_that_comes_twice_stays_as_it_came_first(api: Api) -> None:
    assert load(api, a_line("a", links="</1>") + a_line("a", links="</2>"))["kept"] == 1
    assert [entry["links"] for entry in export(api)] == ["</1>"]


def test_an_id_of_another_is_told(api: Api) -> None:
    load(api, a_line("a", id=ID))
    assert load(api, a_line("b", id=ID)) == {"imported": 1, "kept": 0, "moved": 1, "errors": []}


def test_a_rehearsal_imports_nothing(api: Api) -> None:
    assert load(api, a_line("a") + b"x", "?dry_run") == {
        "imported": 1,
        "kept": 0,
        "moved": 0,
        "errors": [
            {"line": 2, "detail": "the body is not application/json: JSON is malformed: invalid character (byte 0)"}
        ],
    }
    assert export(api) == []


def test_a_disk_that_is_behind_slows_the_sender_down_and_a_full_directory_is_told() -> None:
    outcomes: list[object] = [Busy(0, "behind"), Imported("u"), Busy(60, "full")]

    async def ask(question: object) -> object:
        return outcomes.pop(0)

    with serving(ask) as api:
        assert load(api, a_line("a"))["imported"] == 1
        assert load(api, a_line("b"))["errors"] == [{"line": 1, "detail": "full"}]


def test_only_so_many_exports_at_once_and_one_that_ended_makes_room() -> None:
    """Each waits for the directory's answer until the test lets it."""
    gate = threading.Event()

    async def ask(question: object) -> object:
        while not gate.is_set():
            await asyncio.sleep(0.005)
        return Located(())

    with serving(ask) as api:
        waiting = [http.client.HTTPConnection(api.host, api.port, timeout=20) for _ in range(EXPORTS_MAX)]
        for connection in waiting:
            connection.request("GET", "/v1/export")
        heads = [connection.getresponse() for connection in waiting]  # and so the exports are under way
        refused = api.ask("GET", "/v1/export")
        gate.set()
        assert [head.read() for head in heads] == [b""] * EXPORTS_MAX
        for connection in waiting:
            connection.close()
        assert (refused.status, refused.headers["Retry-After"]) == (503, "10")
        assert export(api) == []


def test_an_export_that_breaks_off_is_not_taken_for_the_whole(caplog: pytest.LogCaptureFixture) -> None:
    async def ask(question: object) -> object:
        return Located(("u",)) if not isinstance(question, Export) else None

    with serving(ask) as api, pytest.raises((http.client.IncompleteRead, ConnectionError)):
        api.ask("GET", "/v1/export")
    assert "broke off" in caplog.text


def test_an_evicted_name_is_kept_out_listed_and_let_back_in(api: Api) -> None:
    load(api, a_line("a", id=ID))
    assert api.ask("DELETE", f"/v1/endpoints/{ID}?for_s=3600").status == 204
    (eviction,) = api.ask("GET", "/v1/evictions").json["evictions"]
    assert eviction == {"id": ID, "ep": "a", "d": None, "remaining_s": 3600.0}
    refused = api.ask("POST", "/v1/endpoints?ep=a&base=coap://x", b"", {"Content-Type": "application/link-format"})
    assert (refused.status, refused.headers["Retry-After"]) == (403, "3600")
    assert "evicted" in refused.problem["detail"]
    assert api.ask("DELETE", f"/v1/evictions/{ID}").status == 204
    assert api.ask("DELETE", f"/v1/evictions/{ID}").status == 404
    assert load(api, a_line("a"))["imported"] == 1
