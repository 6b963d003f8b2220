"""The table of routes; `voting.py` and `proving.py` have parts of it."""

from typing import Annotated, Final

from msgspec import Meta, to_builtins

from waypost.api import schemas
from waypost.api.operations import Operations
from waypost.api.proving import PROVING
from waypost.api.reading import COUNT_DEFAULT, COUNT_MAX
from waypost.api.route import Answer, Parameter, Route
from waypost.api.schemas import EVENT_STREAM, JSON, JSONL, LINK_FORMAT, TEXT
from waypost.api.voting import VOTING
from waypost.identity.policy import THE_NODE, Action
from waypost.rd.access import ANYTHING as RD
from waypost.rd.parameters import LIFETIME_MAX, NUMBER_MAX

ANY_REFUSALS: Final = (400, 401, 403, 406, 421, 429, 500, 503)

_ID: Final = "6f1d3c62-6a3b-4f6e-9d53-0f5f0f4b6c11"
_LINK: Final = schemas.NewLink("/sensors/temperature", attributes=(("rt", "temperature"), ("ct", "0")))
_FOUND_LINK: Final = schemas.Link("coap://[2001:db8::1]/sensors/temperature", attributes=_LINK.attributes)
_LISTED: Final = schemas.Endpoint(_ID, "lamp-3", None, "coap://[2001:db8::1]", 90_000, 86_012.5, (("et", "lamp"),))
_ENDPOINT: Final = schemas.Endpoint(
    _ID, "lamp-3", None, "coap://[2001:db8::1]", 90_000, 86_012.5, (("et", "lamp"),), (_FOUND_LINK,)
)
_SECONDS: Final = Meta(ge=1, le=LIFETIME_MAX)
_EVICTION: Final = schemas.Eviction(_ID, "lamp-3", None, 3_522.5)
_IMPORTED: Final = schemas.Imported(998, 1, 0, (schemas.LineError(3, "its lifetime has passed"),))
_LINES: Final = (
    f'{{"ep":"lamp-3","base":"coap://[2001:db8::1]","id":"{_ID}","d":null,"explicit":true,"lt":90000,'
    '"expires_in":86012.5,"attributes":[["et","lamp"]],"links":"</sensors/temperature>;rt=temperature;ct=0"}\n'
)
_RESUME: Final = "5d2c1f0a9b8e7d6c5b4a39281706f5e4.1042"
_EVENT: Final = f'event: remove\nid: {_RESUME}\ndata: {{"ep":"lamp-3","d":null}}\n\n'
_CRITERIA: Final = Parameter(
    "criteria",
    "Any number of name=value: an attribute of the endpoint or of its links, or href, anchor, ep, d, base; all must "
    "match.  A trailing * matches any ending (RFC 9176, 6.2).",
    dict[str, str],
    {"rt": "temperature*"},
)
_PAGING: Final = (
    Parameter("page", "The page's number, from 0; needs count.", Annotated[int, Meta(ge=0, le=NUMBER_MAX)], 0),
    Parameter(
        "count", f"Entries of a page; {COUNT_DEFAULT} if not given.", Annotated[int, Meta(ge=1, le=COUNT_MAX)], 100
    ),
)
_ENDPOINT_ID: Final = Parameter("id", "The registration's id.", str, _ID, "path", True)
_NEXT: Final = {"Link": 'The next page, with rel="next", if there is one (link-format only).'}

_TOKEN: Final = schemas.Token(
    "k3c5qz7a",
    "ci",
    ("reader",),
    ("look-up",),
    ("floor-1*",),
    (),
    False,
    "2026-11-21T15:00:00Z",
    "2026-12-21T15:00:00Z",
    None,
)
_GIVEN: Final = schemas.GivenToken(**to_builtins(_TOKEN), token=f"wp_{_TOKEN.id}_…")
_PEM: Final = "-----BEGIN CERTIFICATE-----\n…"

# On the listeners for people and programs, and on that for peers.
JOINING: Final = (
    Route(
        "GET",
        "/v1/join",
        Operations.get_root,
        (Action.JOIN, THE_NODE),
        "The authority's root, for who has a token that pins it",
        {200: Answer("It is believed by its fingerprint alone.", {JSON: schemas.Root(_PEM, "3f…")})},
    ),
    Route(
        "POST",
        "/v1/join",
        Operations.join,
        (Action.JOIN, THE_NODE),
        "Get a certificate for a token",
        {
            201: Answer(
                "The token is used up.",
                {JSON: schemas.Joined("peer", "node-2", _PEM, _PEM, "-----BEGIN PUBLIC KEY-----\n…", "{…}\n")},
            )
        },
        bodies={JSON: schemas.Join("wpj_…", "-----BEGIN CERTIFICATE REQUEST-----\n…")},
        body_required=True,
        refusals=(408, 413, 415),
    ),
)

