"""The part of the table of routes that is about the log, and about what is proven by it."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Annotated, Final

from msgspec import Meta

from waypost.api import logged
from waypost.api.log import ANYTHING as LOG
from waypost.api.log import LogOperations
from waypost.api.operations import Operations
from waypost.api.reading import COUNT_DEFAULT, COUNT_MAX
from waypost.api.records import ANYTHING as RECORDS
from waypost.api.request import Reply, Request
from waypost.api.route import Answer, Parameter, Route
from waypost.api.schemas import JSON, TEXT
from waypost.identity.policy import THE_NODE, Action

_ROOT: Final = "x2pLiR1bwUWkLSLGCaeIoDsWZnKs3QZTAWQmOH2kZhg="
_HASH: Final = "9f" * 32
_NOTE: Final = f"waypost/node-1\n1042\n{_ROOT}\n\n— waypost/node-1 …\n— waypost/node-2/witness …\n"
_HEAD: Final = logged.Checkpoint(1042, _ROOT, _NOTE)
_KEY: Final = "waypost/node-1+5f3a0c1e+AT…"
_LOG: Final = logged.Log(
    "waypost/node-1",
    _KEY,
    "waypost/node-1/witness+0b1c2d3e+BD…",
    "signing",
    1042,
    _HEAD,
    _HEAD,
    3,
    ("waypost/node-2/witness", "waypost/node-3/witness", "waypost/node-4/witness"),
    (logged.LinkedLog("node-2", "waypost/node-2", "…", "…", 977, 977, 970, None),),
    (),
    (_HASH,),
    "2026-11-20",
)
_ENTRY: Final = logged.Entry(1041, "waypost/commit@v1", b"waypost/commit@v1\n{...}")
_STATEMENT: Final = logged.NewStatement(1_795_000_000_000, {"says": "so"}, "example", "", "3b" * 32, "5d" * 64)
_PROOF: Final = f"c2sp.org/tlog-proof@v1\nextra …\nindex 1041\n{_ROOT}\n\n{_NOTE}"
_COUNT: Final = Parameter(
    "count", f"Entries of a page; {COUNT_DEFAULT} if not given.", Annotated[int, Meta(ge=1, le=COUNT_MAX)], 100
)
_INDEX: Final = Parameter("id", "The entry's index, from 0.", Annotated[int, Meta(ge=0)], 1041, "path", True)

Operation = Callable[[Operations, Request], Awaitable[Reply]]


def _of(operation: Callable[[LogOperations, Request], Awaitable[Reply]]) -> Operation:
    @wraps(operation)
    def run(operations: Operations, request: Request) -> Awaitable[Reply]:
        return operation(operations.log, request)

    return run


PROVING: Final = (
    Route(
        "GET",
        "/v1/log",
        _of(LogOperations.get_log),
        (Action.STATUS, THE_NODE),
        "How the log is, and those that it witnesses",
        {200: Answer("As this node knows it.", {JSON: _LOG})},
    ),
    Route(
        "GET",
        "/v1/log/entries",
        _of(LogOperations.list_entries),
        (Action.READ, LOG),
        "Read entries of the log",
        {200: Answer("In their order; perhaps none.", {JSON: logged.Entries((_ENTRY,), None)})},
        (Parameter("from", "The first index; 0 if not given.", Annotated[int, Meta(ge=0)], 1041), _COUNT),
    ),
    Route(
        "GET",
        "/v1/log/entries/{id}/proof",
        _of(LogOperations.prove_entry),
        (Action.READ, LOG),
        "Prove that an entry is in the log",
        {200: Answer("A tlog-proof file, with the entry in `extra`.", {TEXT: _PROOF})},
        (_INDEX,),
        refusals=(404,),
    ),
    Route(
        "GET",
        "/v1/log/proof",
        _of(LogOperations.prove_record),
        (Action.READ, RECORDS),
        "Prove that a voted record is in the log",
        {200: Answer("A tlog-proof file, with the entry in `extra`.", {TEXT: _PROOF})},
        (
            Parameter("namespace", "The namespace.", str, "names", required=True),
            Parameter("key", "The key.", str, "lamp", required=True),
            Parameter("version", "Which version; the newest if not given.", Annotated[int, Meta(ge=1)], 1),
        ),
        refusals=(404,),
    ),
    Route(
        "POST",
        "/v1/log/statements",
        _of(LogOperations.enter_statement),
        (Action.ADMINISTER, LOG),
        "Have a signed statement entered in the log",
        {201: Answer("It is on disk; to send the same statement again is safe.", {JSON: logged.Entered(1041, _HEAD)})},
        (),
        {JSON: _STATEMENT},
        True,
        (408, 409, 413, 415, 422),
    ),
    Route(
        "GET",
        "/v1/log/evidence/{id}",
        _of(LogOperations.get_evidence),
        (Action.READ, LOG),
        "Get the proof that a log, a witness or a signer has lied",
        {200: Answer("Whoever has their public keys can check it.", {TEXT: "waypost/evidence@v1\n…"})},
        (Parameter("id", "The file's SHA-256, in hexadecimal digits.", str, _HASH, "path", True),),
        refusals=(404,),
    ),
    Route(
        "POST",
        "/v1/log/resume",
        _of(LogOperations.resume_log),
        (Action.ADMINISTER, THE_NODE),
        "Sign heads though no other node has said which one of this log it saw last",
        {200: Answer("As it is now.", {JSON: _LOG})},
    ),
)
