"""What a request says: its host, its query, its media types, its body.  Raises Refusal for what is wrong.

Source: RFC 9110, 7.2 (Host), 8.3 (Content-Type), 12.5.1 (Accept).
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from ipaddress import ip_address
from typing import Final, TypeVar
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from waypost.api.problem import Refusal
from waypost.api.schemas import JSON, NewLink, Registration
from waypost.errors import WireError
from waypost.rd import parameters
from waypost.rd.parameters import LIFETIME_DEFAULT
from waypost.rd.questions import Kind, Lookup

COUNT_DEFAULT: Final = 100
COUNT_MAX: Final = 1000
PAIRS_MAX: Final = 100  # parameters of one query

Pairs = tuple[tuple[str, str | None], ...]
T = TypeVar("T", bound=msgspec.Struct)
UNKNOWN_FIELD: Final = re.compile("unknown field `(.*?)`", re.DOTALL)


def served(host: str | None, names: Collection[str]) -> bool:
    """Whether a Host field has a name or address of the loopback or one of `names`, with any port.

    A page elsewhere can have its own name resolve to us, but cannot give our name as its own
    (DNS rebinding).
    """
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/\s]+)(?::[0-9]{1,5})?", host or "")
    if match is None:
        return False
    name = match[1].strip("[]").rstrip(".").lower()
    try:
        address = ip_address(name)
    except ValueError:
        return name == "localhost" or name in names
    return address.is_loopback or str(address) in names


def is_own(origin: str, host: str) -> bool:
    """Whether an Origin field is that of the node which the Host field names."""
    try:
        return urlsplit(origin).netloc.lower() == host.lower() != ""
    except ValueError:
        return False


def pairs(query: str) -> Pairs:
    """The query's parameters in order; one without "=" has the value None.  "+" is a space."""
    parts = [part for part in query.split("&") if part]
    if len(parts) > PAIRS_MAX:
        raise Refusal(400, f"the query has more than {PAIRS_MAX} parameters")
    found: list[tuple[str, str | None]] = []
    for part in parts:
        name, equals, value = part.partition("=")
        found.append((_decoded(name), _decoded(value) if equals else None))
    return tuple(found)


def _decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text.replace("+", " ").encode("utf-8", "surrogateescape")).decode()
    except UnicodeError:
        raise Refusal(400, "the query is not percent-encoded UTF-8") from None


def lookup(kind: Kind, query: Pairs, *, structured: bool) -> Lookup:
    """As on CoAP, but a page has COUNT_DEFAULT entries if `count` does not say, and never more than COUNT_MAX."""
    try:
        wanted = parameters.lookup(kind, query, structured=structured)
    except WireError as error:
        raise Refusal(400, str(error)) from error
    if wanted.count is not None and wanted.count > COUNT_MAX:
        raise Refusal(400, f"count must be 1 to {COUNT_MAX}")
    wanted.count = COUNT_DEFAULT if wanted.count is None else wanted.count
    return wanted


def seconds(query: Pairs, name: str) -> int | None:
    """The one parameter that there may be, from 1 on; None if it is not given."""
    if not query:
        return None
    ((given, value), *more) = query
    if given != name or more:
        raise Refusal(400, f"{name} is the one parameter here, and {(more[0][0] if more else given)!r} is given")
    try:
        number = parameters.number(name, value)
    except WireError as error:
        raise Refusal(400, str(error)) from error
    if not 1 <= number <= parameters.LIFETIME_MAX:
        raise Refusal(400, f"{name} must be 1 to {parameters.LIFETIME_MAX} seconds")
    return number


def no_query(query: Pairs) -> None:
    if query:
        raise Refusal(400, f"there are no parameters here, and {query[0][0]!r} is given")


def named(query: Pairs, names: Sequence[str]) -> dict[str, str]:
    """The parameters there may be, each once; one without "=" is empty."""
    found: dict[str, str] = {}
    for name, value in query:
        if name not in names:
            raise Refusal(400, f"the parameters here are {', '.join(names)}, and {name!r} is given")
        if name in found:
            raise Refusal(400, f"{name} is given twice: give it once")
        found[name] = value or ""
    return found


