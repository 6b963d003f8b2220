"""Random and damaged input for every decoder: it decodes and survives the way back, or is a WireError.

`./dev test` tries a fixed number of inputs from a fixed seed; `./dev fuzz` tries fresh ones by the clock.
A failure prints the input: add it to that decoder's samples.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from random import Random, SystemRandom
from typing import Final, NamedTuple

import pytest

from waypost.coap import links, message
from waypost.errors import WireError
from waypost.record import Change, Hlc, Kind, canonical, parse_canonical

INPUTS: Final = 200_000  # of each decoder, in `./dev test`
SLICE: Final = 1_000  # inputs between two looks at the clock
SIZE_MAX: Final = 4_096  # octets; growth stops here
TELLING: Final = (0x00, 0x01, 0x0C, 0x0D, 0x0E, 0x0F, 0x22, 0x2C, 0x3B, 0x3C, 0x3E, 0x40, 0x5C, 0x7F, 0x80, 0xFE, 0xFF)


class Decoder(NamedTuple):
    """`there_and_back` decodes, asserts that nothing was lost, and lets WireError out."""

    there_and_back: Callable[[bytes], None]
    samples: list[bytes]


def a_message(data: bytes) -> None:
    assert message.decode(data).encode() == data


def a_document(data: bytes) -> None:
    found = links.parse(data)
    assert links.parse(links.serialise(found)) == found
    for link in found:
        links.resolve("coap://[2001:db8::1]", link.href)


def a_change(data: bytes) -> None:
    assert Change.decode(7, data).encode() == data


def a_canonical_value(data: bytes) -> None:
    assert canonical(parse_canonical(data)) == data


DECODERS: Final = {
    "CoAP message": Decoder(
        a_message,
        [
            bytes.fromhex("40017d34"),
            bytes.fromhex("44020001c0ffee01b272641165703d6e6f6465316d6c743d3630ff3c2f743e"),
            bytes.fromhex("6145e0117160c12801e11a1b2cff7b7d"),
            bytes.fromhex("400112343b" + "61" * 14 + "d70e" + "62" * 7 + "e000ff0163" + "ed0000ff" + "64" * 268),
        ],
    ),
    "link format": Decoder(
        a_document,
        [
            b'</sensors/temp>;rt="temperature-c";if="sensor",</t>;anchor="/sensors/temp";rel=alternate',
            b'<coap://[2001:db8::1]:5683/a?b#c>;ct="0 40";sz=17;obs;title="say \\"hi\\" \\\\"',
            "</ü>;title*=UTF-8''%e2%82%ac , <../a/./b> ; x = \"größe\"".encode(),
            b"",
        ],
    ),
    "change": Decoder(
        a_change,
        [
            Change(7, Kind.PUT, "rd", b"key", Hlc(1_700_000_000_000, 3), b"value", 1_700_000_000_001, b"").encode(),
            Change(7, Kind.REMOVE, "rd", b"key", 9, None, 1_700_000_000_001, b"cause").encode(),
        ],
    ),
    "canonical JSON": Decoder(
        a_canonical_value,
        [canonical({"a": [1, -2, True, None], "b": {"c": "é\n"}, "d": "x" * 40}), b"[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]"],
    ),
}


@pytest.mark.parametrize("name", DECODERS)
def test_any_bytes_survive_the_way_back_or_raise_wire_error(name: str, request: pytest.FixtureRequest) -> None:
    seconds: float | None = request.config.getoption("--fuzz-seconds")
    seed = 1 if seconds is None else SystemRandom().getrandbits(64)
    inputs = damaged(DECODERS[name].samples, Random(seed))
    started = time.perf_counter()
    tried = decoded = 0
    while tried < INPUTS if seconds is None else time.perf_counter() - started < seconds:
        decoded += sum(survives(name, data) for data in itertools.islice(inputs, SLICE))
        tried += SLICE
    rate = tried / (time.perf_counter() - started)
    print(f"{name}: {tried:,} inputs, {decoded:,} of them decoded; {rate:,.0f} a second; seed {seed}")
    assert decoded, "no damaged sample decoded, so the samples are bad"


def survives(name: str, data: bytes) -> bool:
    try:
        DECODERS[name].there_and_back(data)
    except WireError:
        return False
    except Exception as error:
        raise AssertionError(f"{name}, bytes.fromhex('{data.hex()}')") from error
    return True


def damaged(samples: list[bytes], rng: Random) -> Iterator[bytes]:
    """The samples as they are, then forever one of them with a few wounds, or plain noise."""
    yield from samples
    while True:
        if rng.random() < 0.05:
            yield rng.randbytes(rng.randrange(64))
            continue
        data = bytearray(rng.choice(samples))
        for _ in range(rng.randrange(1, 5)):
            wound(data, rng.choice(samples), rng)
        yield bytes(data[:SIZE_MAX])


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