PEER_ROUTES: Final = (
    Route(
        "GET",
        "/v1/peer",
        Operations.get_peer,
        (Action.PEER, THE_NODE),
        "What the node is to other nodes",
        {200: Answer("Its name, versions and capabilities.", {JSON: schemas.Peer("3f9c…", "0.1.0", 1, ("rd",))})},
    ),
    Route(
        "POST",
        "/v1/renew",
        Operations.renew_certificate,
        (Action.PEER, THE_NODE),
        "Have the certificate that the asker shows made anew",
        {200: Answer("The one before is not revoked.", {JSON: schemas.Recertified(_PEM, _PEM)})},
        bodies={JSON: schemas.Recertify("-----BEGIN CERTIFICATE REQUEST-----\n…")},
        body_required=True,
        refusals=(408, 413, 415),
    ),
    Route(
        "GET",
        "/v1/trust",
        Operations.get_trust,
        (Action.PEER, THE_NODE),
        "The trust file, which the operator's key has signed",
        {
            200: Answer("As the file trust.json has it.", {JSON: {}}, {"ETag": "Its version."}),
            304: Answer("It is of the version that If-None-Match names."),
        },
        (Parameter("If-None-Match", "The version that is known.", str, '"7"', "header"),),
    ),
    *JOINING,
)

