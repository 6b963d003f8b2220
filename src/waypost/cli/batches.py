"""A file of lines, or of link-format, in batches that a node takes; memory for one batch, whatever the file.

Other directories print two lookups in link-format: their endpoints, and their resources with resolved
targets.  A resource belongs to the endpoint at whose base its target begins; which that is must be
plain, or the resource is refused.  Such a file is read whole: its links stand in no order.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

import msgspec

from waypost.api.schemas import LIFETIME_DEFAULT, Exported, LineError
from waypost.coap import links as linkformat
from waypost.coap.links import Link

LINE_MAX: Final = 192 << 10  # octets; the longest registration has less
BATCH_OCTETS: Final = LINE_MAX  # as long as a line, and less than a body may be
BATCH_LINES: Final = 500
FILE_MAX: Final = 256 << 20  # octets of link-format, which is read whole
ENDPOINT: Final = "core.rd-ep"  # RFC 9176, 6.4


Line = tuple[int, bytes | LineError]  # its number in the file, from 1; what it says, or what is wrong with it


@dataclass(frozen=True, slots=True)
class Batch:
    """`numbers` are those of the lines in the file; `errors` are of lines that are not sent at all."""

    lines: tuple[bytes, ...]
    numbers: tuple[int, ...]
    errors: tuple[LineError, ...]


def batches(lines: Iterable[Line]) -> Iterator[Batch]:
    taken: list[tuple[int, bytes]] = []
    errors: list[LineError] = []
    size = 0
    for number, line in lines:
        if isinstance(line, LineError):
            errors.append(line)
        elif line:
            if taken and (size + len(line) > BATCH_OCTETS or len(taken) == BATCH_LINES):
                yield _batch(taken, errors)
                taken, errors, size = [], [], 0
            taken.append((number, line))
            size += len(line) + 1
        if len(errors) == BATCH_LINES:
            yield _batch(taken, errors)
            taken, errors, size = [], [], 0
    yield _batch(taken, errors)


def _batch(taken: list[tuple[int, bytes]], errors: list[LineError]) -> Batch:
    return Batch(tuple(line for _, line in taken), tuple(number for number, _ in taken), tuple(errors))


def read_lines(file: BinaryIO) -> Iterator[Line]:
    for number in itertools.count(1):
        line = file.readline(LINE_MAX + 1)
        if not line:
            return
        if len(line) <= LINE_MAX or line.endswith(b"\n"):
            yield number, line.strip(b"\r\n\t ")
            continue
        while (rest := file.readline(LINE_MAX)) and not rest.endswith(b"\n"):
            pass
        yield number, LineError(number, f"the line has more than {LINE_MAX} octets")


def read_link_format(files: Iterable[BinaryIO]) -> Iterator[Line]:
    """The numbers count the links of all files.  Raises WireError for what is no link-format."""
    links = [link for file in files for link in _parse(file.read(FILE_MAX + 1))]
    owners = Counter(_origin(_value(link, "base")) for link in links if _is_endpoint(link))
    resources: dict[str, list[Link]] = {}
    for number, link in enumerate(links, 1):
        if not _is_endpoint(link):
            home = _home(link, owners)
            if home is None:
                yield number, LineError(number, f"no endpoint here has the base of <{link.href[:64]}>")
            else:
                resources.setdefault(home, []).append(link)
    for number, link in enumerate(links, 1):
        if _is_endpoint(link):
            yield number, _line(number, link, owners, resources)


def _parse(data: bytes) -> list[Link]:
    return linkformat.parse(data, octets_max=FILE_MAX, links_max=FILE_MAX)


def _home(link: Link, owners: Mapping[str, int]) -> str | None:
    """The base where the link belongs: that of its target, or else that of its context."""
    for uri in (link.href, _value(link, "anchor")):
        origin = _origin(uri)
        if origin and origin in owners:
            return origin
    return None


def _origin(uri: str | None) -> str:
    """Scheme and authority; empty where there is none."""
    return linkformat.origin(uri) if uri and "://" in uri else ""


def _is_endpoint(link: Link) -> bool:
    return any(name == "rt" and value is not None and ENDPOINT in value.split() for name, value in link.attributes)


def _value(link: Link, name: str) -> str | None:
    return next((value for known, value in link.attributes if known == name), None)


def _line(number: int, link: Link, owners: Mapping[str, int], resources: Mapping[str, list[Link]]) -> bytes | LineError:
    base = _value(link, "base") or ""
    origin = _origin(base)
    own = resources.get(origin, [])
    if own and owners[origin] > 1:
        return LineError(number, f"another endpoint has the base {base} too: whose are the links there?")
    lt = _value(link, "lt") or ""
    more = tuple(pair for pair in link.attributes if pair[0] not in ("ep", "d", "base", "lt", "rt", "anchor"))
    registration = Exported(
        ep=_value(link, "ep") or "",
        base=base,
        d=_value(link, "d"),
        lt=int(lt) if lt.isascii() and lt.isdigit() else LIFETIME_DEFAULT,
        attributes=more,
        links=linkformat.serialise(_relative(resource, origin) for resource in own).decode(),
    )
    return msgspec.json.encode(registration)


def _relative(link: Link, origin: str) -> Link:
    """As the endpoint registered it, most likely: relative to its base, so that it follows it."""
    attributes = ((name, _below(value or "", origin) if name == "anchor" else value) for name, value in link.attributes)
    return Link(_below(link.href, origin), tuple(attributes))


def _below(uri: str, origin: str) -> str:
    path = uri.removeprefix(origin)
    return path if path != uri and path.startswith("/") and not path.startswith("//") else uri
