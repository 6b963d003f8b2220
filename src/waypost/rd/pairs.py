"""What finds a link or a registration: (name, value), lists taken apart.

Source: RFC 9176, 6.2; RFC 6690, 3.
"""

from typing import Final

from waypost.coap import links as linkformat
from waypost.rd.questions import Attributes

REFERENCES: Final = frozenset(("href", "anchor"))  # searched as resolved URIs (RFC 9176, 6.2)

Pairs = tuple[tuple[str, str | None], ...]


def search_pairs(attributes: Attributes) -> Pairs:
    """(name, value) by which attributes are found: lists split, each once, an absolute anchor resolved."""
    for name, value in attributes:
        if name in REFERENCES or (value is not None and " " in value):
            break
    else:
        if len({name for name, _ in attributes}) == len(attributes):
            return attributes  # the common case costs nothing
    pairs: dict[tuple[str, str | None], None] = {}
    for name, value in attributes:
        if name == "anchor":
            if value and not value.startswith("/"):
                pairs[name, linkformat.resolve("", value)] = None
        elif name != "href":  # that is the target's name in a search
            for item in linkformat.values(name, value):
                pairs[name, item] = None
    return tuple(pairs)
