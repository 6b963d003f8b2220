"""Calls about the log, and about what is proven by it; the routes are those of `proving.py`.

Source: notes on the ledger, 5; docs/ledger.md.
"""

from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from waypost.api.calls import Call, query_text
from waypost.api.logged import Entered, Entries, Log, Versions
from waypost.record import Place

if TYPE_CHECKING:
    from waypost.ledger.statement import Statement


def log() -> Call[Log]:
    return Call("GET", "/v1/log", Log)


def resume() -> Call[Log]:
    return Call("POST", "/v1/log/resume", Log)


def entries(first: int, count: int) -> Call[Entries]:
    return Call("GET", f"/v1/log/entries?from={first}&count={count}", Entries)


def record(place: Place, version: int | None) -> Call[str]:
    """A proof file."""
    named = (("namespace", place[0]), ("key", place[1]))
    return Call("GET", f"/v1/log/proof?{query_text(named + ((('version', str(version)),) if version else ()))}", str)


def entry(index: int) -> Call[str]:
    """Likewise."""
    return Call("GET", f"/v1/log/entries/{index}/proof", str)


def enter(statement: "Statement") -> Call[Entered]:
    return Call("POST", "/v1/log/statements", Entered, msgspec.json.encode(statement))


def evidence(digest: str) -> Call[str]:
    return Call("GET", f"/v1/log/evidence/{quote(digest, safe='')}", str)


def stood(place: Place, at: str) -> Call[Versions]:
    """The one version that stood at an index of the log, or a time."""
    namespace, key = (quote(part, safe="") for part in place)
    return Call("GET", f"/v1/records/{namespace}/{key}/history?{query_text((('at', at),))}", Versions)
