"""CoRE Link Format: links to text and back, and references to URIs.

    </sensors/temp>;rt="temperature";ct=0;obs,</sensors>;if="list of sensors"

parse() takes what RFC 6690 allows, and spaces and line ends around separators.  Its time is linear
in the input: every repetition is possessive.  Quoting is not remembered: `ct=40` and `ct="40"` are
one link.

Source: RFC 6690; RFC 9176, appendix C (Limited Link Format); RFC 3986, 5 (resolution).
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
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

TEXTS_MAX: Final = 2_048  # texts of attributes whose meaning is remembered: devices of one kind send the same ones
TEXT_MAX: Final = 256  # characters of such a text

_SPACE = r"[ \t\r\n]*+"
_VISIBLE = r"[!#-;=?-~]*+"  # a URI reference is visible ASCII without <, > and "
_NAME = r"[!#$&+\-.^_`|~0-9A-Za-z]++\*?+"  # parmname of RFC 5987, perhaps with a star
_PLAIN = r'[^"\\\x00-\x08\x0a-\x1f\x7f]*+'
_QUOTED = rf"{_PLAIN}(?:\\[^\x00-\x1f\x7f]{_PLAIN})*+"
_WORD = r"[!#-+\-./0-:<-\[\]-~]++"  # ptoken of RFC 6690
_URI = re.compile(_VISIBLE)
_ATTRIBUTE = re.compile(rf'{_SPACE};{_SPACE}({_NAME})(?:{_SPACE}(=){_SPACE}(?:"({_QUOTED})"|({_WORD})))?+')
# A whole link: its target, the text of its attributes, one too many to be seen, and what ends it.
_LINK = re.compile(
    f"{_SPACE}<({_VISIBLE})>"
    f'((?:{_SPACE};{_SPACE}{_NAME}(?:{_SPACE}={_SPACE}(?:"{_QUOTED}"|{_WORD}))?+){{0,{ATTRIBUTES_MAX + 1}}}+)'
    rf"{_SPACE}(,|\Z)?+"
)
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
        match = _LINK.match(text, position)
        if match is None:
            raise WireError(f"expected <target> at character {position}")
        href, attributes, end = match.groups()
        if len(href) > TARGET_MAX:
            raise WireError(f"the target {href[:32]}… has more than {TARGET_MAX} characters")
        read = _remembered_attributes if len(attributes) <= TEXT_MAX else _attributes
        links.append(Link(href, read(attributes)))
        position = match.end()
        if not end:
            if end is None:
                raise WireError(f"expected ',' or ';' or the end at character {position}")
            return links


def _attributes(text: str) -> Attributes:
    """Of a part of a document that is nothing but attributes."""
    found = _ATTRIBUTE.findall(text)
    if len(found) > ATTRIBUTES_MAX:
        raise WireError(f"a link has more than {ATTRIBUTES_MAX} attributes")
    if "\\" in text:
        found = [(name, equals, _ESCAPE.sub(r"\1", quoted), token) for name, equals, quoted, token in found]
    attributes: Attributes = tuple(
        [(intern(name), quoted or token or ("" if equals else None)) for name, equals, quoted, token in found]
    )
    if len(text) > NAME_MAX and any(len(n) > NAME_MAX or len(v or "") > VALUE_MAX for n, v in attributes):
        raise WireError(f"an attribute has a name over {NAME_MAX} or a value over {VALUE_MAX} characters")
    if "anchor" in text:
        anchors = [value for name, value in attributes if name == "anchor"]
        if len(anchors) > 1 or any(v is None or len(v) > TARGET_MAX or _URI.fullmatch(v) is None for v in anchors):
            raise WireError("anchor wants one URI reference, once in a link")
    return attributes


_remembered_attributes = lru_cache(TEXTS_MAX)(_attributes)


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
