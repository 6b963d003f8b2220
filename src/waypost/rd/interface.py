"""The directory's face on CoAP: requests to questions, outcomes to responses.

    POST   /rd?ep=…&d=…&lt=…&base=…&…    register
    POST   /reg/<uuid>?lt=…&base=…&…      update
    DELETE /reg/<uuid>                     remove
    GET    /reg/<uuid>                     its links
    GET    /rd-lookup/ep?…, /rd-lookup/res?…

A path may end in an empty segment: clients differ in whether they send it.

Source: RFC 9176, 4.1 (discovery), 5 and 6.
"""

from typing import Final

from waypost.coap.links import Link, serialise
from waypost.coap.numbers import LINK_FORMAT, Code
from waypost.coap.request import Request, Response, diagnostic
from waypost.engine import Path
from waypost.errors import WireError
from waypost.rd import parameters
from waypost.rd.questions import (
    Busy,
    Entry,
    Found,
    Kind,
    LinkEntry,
    Outcome,
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

# RFC 9176, 4.1
RESOURCES: Final = (
    Link("/rd", (("rt", "core.rd"), ("ct", "40"))),
    Link("/rd-lookup/ep", (("rt", "core.rd-lookup-ep"), ("ct", "40"), ("obs", None))),
    Link("/rd-lookup/res", (("rt", "core.rd-lookup-res"), ("ct", "40"), ("obs", None))),
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
}


def question(request: Request, path: Path) -> Question | Response:
    """What `request` asks the directory, or the response that refuses it."""
    segments = request.path[:-1] if len(request.path) > 1 and request.path[-1] == "" else request.path
    try:
        match segments:
            case ("rd-lookup", kind) if kind in KINDS:
                return _lookup(request, KINDS[kind])
            case ("rd",):
                return _register(request, path)
            case ("reg", location):
                return _registration(request, path, location)
            case _:
                return diagnostic(Code.NOT_FOUND, "there is nothing here: GET /.well-known/core says what there is")
    except WireError as error:
        return diagnostic(Code.BAD_REQUEST, str(error))


def _lookup(request: Request, kind: Kind) -> Question | Response:
    if request.method != Code.GET:
        return diagnostic(Code.METHOD_NOT_ALLOWED, "look up with GET")
    if request.accept not in (None, LINK_FORMAT):
        return _not_acceptable()
    return parameters.lookup(kind, parameters.split(request.query))


def _register(request: Request, path: Path) -> Question | Response:
    if request.method != Code.POST:
        return diagnostic(Code.METHOD_NOT_ALLOWED, "register with POST")
    if request.content_format not in (None, LINK_FORMAT):  # who leaves it out means the one format there is
        return diagnostic(Code.UNSUPPORTED_CONTENT_FORMAT, "send the links as application/link-format (40)")
    own = parameters.read(parameters.split(request.query))
    lt = parameters.LIFETIME_DEFAULT if own.lt is None else own.lt
    base, sender = implicit_base(path), path.peer.host
    return Register(own.ep or "", own.d, lt, own.base, base, own.attributes, request.payload, sender)


def _registration(request: Request, path: Path, location: str) -> Question | Response:
    match request.method:
        case Code.POST:
            if request.payload:
                return diagnostic(Code.BAD_REQUEST, "an update has no payload: to replace the links, register again")
            own = parameters.read(parameters.split(request.query))
            if own.ep is not None or own.d is not None:
                return diagnostic(Code.BAD_REQUEST, "ep and d cannot be updated: leave them out, or register anew")
            return Renew(location, own.lt, own.base, implicit_base(path), own.attributes, path.peer.host)
        case Code.DELETE:
            return Remove(location)
        case Code.GET:
            return Read(location) if request.accept in (None, LINK_FORMAT) else _not_acceptable()
        case _:
            return diagnostic(Code.METHOD_NOT_ALLOWED, "update with POST, remove with DELETE, read with GET")


def response(outcome: Outcome) -> Response:
    """RFC 9176, 5, 5.3.1, 5.3.2 and 6.2."""
    match outcome:
        case Found(body=body, fresh=fresh):
            return Response(Code.CONTENT, body, LINK_FORMAT, fresh=fresh)
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
    scheme, default_port = SCHEMES[path.transport]
    host = path.peer.host.partition("%")[0]
    if host.startswith("::ffff:") and "." in host:
        host = host.removeprefix("::ffff:")
    elif ":" in host:
        host = f"[{host}]"
    return f"{scheme}://{host}" if path.peer.port == default_port else f"{scheme}://{host}:{path.peer.port}"


def _link(entry: LinkEntry) -> Link:
    anchor = () if entry.anchor is None else (("anchor", entry.anchor),)
    return Link(entry.href, anchor + entry.attributes)


def _not_acceptable() -> Response:
    return diagnostic(Code.NOT_ACCEPTABLE, "application/link-format (40) is what there is")
