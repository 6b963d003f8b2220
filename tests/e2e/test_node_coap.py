"""The directory as node's `coap` package sees it, which we did not write either.

It drops the empty last segment of a path: "/rd/" and "/rd" are the same request of it.
"""

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from clients import ANSWER_S, NODE_COAP, environment
from running import HOST, Node, running

LINKS = '</t>;rt="temperature";if="sensor",</h>;rt="humidity"'

pytestmark = pytest.mark.peer("node", "npm:coap")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running(tmp_path_factory.mktemp("node")) as node:
        yield node


def lines(*arguments: str) -> list[dict[str, Any]]:
    """All that it printed, once it has ended well."""
    command = [*NODE_COAP, *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=ANSWER_S, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def ask(node: Node, method: str, target: str, *links: str) -> dict[str, Any]:
    (answer,) = lines("ask", method, node.coap + target, *links)
    return answer


def free_port() -> str:
    """Its server does not say which one it got."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return str(probe.getsockname()[1])


def targets(answer: dict[str, Any]) -> list[str]:
    assert answer["code"] == "2.05", answer
    return re.findall(r"<([^>]*)>", answer["body"])


def test_it_finds_the_interfaces_with_and_without_a_slash_at_the_end(node: Node) -> None:
    """RFC 9176, 4.3."""
    assert targets(ask(node, "GET", "/.well-known/core?rt=core.rd")) == ["/rd"]
    assert {"/rd-lookup/ep", "/rd-lookup/res"} <= set(targets(ask(node, "GET", "/.well-known/core?rt=core.rd-lookup*")))
    for target in ("/rd-lookup/ep", "/rd-lookup/ep/"):
        assert targets(ask(node, "GET", f"{target}?ep=nobody")) == []


def test_it_registers_renews_looks_up_and_removes(node: Node) -> None:
    """RFC 9176, 5, 5.3 and 6."""
    created = ask(node, "POST", "/rd/?ep=node&base=coap://node.example.com&lt=600", LINKS)
    assert created["code"] == "2.01"
    place = created["location"]
    assert targets(ask(node, "GET", "/rd-lookup/ep/?ep=node")) == [place]
    assert targets(ask(node, "GET", "/rd-lookup/res?ep=node&rt=temp*")) == ["coap://node.example.com/t"]
    assert ask(node, "POST", f"{place}?lt=1200&base=coap://other.example.com")["code"] == "2.04"
    assert targets(ask(node, "GET", "/rd-lookup/res?ep=node&rt=humidity")) == ["coap://other.example.com/h"]
    assert ask(node, "DELETE", place)["code"] == "2.02"
    assert targets(ask(node, "GET", "/rd-lookup/res?ep=node")) == []
    assert ask(node, "POST", place)["code"] == "4.04"


def test_without_a_base_it_is_found_where_it_sends_from(node: Node) -> None:
    """RFC 9176, 5."""
    assert ask(node, "POST", "/rd?ep=implicit", LINKS)["code"] == "2.01"
    found = targets(ask(node, "GET", "/rd-lookup/res?ep=implicit&rt=temperature"))
    assert len(found) == 1
    assert re.fullmatch(r"coap://127\.0\.0\.1:\d+/t", found[0])


def test_a_thousand_links_go_and_come_in_blocks(node: Node) -> None:
    """RFC 7959, both ways."""
    links = ",".join(f'</many/{number}>;rt="many";title="number {number}"' for number in range(1000))
    assert ask(node, "POST", "/rd?ep=many&base=coap://many.example.com", links)["code"] == "2.01"
    found = ask(node, "GET", "/rd-lookup/res?ep=many")
    assert found["code"] == "2.05"
    assert found["body"] == links.replace("</", "<coap://many.example.com/")


@pytest.mark.parametrize("path", ["/.well-known/rd", "/.well-known/core"])
def test_a_device_with_one_socket_registers_simply(path: str, node: Node) -> None:
    """RFC 9176, 5.1: its links are fetched before the answer.  The second path is that of draft -12."""
    name = path.rpartition("/")[2]
    (heard, answer) = lines("device", f"{node.coap}{path}?ep=simple-{name}&lt=600", LINKS, free_port())
    assert heard["asked"] == [{"method": "GET", "url": "/.well-known/core", "accept": "application/link-format"}]
    assert (answer["code"], answer["location"]) == ("2.04", "")
    found = targets(ask(node, "GET", f"/rd-lookup/res?ep=simple-{name}"))
    assert [target.rpartition("/")[2] for target in found] == ["t", "h"]


@pytest.mark.parametrize("document", ["<t>", "nonsense", "</t"])
def test_a_device_with_a_bad_document_is_not_registered(document: str, node: Node) -> None:
    target = node.coap + "/.well-known/rd?ep=simple-bad"
    (_, answer) = lines("device", target, document, free_port())
    assert answer["code"][0] in "45", answer
    assert len(answer["body"].split()) >= 2, "a sentence for people"
    assert targets(ask(node, "GET", "/rd-lookup/ep?ep=simple-bad")) == []


@pytest.mark.parametrize(
    ("method", "target", "links", "code"),
    [
        ("POST", "/rd?ep=bad&lt=0", [LINKS], "4.00"),
        ("POST", "/rd?ep=bad", ["<t>"], "4.00"),
        ("GET", "/rd-lookup/ep?page=1", [], "4.00"),
        ("DELETE", "/reg/00000000-0000-4000-8000-000000000000", [], "4.04"),
    ],
)
def test_bad_input_is_told_so(node: Node, method: str, target: str, links: list[str], code: str) -> None:
    answer = ask(node, method, target, *links)
    assert answer["code"] == code
    assert len(answer["body"].split()) >= 2, "a sentence for people"
