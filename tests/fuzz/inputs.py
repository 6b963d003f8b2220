"""Input that is nearly right: damaged samples, and texts built from the grammar with a fault here and there.

Everything is drawn from the `Random` that is given, so a seed is an input again.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Final

from waypost.coap.numbers import Code, Option

VECTORS: Final = Path(__file__).resolve().parents[1] / "vectors"
SIZE_MAX: Final = 4_096  # octets; growth stops here
TELLING: Final = (0x00, 0x01, 0x0C, 0x0D, 0x0E, 0x0F, 0x22, 0x2C, 0x3B, 0x3C, 0x3E, 0x40, 0x5C, 0x7F, 0x80, 0xFE, 0xFF)

Builder = Callable[[Random], bytes]


def vector_messages() -> list[bytes]:
    lines = (VECTORS / "coap" / "rfc7252.txt").read_text().splitlines()
    return [bytes.fromhex(line.split()[0]) for line in lines]


def vector_documents() -> list[bytes]:
    return [
        document.strip().encode()
        for path in sorted((VECTORS / "linkformat").glob("*.txt"))
        for document in path.read_text().split("\n\n")
    ]


def inputs(samples: list[bytes], build: Builder | None, rng: Random) -> Iterator[bytes]:
    """The samples as they are, then forever one of them with a few wounds, something built, or plain noise."""
    yield from samples
    while True:
        kind = rng.random()
        if kind < 0.05:
            yield rng.randbytes(rng.randrange(64))
        elif kind < 0.5 and build is not None:
            yield build(rng)[:SIZE_MAX]
        else:
            yield damaged(samples, rng)


def damaged(samples: list[bytes], rng: Random) -> bytes:
    data = bytearray(rng.choice(samples))
    for _ in range(rng.randrange(1, 5)):
        wound(data, rng.choice(samples), rng)
    return bytes(data[:SIZE_MAX])


def wound(data: bytearray, other: bytes, rng: Random) -> None:
    at = rng.randrange(len(data) + 1)
    match rng.randrange(6):
        case 0 if at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        case 1 if at < len(data):
            data[at] = rng.choice(TELLING)
        case 2:
            data.insert(at, rng.choice(TELLING))
        case 3:
            del data[at : at + rng.randrange(1, 9)]
        case 4:  # what follows again, as if a field had been repeated
            data[at:at] = data[at : at + rng.randrange(1, 33)]
        case _:
            start = rng.randrange(len(other) + 1)
            data[at:] = other[start:]


# CoAP messages

EDGES: Final = (0, 1, 11, 12, 13, 14, 255, 256, 268, 269, 270, 524, 525, 1034, 65_535, 65_804)
PATHS: Final = (
    b"rd",
    b"rd-lookup",
    b"res",
    b"ep",
    b"reg",
    b".well-known",
    b"core",
    b"",
    b".",
    b"..",
    b"\xff",
    b"\xc3\xa9",
)
QUERIES: Final = (
    b"ep=a", b"ep=b*", b"d=x", b"lt=60", b"lt=4294967295", b"lt=", b"base=coap://h", b"base=coap://[fe80::1%25x]",
    b"page=0", b"count=1", b"page=18446744073709551616", b"rt=t*", b"if=s", b"href=/*", b"anchor=coap://h", b"et=",
    b"=", b"&", b"con=coap://h", b"gp=g", b"rt", b"\x00=\x00", b"ep=\xed\xa0\x80",
)  # fmt: skip
NUMBERS: Final = tuple(int(number) for number in Option)
CODES: Final = tuple(int(code) for code in Code)


def message(rng: Random) -> bytes:
    """Head, token, options in order, payload; one in four has a fault that its grammar does not allow."""
    faulty = rng.random() < 0.25
    token = rng.randbytes(rng.choice((0, 1, 2, 8)))
    size = rng.randrange(16) if faulty and rng.random() < 0.2 else len(token)
    code = rng.choice(CODES) if rng.random() < 0.9 else rng.randrange(256)
    head = bytes((0x40 | rng.randrange(4) << 4 | size, code)) + rng.randrange(64).to_bytes(2, "big")
    numbers = sorted(rng.choice(NUMBERS) if rng.random() < 0.95 else rng.choice(EDGES) for _ in range(rng.randrange(7)))
    parts = [head, token]
    last = 0
    for number in numbers:
        parts.append(option(number - last, value(number, rng), rng if faulty else None))
        last = number
    if rng.random() < 0.4:
        parts.append(b"\xff" + (document(rng) if rng.random() < 0.7 else rng.randbytes(rng.randrange(3))))
    return b"".join(parts)


def option(delta: int, value: bytes, faults: Random | None) -> bytes:
    """One option; with `faults` its head may promise another delta or length, or hold the reserved 15."""
    size = len(value)
    if faults is not None and faults.random() < 0.3:
        delta, size = faults.choice((delta, *EDGES)), faults.choice((size, size + 1, *EDGES))
    delta_nibble, delta_tail = extended(delta)
    size_nibble, size_tail = extended(size)
    if faults is not None and faults.random() < 0.1:
        delta_nibble = faults.randrange(16)
    return bytes((delta_nibble << 4 | size_nibble,)) + delta_tail + size_tail + value


def extended(number: int) -> tuple[int, bytes]:
    """The nibble, and the octets behind it (RFC 7252, 3.1)."""
    if number < 13:
        return number, b""
    if number < 269:
        return 13, bytes((number - 13,))
    return 14, (number - 269).to_bytes(2, "big")


def value(number: int, rng: Random) -> bytes:
    match number:
        case Option.URI_PATH:
            return rng.choice(PATHS)
        case Option.URI_QUERY:
            return rng.choice(QUERIES)
        case Option.CONTENT_FORMAT | Option.ACCEPT:
            return rng.choice((b"\x28", b"", b"\x00\x28", b"\x32", b"\xff\xff"))
        case Option.BLOCK1 | Option.BLOCK2:
            return rng.choice(
                (b"", b"\x00", b"\x08", b"\x06", b"\x0e", b"\x07", b"\x10", b"\x18", b"\xff\xff\xfe", b"1234")
            )
        case Option.OBSERVE:
            return rng.choice((b"", b"\x01", b"\x02", b"\xff\xff\xff", b"1234"))
        case _:
            return rng.randbytes(rng.choice((0, 1, 2, 4, 8, 12, 13, 40, 255, 269)) if rng.random() < 0.9 else 1_100)


# Documents in link-format

TARGETS: Final = (
    b"/",
    b"/a",
    b"/a/./../b",
    b"coap://[2001:db8::1]:5683/a?b#c",
    b"a:b",
    b"//h/x",
    b"",
    b"?q",
    b"%zz",
    b"\xc3\xa9",
)
NAMES: Final = (
    b"rt",
    b"if",
    b"rel",
    b"ct",
    b"sz",
    b"anchor",
    b"title",
    b"title*",
    b"obs",
    b"x" * 64,
    b"x" * 65,
    b"*",
    b"d",
)
PIECES: Final = (
    b"a", b" ", b"\\\\", b'\\"', b"\\", b'"', b";", b",", b"<", b">", b"=", b"\t", b"\n", b"\x00", b"\x7f",
    b"\xc3\xa9", b"\xe2\x82\xac", b"\xf4\x8f\xbf\xbf", b"\xef\xbb\xbf", b"\xcc\x81", b"\xc2\x85",  # well-formed UTF-8
    b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80", b"\xff",  # overlong, surrogate, cut, stray
)  # fmt: skip
GOOD_PIECES: Final = 4  # of PIECES: those that a quoted string may hold anywhere
SPACES: Final = (b"", b"", b"", b" ", b"\n   ", b"\r\n", b"\t")


def document(rng: Random) -> bytes:
    faulty = rng.random() < 0.3
    return b",".join(link(rng, faulty=faulty) for _ in range(rarely(40, (0, 1, 1, 2, 3), rng)))


def link(rng: Random, *, faulty: bool) -> bytes:
    target = rng.choice(TARGETS if faulty else TARGETS[:5])
    attributes = b"".join(attribute(rng, faulty=faulty) for _ in range(rarely(33, (0, 1, 2, 3), rng)))
    return rng.choice(SPACES) + b"<" + target + b">" + attributes + rng.choice(SPACES)


def attribute(rng: Random, *, faulty: bool) -> bytes:
    name = rng.choice(NAMES if faulty else NAMES[:9])
    if name == b"anchor":
        name += b'="%s"' % rng.choice(TARGETS if faulty else TARGETS[:5])
    else:
        name += rng.choice((b"", b"=1", b"=a/b", b"=" + quoted(rng, faulty=faulty)))
    return rng.choice(SPACES) + b";" + rng.choice(SPACES) + name


def quoted(rng: Random, *, faulty: bool) -> bytes:
    pieces = PIECES if faulty else PIECES[:GOOD_PIECES]
    size = rarely(1_025, (0, 1, 3, 12), rng)
    return b'"' + b"".join(rng.choices(pieces, k=size)) + b'"'


def rarely(many: int, few: Sequence[int], rng: Random) -> int:
    return many if rng.random() < 0.01 else rng.choice(few)
