"""The part of the table of routes that is about voted records, and about those who vote."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Annotated, Final

from msgspec import Meta

from waypost.api import logged, voted
from waypost.api.operations import Operations
from waypost.api.reading import COUNT_DEFAULT, COUNT_MAX
from waypost.api.records import ANYTHING as RECORDS
from waypost.api.records import RecordOperations
from waypost.api.request import Reply, Request
from waypost.api.route import Answer, Parameter, Route
from waypost.api.schemas import EVENT_STREAM, JSON, JSONL
from waypost.identity.policy import THE_NODE, Action
from waypost.record import Ballot, Certificate, Committed, Mark, Matter, Member, Policy, Record, Roster, Stamp

_HASH: Final = "9f" * 32
_KEY: Final = "3b" * 32
_TXID: Final = "7c" * 16
_RECORD: Final = Record(
    namespace="names",
    key="lamp",
    version=1,
    prev="",
    holder=_KEY,
    home="node-1",
    value="coap://[2001:db8::1]",
    author=_KEY,
    hlc=Stamp(0, 1_795_000_000_000),
    txid=_TXID,
    cites=(),
    signature="5d" * 64,
)
_MATTER: Final = Matter("names", "lamp", 1, "", _HASH, Ballot(3, 0, "node-1"))
_CERTIFICATE: Final = Certificate(_MATTER, (Mark("node-1", 1, 17, "6e" * 64), Mark("node-2", 1, 9, "6f" * 64)))
_COMMITTED: Final = Committed(_RECORD, _CERTIFICATE)
_VERSION: Final = logged.Version(_RECORD, _CERTIFICATE, 1041, 1_795_000_000_120)
_NEXT: Final = voted.Next("2a" * 32, 2, _HASH, "node-1")
_MEMBER: Final = Member("node-1", 1, _KEY, "https://node-1.example:8481", "example")
_ROSTER: Final = Roster(1, (_MEMBER,), (), Policy(_KEY, 0, ()))
_PEER: Final = voted.PeerSeen(
    "node-2", "example", "https://node-2.example:8481", 1, True, "active", 1.2, 0.021, -3, 1, ("rd",)
)
_PEERS: Final = voted.Peers(
    "2a" * 32, "node-1", 1, "active", True, True, 0.4, _ROSTER, Committed(_RECORD, None), (_PEER,), (_MEMBER,), {}
)
_OPEN: Final = voted.OpenVote("names", "lamp", 2, Ballot(3, 1, "node-2"), Ballot(3, 0, "node-1"), _HASH, _RECORD)
_INTENT: Final = voted.Intent("names", "door", 1, _TXID, _KEY, 1_795_000_000_000, 1_795_086_400_000, False)
_RESUME: Final = "5d2c1f0a9b8e7d6c5b4a39281706f5e4.1042"
_EVENT: Final = f'event: put\nid: {_RESUME}\ndata: {{"record": {{…}}, "certificate": {{…}}}}\n\n'

_NAMESPACE: Final = Parameter("namespace", "The namespace.", str, "names", "path", True)
_PLACE: Final = (
    _NAMESPACE,
    Parameter("key", "The key, percent-encoded: a slash in it is %2F.", str, "lamp", "path", True),
)
_TRANSACTION: Final = (
    *_PLACE,
    Parameter("version", "Which version it was to be.", Annotated[int, Meta(ge=1)], 1, "path", True),
    Parameter("txid", "The record's txid.", str, _TXID, "path", True),
)
_COUNT: Final = Parameter(
    "count", f"Entries of a page; {COUNT_DEFAULT} if not given.", Annotated[int, Meta(ge=1, le=COUNT_MAX)], 100
)
_RANGE: Final = (
    Parameter("namespace", "The only one to show.", str, "names"),
    Parameter("prefix", "What keys begin with; needs namespace.", str, "floor-1/"),
)
_TAG: Final = {"ETag": "The version, in quotes."}

Operation = Callable[[Operations, Request], Awaitable[Reply]]


def _of(operation: Callable[[RecordOperations, Request], Awaitable[Reply]]) -> Operation:
    @wraps(operation)
    def run(operations: Operations, request: Request) -> Awaitable[Reply]:
        return operation(operations.records, request)

    return run


VOTING: Final = (
    Route(
        "GET",
        "/v1/records",
        _of(RecordOperations.list_records),
        (Action.LOOK_UP, RECORDS),
        "List voted records",
        {200: Answer("In the order of their keys; perhaps none.", {JSON: voted.Records((_COMMITTED,), None)})},
        (
            *_RANGE,
            Parameter("after", "NAMESPACE/KEY of the last record of the page before.", str, "names/lamp"),
            _COUNT,
        ),
    ),
    Route(
        "PUT",
        "/v1/records/{namespace}/{key}",
        _of(RecordOperations.claim_record),
        (Action.CLAIM, RECORDS),
        "Have a signed record voted on, as the next version of its key",
        {
            200: Answer(
                "A quorum of voters has voted for it; to send the same record again is safe.",
                {JSON: voted.Claimed("committed", "names", "lamp", 1, _TXID, current=_COMMITTED)},
                _TAG,
            ),
            202: Answer(
                "Not known yet, and perhaps committed later: ask at `status`, or send the same record again.",
                {
                    JSON: voted.Claimed(
                        "unknown",
                        "names",
                        "lamp",
                        1,
                        _TXID,
                        "no quorum of voters answered in time",
                        f"/v1/records/names/lamp/transactions/1/{_TXID}",
                    )
                },
                {
                    "Location": "Where to ask what became of it.",
                    "Retry-After": "Seconds to wait.",
                    "Preference-Applied": "respond-async: it is on disk here, and sent once a quorum is in reach.",
                },
            ),
        },
        (
            *_PLACE,
            Parameter(
                "Prefer",
                "respond-async: without a quorum of voters in reach, the node is to keep the record until one is.",
                str,
                "respond-async",
                "header",
            ),
            Parameter("If-Match", "The version before it, in quotes, or * for any.", str, '"3"', "header"),
            Parameter("If-None-Match", "* if it must be the first.", str, "*", "header"),
        ),
        {JSON: _RECORD},
        True,
        (408, 409, 412, 413, 415, 422, 507),
    ),
    Route(
        "GET",
        "/v1/records/{namespace}/{key}",
        _of(RecordOperations.get_record),
        (Action.READ, RECORDS),
        "Get a voted record with its certificate, and what its next version needs",
        {
            200: Answer(
                "As this node knows it, or as a quorum of voters does.",
                {JSON: voted.Standing(_RECORD, _CERTIFICATE, 0.4, _NEXT)},
                _TAG | {"Age": "Seconds since a quorum of voters was last heard."},
            )
        },
        (*_PLACE, Parameter("quorum", "true: ask a quorum of voters, so that it is the newest.", bool, True)),
        refusals=(404,),
    ),
    Route(
        "GET",
        "/v1/records/{namespace}/{key}/history",
        _of(RecordOperations.get_history),
        (Action.READ, RECORDS),
        "List the versions of a key",
        {
            200: Answer(
                "Those that this node has, oldest first, each with the entry of the log that it is.",
                {JSON: logged.Versions((_VERSION,), None)},
            )
        },
        (
            *_PLACE,
            Parameter("after", "The version after which to begin.", Annotated[int, Meta(ge=0)], 0),
            Parameter("at", "An index of the log, or a time: only the version that stood then.", str, "2026-11-21"),
            _COUNT,
        ),
        refusals=(404,),
    ),
    Route(
        "GET",
        "/v1/records/{namespace}/{key}/transactions/{version}/{txid}",
        _of(RecordOperations.get_transaction),
        (Action.READ, RECORDS),
        "What became of a record",
        {
            200: Answer(
                "Its vote was closed first, if a quorum of voters can be reached.",
                {JSON: voted.Claimed("lost", "names", "lamp", 1, "7d" * 16, current=_COMMITTED)},
                {"Retry-After": "Seconds to wait; only if it is unknown."},
            )
        },
        _TRANSACTION,
    ),
    Route(
        "DELETE",
        "/v1/records/{namespace}/{key}/transactions/{version}/{txid}",
        _of(RecordOperations.cancel_claim),
        (Action.CLAIM, RECORDS),
        "Cancel a record that waits at this node, and of which nothing was sent",
        {204: Answer("It is not sent.")},
        _TRANSACTION,
        refusals=(404, 409),
    ),
    Route(
        "GET",
        "/v1/changes",
        _of(RecordOperations.watch_records),
        (Action.WATCH, RECORDS),
        "Watch voted records come and change",
        {
            200: Answer(
                "An event for each version, without end; first all that is there, unless a token says what is known.",
                {EVENT_STREAM: _EVENT, JSONL: voted.RecordEvent("put", _RESUME, _RECORD, _CERTIFICATE)},
            )
        },
        (
            *_RANGE,
            Parameter("since", "The token of the last event seen; it resumes after it.", str, _RESUME),
            Parameter(
                "Last-Event-ID", "The same, as a browser sends it; it goes before since.", str, _RESUME, "header"
            ),
        ),
    ),
    Route(
        "GET",
        "/v1/peers",
        _of(RecordOperations.get_peers),
        (Action.STATUS, THE_NODE),
        "Who is in the network",
        {200: Answer("As this node sees it.", {JSON: _PEERS})},
    ),
    Route(
        "POST",
        "/v1/peers/forced",
        _of(RecordOperations.force_roster),
        (Action.ADMINISTER, THE_NODE),
        "Go by a roster that the operator has forced, where no quorum of the last voters is left",
        {
            200: Answer(
                "It is in force here, and told to all.",
                {JSON: voted.Claimed("committed", "_network", "roster", 2, _TXID)},
            )
        },
        (),
        {JSON: _COMMITTED},
        True,
        (408, 409, 413, 415, 422),
    ),
    Route(
        "GET",
        "/v1/votes",
        _of(RecordOperations.get_votes),
        (Action.STATUS, THE_NODE),
        "Which votes are under way, who voted what, and where voting has stopped",
        {200: Answer("As this node knows it.", {JSON: voted.Votes((_OPEN,), 1, (), (_INTENT,), 1)})},
        (
            Parameter(
                "voters",
                "true: ask every voter, and whoever calls for votes; those that are silent are named.",
                bool,
                True,
            ),
        ),
    ),
)
