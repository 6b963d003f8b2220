"""The directory's face on CoAP: requests to questions, outcomes to responses.

    POST   /rd?ep=…&d=…&lt=…&base=…&…    register
    POST   /reg/<uuid>?lt=…&base=…&…      update
    DELETE /reg/<uuid>                     remove
    GET    /reg/<uuid>?…                   its links
    POST   /.well-known/rd?ep=…&…          register simply; /.well-known/core in draft -12
    GET    /rd-lookup/ep?…, /rd-lookup/res?…
    POST   /rd-group?gp=…&d=…&con=…        register a group (draft -12)
    GET    /rd-lookup/gp?…                 look up groups (draft -12)

A path may end in an empty segment: clients differ in whether they send it.

Source: RFC 9176, 4.3 (discovery), 5 and 6; draft-ietf-core-resource-directory-12, 5.4.3, 6 and 7.
"""

from dataclasses import replace
from typing import Final

from waypost.coap.links import Link, serialise
from waypost.coap.numbers import LINK_FORMAT, Code
from waypost.coap.request import Request, Response, diagnostic
from waypost.engine import Endpoint, Path
from waypost.errors import WireError
from waypost.rd import groups, parameters
from waypost.rd.index import LOCATION
from waypost.rd.questions import (
    Busy,
    Entry,
    Found,
    Kind,
    LinkEntry,
    Outcome,
    Probe,
    Question,
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
from waypost.rd.zones import zone_of

# RFC 9176, 4.3
RESOURCES: Final = (
    Link("/rd", (("rt", "core.rd"), ("ct", "40"))),
    Link("/rd-lookup/ep", (("rt", "core.rd-lookup-ep"), ("ct", "40"), ("obs", None))),
    Link("/rd-lookup/res", (("rt", "core.rd-lookup-res"), ("ct", "40"), ("obs", None))),
    Link("/rd-group", (("rt", "core.rd-group"), ("ct", "40"))),  # draft -12, 9.1
    Link("/rd-lookup/gp", (("rt", "core.rd-lookup-gp"), ("ct", "40"), ("obs", None))),
)

SCHEMES: Final = {
    "udp": ("coap", 5683),
    "tcp": ("coap+tcp", 5683),
    "ws": ("coap+ws", 80),
    "dtls": ("coaps", 5684),
    "tls": ("coaps+tcp", 5684),
}
KINDS: Final = {kind.value: kind for kind in Kind}
CODES: Final = {
    Reason.BAD_REQUEST: Code.BAD_REQUEST,
    Reason.FORBIDDEN: Code.FORBIDDEN,
    Reason.NOT_FOUND: Code.NOT_FOUND,
    Reason.TOO_LARGE: Code.BAD_REQUEST,  # 4.13 would speak of the request
    Reason.UNVERIFIED: Code.UNAUTHORIZED,  # the server adds an Echo value
    Reason.UNUSABLE: Code.BAD_GATEWAY,
    Reason.UNREACHABLE: Code.GATEWAY_TIMEOUT,
}


def question(request: Request, path: Path) -> Question | Response:
    """What `request` asks the directory, or the response that refuses it."""
    segments = request.path[:-1] if len(request.path) > 1 and request.path[-1] == "" else request.path
    try:
        match segments:
            case ("rd-lookup", kind) if kind in KINDS:
                return _lookup(request, path, KINDS[kind])
            case ("rd",):
                return _register(request, path)
            case (".well-known", "rd"):
                return _probe(request, path, parameters.LIFETIME_DEFAULT)
            case (".well-known", "core"):
                return _probe(request, path, parameters.LIFETIME_DEFAULT_12)
            case ("rd-group",):
                return _register_group(request, path)
            case ("reg", location):
                return _registration(request, path, location)
            case _:
                return diagnostic(Code.NOT_FOUND, "there is nothing here: GET /.well-known/core says what there is")
    except WireError as error:
        return diagnostic(Code.BAD_REQUEST, str(error))


def _lookup(request: Request, path: Path, kind: Kind) -> Question | Response:
    if request.method != Code.GET:
        return diagnostic(Code.METHOD_NOT_ALLOWED, "look up with GET")
    if request.accept not in (None, LINK_FORMAT):
        return _not_acceptable()
    lookup = parameters.lookup(kind, parameters.split(request.query))
    lookup.zone, lookup.who = zone_of(path), path.who
    for name, value in lookup.criteria:
        if name == "href" and value is not None and "://" in value:
            own = origin(path, path.local, request.host)
            lookup.criteria = tuple([_path_absolute(name, value, own) for name, value in lookup.criteria])
            break
    return lookup


def _path_absolute(name: str, value: str | None, own: str) -> tuple[str, str | None]:
    """RFC 9176, 6.2: a registration resource may be named by its URI; here they are known by their paths."""
    if name == "href" and value is not None and value.startswith(own + LOCATION):
        return name, value.removeprefix(own)
    return name, value


def _register(request: Request, path: Path) -> Question | Response:
    if request.method != Code.POST:
        return diagnostic(Code.METHOD_NOT_ALLOWED, "register with POST")
    if request.content_format not in (None, LINK_FORMAT):  # who leaves it out means the one format there is
        return diagnostic(Code.UNSUPPORTED_CONTENT_FORMAT, "send the links as application/link-format (40)")
    own = parameters.read(parameters.split(request.query))
    return _registered(own, path, parameters.LIFETIME_DEFAULT, request.payload)


def _registered(own: parameters.Parameters, path: Path, lt: int, links: bytes) -> Register:
    lt = lt if own.lt is None else own.lt
    base, who = implicit_base(path), path.who
    return Register(own.ep or "", own.d, lt, own.base, base, own.attributes, links, source(path), who, zone_of(path))


def _probe(request: Request, path: Path, lt: int) -> Question | Response:
    if request.method != Code.POST:
        return diagnostic(Code.METHOD_NOT_ALLOWED, "register simply with POST")
    if request.payload:
        return diagnostic(Code.BAD_REQUEST, "a simple registration has no payload: POST links to /rd")
    own = parameters.read(parameters.split(request.query))
    if own.base is not None:
        return diagnostic(Code.BAD_REQUEST, "a simple registration has no base: your links are fetched from you")
    return Probe(replace(_registered(own, path, lt, b""), simple=True), path, path.validated or request.verified)


def _register_group(request: Request, path: Path) -> Question | Response:
    if request.method != Code.POST:
        return diagnostic(Code.METHOD_NOT_ALLOWED, "register a group with POST")
    if request.content_format not in (None, LINK_FORMAT):
        return diagnostic(Code.UNSUPPORTED_CONTENT_FORMAT, "send the links as application/link-format (40)")
    renamed = [("ep" if name == "gp" else name, value) for name, value in parameters.split(request.query)]
    own = parameters.read(renamed)
    if own.lt is not None or own.attributes:
        return diagnostic(Code.BAD_REQUEST, "a group has gp, d and con: leave the others out")
    group = _registered(own, path, parameters.LIFETIME_MAX, b"")
    return replace(group, attributes=(groups.TYPE,), members=groups.read_members(request.payload))


def _registration(request: Request, path: Path, location: str) -> Question | Response:
    match request.method:
        case Code.POST:
            if request.payload:
                return diagnostic(Code.BAD_REQUEST, "an update has no payload: to replace the links, register again")
            own = parameters.read(parameters.split(request.query))
            if own.ep is not None or own.d is not None:
                return diagnostic(Code.BAD_REQUEST, "ep and d cannot be updated: leave them out, or register anew")
            base, zone = implicit_base(path), zone_of(path)
            return Renew(location, own.lt, own.base, base, own.attributes, source(path), path.who, zone)
        case Code.DELETE:
            return Remove(location, source(path), path.who)
        case Code.GET:
            if request.accept not in (None, LINK_FORMAT):
                return _not_acceptable()
            criteria = tuple(parameters.split(request.query))
            if len(criteria) > parameters.CRITERIA_MAX:
                return diagnostic(Code.BAD_REQUEST, f"a request may have {parameters.CRITERIA_MAX} criteria")
            return Read(location, criteria, zone_of(path), path.who)
        case _:
            return diagnostic(Code.METHOD_NOT_ALLOWED, "update with POST, remove with DELETE, read with GET")


def response(outcome: Outcome) -> Response:
    """RFC 9176, 5, 5.3.1, 5.3.2 and 6.2."""
    match outcome:
        case Found(body=body, fresh=fresh, others=others):
            return Response(Code.CONTENT, body, LINK_FORMAT, fresh=fresh, others=others)
        case Registered(simple=True):
            return Response(Code.CHANGED)
        case Registered(location=location):
            return Response(Code.CREATED, location=("reg", location))
        case Renewed():
            return Response(Code.CHANGED)
        case Removed():
            return Response(Code.DELETED)
        case Entry(links=links):
            return Response(Code.CONTENT, serialise(map(_link, links or ())), LINK_FORMAT)
        case Refused(reason=reason, detail=detail, retry_s=retry_s):
            return diagnostic(CODES[reason], detail, max_age=retry_s)
        case Busy(retry_s=retry_s, detail=detail):
            return diagnostic(Code.SERVICE_UNAVAILABLE, detail, max_age=retry_s)  # RFC 7252, 5.9.3.4
        case _:
            raise AssertionError(f"{outcome!r} is no answer to what CoAP asks")


def implicit_base(path: Path) -> str:
    """The sender's scheme, address and port (RFC 9176, 5, base): never a zone."""
    return origin(path, path.peer, None)


def origin(path: Path, endpoint: Endpoint, name: str | None) -> str:
    """Scheme and authority of `endpoint` at one end of `path`, under its `name` if it has one (RFC 7252, 6.5)."""
    scheme, default_port = SCHEMES[path.transport]
    host = name or endpoint.host.partition("%")[0]
    if host.startswith("::ffff:") and "." in host:
        host = host.removeprefix("::ffff:")
    elif ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{scheme}://{host}" if endpoint.port == default_port else f"{scheme}://{host}:{endpoint.port}"


def source(path: Path) -> str:
    """The sender's address; for a link-local one with its zone, which never leaves the node."""
    return f"{path.peer.host}%{path.peer.scope}" if path.peer.scope else path.peer.host


def _link(entry: LinkEntry) -> Link:
    anchor = () if entry.anchor is None else (("anchor", entry.anchor),)
    return Link(entry.href, anchor + entry.attributes)


def _not_acceptable() -> Response:
    return diagnostic(Code.NOT_ACCEPTABLE, "application/link-format (40) is what there is")
