"""CoRE Link Format: links to text and back, and references to URIs.

    </sensors/temp>;rt="temperature";ct=0;obs,</sensors>;if="list of sensors"

parse() takes what RFC 6690 allows, and spaces and line ends around separators.  Its time is linear
in the input: every repetition is possessive.  Quoting is not remembered: `ct=40` and `ct="40"` are
one link.

Source: RFC 6690; RFC 9176, appendix C (Limited Link Format); RFC 3986, 5 (resolution).
"""

import re
from collections.abc import Iterable, Sequence
from sys import intern
from typing import Final, NamedTuple

from waypost.errors import WireError

Attributes = tuple[tuple[str, str | None], ...]  # in order, repeated names allowed; None: no value

DOCUMENT_OCTETS_MAX: Final = 1 << 20
LINKS_MAX: Final = 1_024  # links of one document
ATTRIBUTES_MAX: Final = 32  # attributes of one link
TARGET_MAX: Final = 1_024  # characters of a target or anchor
NAME_MAX: Final = 64  # characters of an attribute's name
VALUE_MAX: Final = 1_024  # characters of an attribute's value

LISTS: Final = frozenset(("rt", "if", "rel"))  # attributes whose value is a list separated by spaces (RFC 6690, 3)
CARDINALS: Final = frozenset(("ct", "sz"))  # attributes written without quotes (RFC 6690, 3.3; RFC 7252, 7.2.1)

