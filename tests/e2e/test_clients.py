"""The directory as clients see it that we did not write: libcoap's and aiocoap's, by the same stories."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clients import CLIENTS, Answer, Client
from running import Node, running

ANNA = '</t>;rt="temperature";if="sensor",</h>;rt="humidity"'
BERT = '</t>;rt="temperature outdoor";if="sensor"'

Ask = Callable[..., Answer]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running(tmp_path_factory.mktemp("node")) as node:
        yield node


@pytest.fixture(
    params=[pytest.param(client, marks=pytest.mark.peer(client.program), id=client.program) for client in CLIENTS]
)
def ask(request: pytest.FixtureRequest, shared: Node, tmp_path: Path) -> Ask:
    """Sectors keep the stories of one client apart from those of the other: `d` is the client's name."""
    client: Client = request.param

    def asking(method: str, target: str, links: str | None = None) -> Answer:
        return client.ask(shared, tmp_path, method, target.replace("SECTOR", client.program), links)

    return asking


def register(ask: Ask, query: str, links: str = ANNA) -> str:
    answer = ask("POST", f"/rd?{query}&d=SECTOR", links)
    assert answer.code == "2.01", answer.shown
    assert re.fullmatch(r"/reg/[0-9a-f-]{36}", answer.location), answer.shown
    return answer.location


def targets(answer: Answer) -> list[str]:
    """The targets of the links in the answer, in its order."""
    assert answer.code == "2.05", answer.shown
    return re.findall(r"<([^>]*)>", answer.body)


def test_the_interfaces_are_found_by_their_types(ask: Ask) -> None:
    """RFC 9176, 4.3."""
    found = ask("GET", "/.well-known/core?rt=core.rd*")
    assert set(targets(found)) >= {"/rd", "/rd-lookup/ep", "/rd-lookup/res"}
    for kind in ("core.rd", "core.rd-lookup-ep", "core.rd-lookup-res"):
        assert f'rt="{kind}"' in found.body
    assert targets(ask("GET", "/.well-known/core?rt=core.rd")) == ["/rd"]
    assert targets(ask("GET", "/.well-known/core?rt=nothing*")) == []


def test_a_registration_is_found_renewed_and_removed(ask: Ask) -> None:
    """RFC 9176, 5, 5.3.1, 5.3.2 and 6."""
    place = register(ask, "ep=story&base=coap://[2001:db8::1]&lt=600&et=tag:example.com,2020:sensor")
    found = ask("GET", "/rd-lookup/ep?ep=story&d=SECTOR")
    assert targets(found) == [place]
    for part in ('ep="story"', 'base="coap://[2001:db8::1]"', 'et="tag:example.com,2020:sensor"', 'rt="core.rd-ep"'):
        assert part in found.body
    assert "lt=" not in found.body  # 6.2: the lifetime is not shown
    assert ask("POST", place).code == "2.04"
    assert ask("POST", f"{place}?lt=1200&base=coap://[2001:db8::2]").code == "2.04"
    assert targets(ask("GET", "/rd-lookup/res?ep=story&d=SECTOR")) == [
        "coap://[2001:db8::2]/t",
        "coap://[2001:db8::2]/h",
    ]
    assert ask("DELETE", place).code == "2.02"
    assert ask("GET", "/rd-lookup/ep?ep=story&d=SECTOR").body == ""
    assert ask("POST", place).code == "4.04"
    assert ask("DELETE", place).code in ("2.02", "4.04")


def test_registering_a_name_again_keeps_its_location(ask: Ask) -> None:
    """RFC 9176, 5: content and parameters are replaced."""
    place = register(ask, "ep=again&base=coap://[2001:db8::1]")
    assert register(ask, "ep=again&base=coap://[2001:db8::3]", BERT) == place
    assert targets(ask("GET", "/rd-lookup/res?ep=again&d=SECTOR")) == ["coap://[2001:db8::3]/t"]


