"""Both clients about the log: what they get is checked with public keys alone."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from logbook import EVIDENCE, ORIGIN, POLICY, TIME_S, Logbook
from lone import made
from people import WALL_MS, key_of, public_of
from serving import Api, serving
from test_api_clients import KINDS

from waypost.api.calls import RefusedError
from waypost.identity.keys import verifies
from waypost.ledger.entry import decode, read_commit
from waypost.ledger.proof import ProofFile, verify_proof
from waypost.ledger.statement import Statement

PLACE: Final = ("names", "floor-1/lamp")
FIRST: Final = made("1", place=PLACE)
SECOND: Final = made("2", FIRST, place=PLACE, txid=2)


@pytest.fixture
def node() -> Logbook:
    return Logbook()


@pytest.fixture
def api(node: Logbook) -> Iterator[Api]:
    with serving(node.ask, rows=node) as api:
        yield api


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, api: Api) -> Iterator[Any]:
    kind: Callable[..., Any] = request.param
    with kind(api.url) as client:
        yield client


def value_in(proof: bytes) -> str | None:
    file = ProofFile.decode(proof)
    assert verify_proof(file, file.extra, POLICY, verifies, TIME_S).met
    return read_commit(decode(file.extra).body).committed.record.value


def test_a_client_proves_what_was_voted(client: Any, node: Logbook) -> None:
    node.put(FIRST, SECOND)
    assert value_in(client.prove(*PLACE)) == "2"
    assert value_in(client.prove(*PLACE, 1)) == "1"
    assert value_in(client.prove_entry(0)) == "1"
    assert value_in(client.prove_entry(1)) == "2"
    with pytest.raises(RefusedError) as error:
        client.prove(*PLACE, 3)
    assert error.value.code == 404


def test_a_client_reads_the_log(client: Any, node: Logbook) -> None:
    node.put(FIRST, SECOND)
    log = client.log()
    assert (log.origin, log.size, log.published.size) == (ORIGIN, 2, 2)
    assert client.resume_log() == log
    assert [(entry.index, entry.data) for entry in client.entries(count=1)] == list(enumerate(node.entries))
    assert [entry.index for entry in client.entries(1)] == [1]
    assert client.evidence(EVIDENCE) == node.evidence[EVIDENCE]


def test_a_client_enters_a_statement(client: Any, node: Logbook) -> None:
    statement = Statement(WALL_MS, {"says": "ü"}, "example", "", public_of("operator"))
    entered = client.enter(statement.signed(key_of("operator").sign))
    assert (entered.index, entered.head.size) == (0, 1)
    assert Statement.decode(node.entries[0]).body == {"says": "ü"}


def test_a_client_finds_a_record_as_it_stood(client: Any, node: Logbook) -> None:
    node.put(FIRST)
    node.wall_ms += 60_000
    node.put(SECOND)
    assert [(each.index, each.record) for each in client.history(*PLACE)] == [(0, FIRST), (1, SECOND)]
    assert client.record_at(*PLACE, 0).record == FIRST
    assert client.record_at(*PLACE, "2027-01-15T08:01:00+00:00").record == SECOND