ROUTES: Final = (
    Route(
        "GET",
        "/v1/endpoints",
        Operations.find_endpoints,
        (Action.LOOK_UP, RD),
        "List endpoints",
        {
            200: Answer(
                "The endpoints that match, in a stable order; perhaps none.",
                {
                    JSON: schemas.Endpoints((_LISTED,), "/v1/endpoints?et=lamp&page=1&count=100"),
                    LINK_FORMAT: f'</v1/endpoints/{_ID}>;ep="lamp-3";base="coap://[2001:db8::1]";et="lamp";rt="core.rd-ep"',
                },
                _NEXT,
            )
        },
        (_CRITERIA, *_PAGING),
        refusals=(413,),
    ),
    Route(
        "POST",
        "/v1/endpoints",
        Operations.register_endpoint,
        (Action.REGISTER, RD),
        "Register an endpoint, or replace what its name stands for",
        {
            status: Answer(
                description,
                {JSON: schemas.Registered(_ID, status == 201)},
                {"Location": "The registration's path."},
            )
            for status, description in ((200, "Replaced; the id is the same."), (201, "Registered."))
        },
        tuple(
            Parameter(name, f"{name} of a link-format body; further parameters are attributes.", example=example)
            for name, example in (("ep", "lamp-3"), ("d", "floor-1"), ("lt", "90000"), ("base", "coap://[2001:db8::1]"))
        ),
        {
            JSON: schemas.Registration(
                "lamp-3", base="coap://[2001:db8::1]", attributes=(("et", "lamp"),), links=(_LINK,)
            ),
            LINK_FORMAT: '</sensors/temperature>;rt="temperature";ct=0',
        },
        True,
        (408, 413, 415),
    ),
    Route(
        "GET",
        "/v1/endpoints/{id}",
        Operations.get_endpoint,
        (Action.READ, RD),
        "Get one endpoint with its links",
        {200: Answer("The endpoint.", {JSON: _ENDPOINT})},
        (_ENDPOINT_ID,),
        refusals=(404,),
    ),
    Route(
        "PATCH",
        "/v1/endpoints/{id}",
        Operations.renew_endpoint,
        (Action.RENEW, RD),
        "Renew a registration, and change what the body names",
        {200: Answer("The endpoint as it is now.", {JSON: _ENDPOINT})},
        (_ENDPOINT_ID,),
        {JSON: schemas.Renewal(lt=3600)},
        refusals=(404, 408, 413, 415),
    ),
    Route(
        "DELETE",
        "/v1/endpoints/{id}",
        Operations.unregister_endpoint,
        (Action.REMOVE, RD),
        "Remove a registration, and keep its name out for a while if asked",
        {204: Answer("Removed.")},
        (
            _ENDPOINT_ID,
            Parameter("for_s", "Seconds in which the name may not register.", Annotated[int, _SECONDS], 3600),
        ),
        refusals=(404,),
    ),
    Route(
        "GET",
        "/v1/evictions",
        Operations.list_evictions,
        (Action.EVICT, RD),
        "List the names that are kept out",
        {200: Answer("Those whose time is not over.", {JSON: schemas.Evictions((_EVICTION,))})},
    ),
    Route(
        "DELETE",
        "/v1/evictions/{id}",
        Operations.readmit,
        (Action.EVICT, RD),
        "Let a name back in",
        {204: Answer("It may register.")},
        (Parameter("id", "The id that the evicted registration had.", str, _ID, "path", True),),
        refusals=(404,),
    ),
    Route(
        "GET",
        "/v1/export",
        Operations.export_endpoints,
        (Action.EXPORT, RD),
        "Read all registrations, streamed",
        {
            200: Answer(
                "A line for each, of the schema Exported; an answer that breaks off is incomplete.", {JSONL: _LINES}
            )
        },
        (_CRITERIA,),
    ),
    Route(
        "POST",
        "/v1/import",
        Operations.import_endpoints,
        (Action.IMPORT, RD),
        "Take registrations of another node",
        {200: Answer("What became of the lines; those imported are on disk.", {JSON: _IMPORTED})},
        (Parameter("dry_run", "Only say what would happen, to each line by itself.", example=""),),
        {JSONL: _LINES},
        True,
        (408, 413, 415),
    ),
    Route(
        "GET",
        "/v1/links",
        Operations.find_links,
        (Action.LOOK_UP, RD),
        "List links of all endpoints, resolved",
        {
            200: Answer(
                "The links that match, in a stable order; perhaps none.",
                {
                    JSON: schemas.Links((_FOUND_LINK,), None),
                    LINK_FORMAT: '<coap://[2001:db8::1]/sensors/temperature>;rt="temperature";ct=0',
                },
                _NEXT,
            )
        },
        (_CRITERIA, *_PAGING),
        refusals=(413,),
    ),
    Route(
        "GET",
        "/v1/watch",
        Operations.watch,
        (Action.WATCH, RD),
        "Watch endpoints come, change and go",
        {
            200: Answer(
                "An event for each change, without end; first all that is there, unless a token says what is known.",
                {EVENT_STREAM: _EVENT, JSONL: schemas.Event("put", _RESUME, "lamp-3", None, _ENDPOINT)},
            )
        },
        (
            _CRITERIA,
            Parameter("since", "The token of the last event seen; it resumes after it.", str, _RESUME),
            Parameter(
                "Last-Event-ID", "The same, as a browser sends it; it goes before since.", str, _RESUME, "header"
            ),
        ),
    ),
    *VOTING,
    *PROVING,
    Route(
        "GET",
        "/v1/status",
        Operations.get_status,
        (Action.STATUS, THE_NODE),
        "How the node is",
        {
            200: Answer(
                "Its figures.",
                {JSON: schemas.NodeStatus("0.1.0", True, {"storage": True}, {"lookups": 12}, {"registrations": 3})},
            )
        },
    ),
    Route(
        "POST",
        "/v1/tokens",
        Operations.create_token,
        (Action.ADMINISTER, THE_NODE),
        "Give a token",
        {201: Answer("It is on disk, as a hash; the text is shown this once.", {JSON: _GIVEN})},
        bodies={JSON: schemas.NewToken("ci", ("reader",), 2_592_000, ("look-up",), ("floor-1*",))},
        body_required=True,
        refusals=(408, 413, 415),
    ),
    Route(
        "GET",
        "/v1/tokens",
        Operations.list_tokens,
        (Action.ADMINISTER, THE_NODE),
        "List the tokens that were given and have not expired",
        {200: Answer("Oldest first.", {JSON: schemas.Tokens((_TOKEN,))})},
    ),
    Route(
        "DELETE",
        "/v1/tokens/{id}",
        Operations.revoke_token,
        (Action.ADMINISTER, THE_NODE),
        "Revoke a token",
        {204: Answer("It is of no use any more.")},
        (Parameter("id", "The token's id.", str, _TOKEN.id, "path", True),),
        refusals=(404,),
    ),
    *JOINING,
    Route(
        "GET",
        "/v1/openapi.json",
        Operations.get_description,
        (Action.DISCOVER, THE_NODE),
        "This description",
        {200: Answer("An OpenAPI 3.1 document.", {JSON: {}})},
    ),
    Route(
        "GET",
        "/livez",
        Operations.is_live,
        (Action.DISCOVER, THE_NODE),
        "Whether the node answers at all",
        {200: Answer("It does.", {TEXT: "ok\n"})},
    ),
    Route(
        "GET",
        "/readyz",
        Operations.is_ready,
        (Action.DISCOVER, THE_NODE),
        "Whether the node can do its work",
        {200: Answer("It can; 503 if it cannot.", {TEXT: "ok\n"})},
        (Parameter("verbose", "A line for each thing it depends on.", example=""),),
    ),
    Route(
        "GET",
        "/metrics",
        Operations.get_metrics,
        (Action.STATUS, THE_NODE),
        "The node's figures for Prometheus",
        {200: Answer("Text format 0.0.4.", {TEXT: "waypost_registrations 3.0\n"})},
    ),
)