_TARGET = re.compile(r"[ \t\r\n]*+<([!#-;=?-~]*+)>")  # a URI reference is visible ASCII without <, > and "
_URI = re.compile(r"[!#-;=?-~]*+")
_ATTRIBUTE = re.compile(
    r"[ \t\r\n]*+;[ \t\r\n]*+([!#$&+\-.^_`|~0-9A-Za-z]++\*?+)"  # parmname of RFC 5987, perhaps with a star
    r'(?:[ \t\r\n]*+=[ \t\r\n]*+(?:"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x1f\x7f])*+)"'
    r"|([!#-+\-./0-:<-\[\]-~]++)))?+"  # ptoken of RFC 6690
)
_SEPARATOR = re.compile(r"[ \t\r\n]*+(,|\Z)")
_ESCAPE = re.compile(r"\\(.)")
_REFERENCE = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.\-]*+):)?+(?://([^/?#]*+))?+([^?#]*+)(?:\?([^#]*+))?+(?:#(.*+))?+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*+:")
_AUTHORITY_END = re.compile(r"[/?#]")


class Link(NamedTuple):
    """`href` as it was written; `anchor`, if any, is among the attributes."""

    href: str
    attributes: Attributes


def parse(data: bytes, *, octets_max: int = DOCUMENT_OCTETS_MAX, links_max: int = LINKS_MAX) -> list[Link]:
    """The links of a document, in order; an empty document has none.  Raises WireError for anything else."""
    if len(data) > octets_max:
        raise WireError(f"the document has more than {octets_max} octets")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise WireError(f"the document is not UTF-8 at octet {error.start}") from error
    links: list[Link] = []
    if not text or text.isspace():
        return links
    position = 0
    while True:
        if len(links) == links_max:
            raise WireError(f"the document has more than {links_max} links")
        target = _TARGET.match(text, position)
        if target is None:
            raise WireError(f"expected <target> at character {position}")
        attributes, position = _attributes(text, target.end())
        href = target[1]
        if len(href) > TARGET_MAX:
            raise WireError(f"the target {href[:32]}… has more than {TARGET_MAX} characters")
        links.append(Link(href, attributes))
        separator = _SEPARATOR.match(text, position)
        if separator is None:
            raise WireError(f"expected ',' or ';' or the end at character {position}")
        if not separator[1]:
            return links
        position = separator.end()


def _attributes(text: str, position: int) -> tuple[Attributes, int]:
    attributes: list[tuple[str, str | None]] = []
    anchored = False
    while (match := _ATTRIBUTE.match(text, position)) is not None:
        name, quoted, value = match.groups()
        if quoted is not None:
            value = _ESCAPE.sub(r"\1", quoted) if "\\" in quoted else quoted
        if len(name) > NAME_MAX or (value is not None and len(value) > VALUE_MAX):
            raise WireError(f"an attribute has a name over {NAME_MAX} or a value over {VALUE_MAX} characters")
        if name == "anchor":
            if anchored or value is None or len(value) > TARGET_MAX or _URI.fullmatch(value) is None:
                raise WireError("anchor wants one URI reference, once in a link")
            anchored = True
        if len(attributes) == ATTRIBUTES_MAX:
            raise WireError(f"a link has more than {ATTRIBUTES_MAX} attributes")
        attributes.append((intern(name), value))
        position = match.end()
    return tuple(attributes), position


def serialise(links: Iterable[Link]) -> bytes:
    """The document of `links`."""
    return ",".join([f"<{link.href}>{attribute_text(link.attributes)}" for link in links]).encode()


def attribute_text(attributes: Attributes) -> str:
    """`;name="value"` for each attribute."""
    text = ""
    for name, value in attributes:
        if value is None:
            text += f";{name}"
        elif name in CARDINALS and value.isdigit() and value.isascii():
            text += f";{name}={value}"
        elif '"' in value or "\\" in value:
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            text += f';{name}="{escaped}"'
        else:
            text += f';{name}="{value}"'
    return text


def require_limited(links: Iterable[Link]) -> None:
    """Raises WireError unless every target and anchor has a scheme or starts with exactly one slash."""
    for link in links:
        if not is_limited(link.href):
            raise WireError(f'the target <{link.href[:64]}> needs a scheme or exactly one leading "/"')
        for name, value in link.attributes:
            if name == "anchor" and not is_limited(value or ""):
                raise WireError(f'the anchor "{(value or "")[:64]}" needs a scheme or exactly one leading "/"')


def is_limited(reference: str) -> bool:
    """RFC 9176, appendix C."""
    if reference.startswith("/"):
        return not reference.startswith("//")
    return _SCHEME.match(reference) is not None


def filter_links(links: Iterable[Link], query: Sequence[str]) -> bytes:
    """The document of those that match every `name=value` of a /.well-known/core request (RFC 6690, 4.1)."""
    filters = [item.partition("=") for item in query]
    return serialise(
        link for link in links if all(_matches(link, name, value, bool(equals)) for name, equals, value in filters)
    )


def _matches(link: Link, name: str, wanted: str, valued: bool) -> bool:
    if name == "href":
        return accepts(wanted, link.href)
    for own, value in link.attributes:
        if own == name and (not valued or any(accepts(wanted, item) for item in values(name, value))):
            return True
    return False


def values(name: str, value: str | None) -> Sequence[str]:
    """What a search may find an attribute by: the items of a list, or the value; "" if it has none."""
    if value is None:
        return ("",)
    return value.split() if name in LISTS and " " in value else (value,)


def accepts(wanted: str, value: str) -> bool:
    """Exact, or by prefix if `wanted` ends in a star."""
    return value.startswith(wanted[:-1]) if wanted.endswith("*") else value == wanted


def origin(uri: str) -> str:
    """`scheme://authority` of a URI that has both."""
    end = _AUTHORITY_END.search(uri, uri.index("://") + 3)
    return uri if end is None else uri[: end.start()]


def resolve(base: str, reference: str) -> str:
    """The URI that `reference` means at `base`, for any scheme (RFC 3986, 5.2.2)."""
    scheme, authority, path, query, fragment = _split(reference)
    if scheme is None:
        scheme, base_authority, base_path, base_query, _ = _split(base)
        if authority is None:
            authority = base_authority
            if not path:
                path = base_path
                query = base_query if query is None else query
            elif not path.startswith("/"):
                # RFC 3986, 5.2.3: an empty path of a base with authority stands for "/"
                path = (
                    "/" + path if authority is not None and not base_path else base_path.rpartition("/")[0] + "/" + path
                )
    uri = "" if scheme is None else scheme + ":"
    uri += "" if authority is None else "//" + authority
    uri += _without_dots(path) if "." in path else path
    uri += "" if query is None else "?" + query
    return uri if fragment is None else f"{uri}#{fragment}"


def _split(reference: str) -> tuple[str | None, str | None, str, str | None, str | None]:
    match = _REFERENCE.match(reference)
    assert match is not None, "every part of the pattern may be empty"
    scheme, authority, path, query, fragment = match.groups()
    return scheme, authority, path, query, fragment


def _without_dots(path: str) -> str:
    """RFC 3986, 5.2.4."""
    if not path.startswith("/"):
        return path  # of a URI such as urn:a.b, which has no segments to walk
    output: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            if len(output) > 1:
                output.pop()
        elif segment != ".":
            output.append(segment)
    if segments[-1] in (".", ".."):
        output.append("")
    return "/".join(output)