def flag(named: Mapping[str, str], name: str) -> bool:
    match named.get(name, "false"):
        case "" | "true":
            return True
        case "false":
            return False
        case _:
            raise Refusal(400, f"{name} is true or false")


def number(named: Mapping[str, str], name: str, default: int, least: int) -> int:
    """Of at most sixteen digits."""
    text = named.get(name)
    if text is None:
        return default
    if not (re.fullmatch("[0-9]{1,16}", text) and int(text) >= least):
        raise Refusal(400, f"{name} is a number from {least} on")
    return int(text)


def count(named: Mapping[str, str]) -> int:
    """Of a page."""
    wanted = number(named, "count", COUNT_DEFAULT, 1)
    if wanted > COUNT_MAX:
        raise Refusal(400, f"count must be 1 to {COUNT_MAX}")
    return wanted


def segment(text: str) -> str:
    """A part of a path, decoded."""
    try:
        return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode()
    except UnicodeError:
        raise Refusal(400, "the path is not percent-encoded UTF-8") from None


def since(query: Pairs) -> tuple[str | None, Pairs]:
    """The token to resume after, if there is one, and the criteria."""
    tokens = [value or "" for name, value in query if name == "since"]
    if len(tokens) > 1:
        raise Refusal(400, "since is given twice: give it once")
    criteria = tuple(pair for pair in query if pair[0] != "since")
    if any(name in ("page", "count") for name, _ in criteria):
        raise Refusal(400, "a feed has no pages: leave out page and count")
    return tokens[0] if tokens else None, criteria


def registration(query: Pairs) -> Registration:
    """What a link-format body leaves to the query (RFC 9176, 5); `links` stays empty."""
    try:
        given = parameters.read(query)
    except WireError as error:
        raise Refusal(400, str(error)) from error
    lt = LIFETIME_DEFAULT if given.lt is None else given.lt
    return Registration(given.ep or "", given.d, lt, given.base, given.attributes)


def chosen(accept: str | None, offered: Sequence[str]) -> str:
    """The media type of `offered` that the client likes best; the first of those it likes equally."""
    ranges = list(_ranges(accept or "*/*"))
    best = max(offered, key=lambda media: _quality(media, ranges))  # max keeps the first of equals
    if _quality(best, ranges) <= 0:
        raise Refusal(406, f"the request accepts none of what is here: {', '.join(offered)}")
    return best


def _ranges(accept: str) -> Iterable[tuple[str, float]]:
    for item in accept.split(","):
        media, *parameters = (part.strip().lower() for part in item.split(";"))
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        yield media, float(weight) if re.fullmatch(r"[01](\.[0-9]{0,3})?", weight) else 0.0


def _quality(media: str, ranges: Iterable[tuple[str, float]]) -> float:
    """The weight of the most specific range that covers `media`."""
    weights = dict(ranges)
    for range_ in (media, media.partition("/")[0] + "/*", "*/*"):
        if range_ in weights:
            return weights[range_]
    return 0.0


def content_type(field: str | None, encoding: str | None, understood: Collection[str]) -> str:
    """The body's media type, one of `understood`.

    It must be named: a page of another origin may send a body without a type, or a text, but must
    ask before it sends one of these.
    """
    media = (field or "").partition(";")[0].strip().lower()
    if media not in understood:
        wanted = " or ".join(understood)
        raise Refusal(415, f"the body must be {wanted}, not {media or 'of no stated type'}")
    if (encoding or "identity").strip().lower() != "identity":
        raise Refusal(415, "compressed bodies are not understood")
    return media


def json(body: bytes, kind: type[T]) -> T:
    """`body` as `kind`; the refusal says what is wrong and where."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Refusal(400, _sentence(str(error), kind)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # msgspec lets the latter out for names of fields
        raise Refusal(400, f"the body is not {JSON}: {str(error)[:200]}") from None


def _sentence(message: str, kind: type[msgspec.Struct]) -> str:
    message = message[:1].lower() + message[1:300]
    unknown = UNKNOWN_FIELD.search(message)
    if unknown is None:
        return message
    known = (NewLink if "`$.links[" in message else kind).__struct_fields__
    close = get_close_matches(unknown[1], known, n=1)
    return f"{message}; did you mean `{close[0]}`?" if close else f"{message}; there are {', '.join(known)}"