def test_several_criteria_must_all_hold_in_either_order(ask: Ask) -> None:
    """RFC 9176, 6.2.  Where only the last is applied, these answers show both endpoints or all links."""
    register(ask, "ep=anna&base=coap://[2001:db8::a]", ANNA)
    register(ask, "ep=bert&base=coap://[2001:db8::b]", BERT)
    for query in ("ep=anna&rt=temperature", "rt=temperature&ep=anna"):
        assert targets(ask("GET", f"/rd-lookup/res?{query}&d=SECTOR")) == ["coap://[2001:db8::a]/t"]
        assert 'ep="anna"' in ask("GET", f"/rd-lookup/ep?{query}&d=SECTOR").body
        assert len(targets(ask("GET", f"/rd-lookup/ep?d=SECTOR&{query}"))) == 1
    assert targets(ask("GET", "/rd-lookup/res?ep=bert&rt=humidity&d=SECTOR")) == []
    assert targets(ask("GET", "/rd-lookup/res?rt=outdoor&if=sensor&ep=bert&d=SECTOR")) == ["coap://[2001:db8::b]/t"]


def test_a_star_at_the_end_matches_every_continuation(ask: Ask) -> None:
    """RFC 9176, 6.2."""
    for name in ("star-1", "star-2", "stern"):
        register(ask, f"ep={name}&base=coap://{name}.example.com", BERT)
    assert targets(ask("GET", "/rd-lookup/res?ep=star-*&d=SECTOR")) == [
        "coap://star-1.example.com/t",
        "coap://star-2.example.com/t",
    ]
    assert len(targets(ask("GET", "/rd-lookup/ep?ep=st*&d=SECTOR"))) == 3
    assert len(targets(ask("GET", "/rd-lookup/ep?ep=st*&rt=out*&d=SECTOR"))) == 3
    assert targets(ask("GET", "/rd-lookup/ep?ep=star&d=SECTOR")) == []


def test_pages_divide_the_result_without_gap_or_overlap(ask: Ask) -> None:
    """RFC 9176, 6.2: the first page is 0."""
    links = ",".join(f"</page/{number}>;rt=page" for number in range(25))
    register(ask, "ep=pages&base=coap://pages.example.com", links)
    pages = [targets(ask("GET", f"/rd-lookup/res?ep=pages&d=SECTOR&page={page}&count=10")) for page in range(4)]
    assert [len(page) for page in pages] == [10, 10, 5, 0]
    assert [target for page in pages for target in page] == [
        f"coap://pages.example.com/page/{number}" for number in range(25)
    ]


def test_a_thousand_links_come_whole_in_blocks(ask: Ask) -> None:
    """RFC 7959, both ways: they are registered in blocks and looked up in blocks."""
    links = ",".join(f'</many/{number}>;rt="many";title="number {number}"' for number in range(1000))
    register(ask, "ep=many&base=coap://many.example.com", links)
    found = ask("GET", "/rd-lookup/res?ep=many&d=SECTOR")
    assert found.code == "2.05"
    assert found.body == links.replace("</", "<coap://many.example.com/")


@pytest.mark.parametrize(
    ("method", "target", "links", "code", "word"),
    [
        ("POST", "/rd?d=SECTOR", ANNA, "4.00", "ep"),
        ("POST", "/rd?ep=bad&lt=0", ANNA, "4.00", "lt"),
        ("POST", "/rd?ep=bad", "</t", "4.00", "target"),
        ("GET", "/rd-lookup/ep?page=1", None, "4.00", "count"),
        ("POST", "/reg/00000000-0000-4000-8000-000000000000", None, "4.04", "registration"),
        ("GET", "/nothing/here", None, "4.04", "nothing here"),
    ],
)
def test_bad_input_is_answered_with_its_reason(
    ask: Ask, method: str, target: str, links: str | None, code: str, word: str
) -> None:
    """RFC 7252, 5.5.2: a diagnostic payload for people."""
    answer = ask(method, target, links)
    assert answer.code == code
    assert re.search(word, answer.reason), answer.shown
