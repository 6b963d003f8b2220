"""Bad and nearly good input for every decoder: it decodes and survives the way back, or is refused as declared.

`./dev test` tries a fixed number of inputs from a fixed seed, with --long five million of messages and documents;
`./dev fuzz` tries fresh ones by the clock.  A failure prints the input: add it to that decoder's samples.
"""

import itertools
import time
from collections.abc import Callable
from contextlib import suppress
from random import Random, SystemRandom
from typing import Final, NamedTuple

import pytest
import signed
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_csr
from inputs import VECTORS, Builder, document, extended, inputs, message, vector_documents, vector_messages
from lies import a_statement_of_sue, entries_of_logs, evidence_of_lies
from said import Tongue, bodies
from signing import LOG, WITNESSES

from waypost.api import reading
from waypost.api.problem import Refusal
from waypost.api.resuming import ENDPOINTS, Watch
from waypost.api.schemas import Registration, Renewal
from waypost.coap import links
from waypost.coap.message import decode
from waypost.coap.stream import Stream
from waypost.drip import parcel
from waypost.drip.calls import read_call
from waypost.errors import ConfigError, DeniedError, UnreachableError, WireError
from waypost.identity.certificates import identity_of, is_issued_by, read_certificate, read_request
from waypost.identity.jwt import Tokens
from waypost.identity.shared import read_shared
from waypost.ledger import entry, exhibit
from waypost.ledger.checkpoint import read_head
from waypost.ledger.note import Key, Note
from waypost.ledger.policy import Policy
from waypost.ledger.proof import ProofFile
from waypost.ledger.statement import Statement
from waypost.ledger.submission import Submission
from waypost.rd import questions
from waypost.record import Change, Hlc, Kind, canonical, parse_canonical

INPUTS: Final = 100_000  # of each decoder, in `./dev test`
LONG: Final = 2_500_000  # of messages, and of documents, with --long
SLICE: Final = 1_000  # inputs between two looks at the clock
KEYS: Final = VECTORS / "keys"
ROOT: Final = read_certificate((KEYS / "root.crt").read_bytes())
LENGTHLESS: Final = bytes(octet & 15 for octet in range(256))  # a frame's first octet has no length


class Decoder(NamedTuple):
    """`there_and_back` decodes, asserts that nothing was lost, and lets a declared error out."""

    there_and_back: Callable[[bytes], None]
    samples: list[bytes]
    build: Builder | None = None


def a_message(data: bytes) -> None:
    assert decode(data).encode() == data


def a_document(data: bytes) -> None:
    found = links.parse(data)
    assert links.parse(links.serialise(found)) == found
    for link in found:
        links.resolve("coap://[2001:db8::1]", link.href)


def a_change(data: bytes) -> None:
    assert Change.decode(7, data).encode() == data


def a_canonical_value(data: bytes) -> None:
    assert canonical(parse_canonical(data)) == data


def a_log_entry(data: bytes) -> None:
    read = entry.decode(data)
    assert read.encode() == data
    if read.kind is entry.Kind.COMMIT:
        committed = entry.read_commit(read.body)
        assert entry.commit(committed.network, committed.committed.encode()) == data


def a_statement(data: bytes) -> None:
    assert Statement.decode(data).encode() == data


def a_piece_of_evidence(data: bytes) -> None:
    assert exhibit.encode(exhibit.decode(data)) == data


def a_signed_note(data: bytes) -> None:
    assert Note.decode(data).encode() == data


def a_checkpoint(data: bytes) -> None:
    head = read_head(data)
    assert head.note.encode() == data
    assert head.checkpoint.text == head.note.text


def a_log_key(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    assert Key.decode(text).encode() == text


def a_policy(data: bytes) -> None:
    policy = Policy.decode(data)
    assert Policy.decode(policy.encode()) == policy
    assert -1 <= policy.faulty_max < len(policy.witnesses) or policy.quorum == "none"
    assert policy.is_met(each.name for each in policy.witnesses)


def a_proof(data: bytes) -> None:
    """A proof file, or what is handed to a witness."""
    read = ProofFile.decode(data) if data.startswith(b"c2sp") else Submission.decode(data)
    assert read.encode() == data


def a_connection(data: bytes) -> None:
    """RFC 8323, 3: what comes out does not depend on how the octets are cut, and nothing is kept beyond a message."""
    whole = Stream(0.0)
    messages = fed(whole, data)
    pieces, half = Stream(0.0), len(data) // 2
    cut = (data[:1], data[1:half], data[max(1, half) : -1], data[-1:]) if len(data) > 1 else (data,)
    assert messages == [each for piece in cut for each in fed(pieces, piece)]
    assert whole.ended == pieces.ended
    assert whole.take_output() == pieces.take_output()
    for each in messages:
        assert decode(each).encode() == each
    if whole.ended is not None:
        raise WireError(whole.ended)


def fed(stream: Stream, data: bytes) -> list[bytes]:
    stream.feed(data)
    found = []
    while (message := stream.next_message(1.0)) is not None:
        found.append(message)
    return [message for message in found if message]


def a_frame(data: bytes) -> None:
    """RFC 8323, 4: one message in each frame."""
    stream = Stream(0.0, sized=False)
    stream.receive_frame(b"\x00\xe1", 0.0)
    found = stream.receive_frame(data, 1.0)
    if stream.ended is not None:
        raise WireError(stream.ended)
    if found:
        assert decode(found).encode() == found


def sized(datagram: bytes) -> bytes:
    """As it goes over TCP: behind its length, without type and id."""
    token, rest = datagram[0] & 15, datagram[4:]
    nibble, extension = extended(max(0, len(rest) - token))
    return bytes((nibble << 4 | token,)) + extension + datagram[1:2] + rest


def connection(rng: Random) -> bytes:
    """A CSM, some messages, a signal now and then."""
    signals = (b"\x00\xe2", b"\x01\xe2x", b"\x10\xe2\x20", b"\x00\xe3", b"\x00\xe4", b"\x40\xe1\x23\x10\x00\x00")
    messages = [rng.choice(signals) if rng.random() < 0.3 else sized(message(rng)) for _ in range(rng.randrange(4))]
    return rng.choice((b"\x00\xe1", b"\x30\xe1\x22\x04\x80", b"")) + b"".join(messages)


def frame(rng: Random) -> bytes:
    datagram = message(rng)
    return datagram[0:1].translate(LENGTHLESS) + datagram[1:2] + datagram[4:]


def an_http_query(data: bytes) -> None:
    pairs = reading.pairs(data.decode("utf-8", "surrogateescape"))
    reading.since(pairs)
    reading.lookup(questions.Kind.ENDPOINTS, pairs, structured=True)
    reading.registration(pairs)


def http_fields(data: bytes) -> None:
    field = data.decode("utf-8", "surrogateescape")
    reading.served(field, ["node.example.com"])
    reading.chosen(field, ["application/json", "application/link-format"])
    reading.content_type(field, None, ["application/json"])


def an_http_body(data: bytes) -> None:
    reading.json(data, Registration if b'"ep"' in data else Renewal)


def watched_events(data: bytes) -> None:
    watch = Watch(ENDPOINTS, (), None)
    for _ in (*watch.connected(), *watch.read(data)):
        watch.call()


def a_certificate(data: bytes) -> None:
    found = read_certificate(data)
    assert read_certificate(found.der) == found
    with suppress(DeniedError):
        identity_of(found)
    is_issued_by(found, ROOT)


def a_request(data: bytes) -> None:
    read_request(data)


def shared_secrets(data: bytes) -> None:
    read_shared(data, "secrets.toml")


def a_call_of_the_draft(data: bytes) -> None:
    """As lines: the method, the path, and header and value by turns; then an empty one, and the body."""
    head, _, body = data.partition(b"\n\n")
    method, path, *headers = [*head.decode("utf-8", "surrogateescape").split("\n"), "", ""]
    read_call(method, path, tuple(zip(headers[::2], headers[1::2], strict=False)), body)


def a_jwt(data: bytes) -> None:
    with suppress(DeniedError):
        Tokens("anna", {}).take(data.decode("utf-8", "surrogateescape"), 0)


def what_nodes_say(data: bytes) -> None:
    messages = parcel.read(data)
    assert parcel.read(b"[" + b",".join(map(parcel.spell, messages)) + b"]") == messages
    assert all(parcel.call_of(message) in parcel.CALLS for message in messages)


def nodes_saying(rng: Random) -> bytes:
    return Tongue(rng, "berta", "00" * 32, lambda message: bytes(64), 1_800_000_000_000).body()


DECODERS: Final = {
    "CoAP message": Decoder(
        a_message,
        [
            *vector_messages(),
            bytes.fromhex("44020001c0ffee01b272641165703d6e6f6465316d6c743d3630ff3c2f743e"),
            bytes.fromhex("6145e0117160c12801e11a1b2cff7b7d"),
            bytes.fromhex("400112343b" + "61" * 14 + "d70e" + "62" * 7 + "e000ff0163" + "ed0000ff" + "64" * 268),
        ],
        message,
    ),
    "link format": Decoder(
        a_document,
        [
            *vector_documents(),
            b'<coap://[2001:db8::1]:5683/a?b#c>;ct="0 40";sz=17;obs;title="say \\"hi\\" \\\\"',
            "</ü>;title*=UTF-8''%e2%82%ac , <../a/./b> ; x = \"größe\"".encode(),
            b"",
        ],
        document,
    ),
    "CoAP connection": Decoder(
        a_connection,
        [
            b"\x00\xe1" + b"".join(map(sized, vector_messages())),
            bytes.fromhex("30e1220480 00e2 01017a 00e4"),
            bytes.fromhex("00e1 d00001ff") + b"x" * 12,
        ],
        connection,
    ),
    "CoAP frame": Decoder(
        a_frame, [bytes.fromhex("0101" + "7a" + "b2" + "7264"), b"\x00\xe2", b"\x00\x45\xffx"], frame
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
    "HTTP query": Decoder(
        an_http_query, [b"ep=a&d=b%20c&rt=t*&count=5&page=0", b"lt=60&base=coap%3A%2F%2Fh&ep=%e2%82%ac&x&=&y=%zz+"]
    ),
    "HTTP fields": Decoder(
        http_fields,
        [
            b"[::1]:8080",
            b"node.example.com:80",
            b"application/json; charset=utf-8",
            b"text/html, application/*;q=0.5, */*;q=0.1",
        ],
    ),
    "HTTP body": Decoder(
        an_http_body,
        [
            b'{"ep": "a", "d": null, "lt": 60, "base": "coap://h", "attributes": [["et", "x"], ["y", null]],'
            b' "links": [{"href": "/t", "anchor": "/s", "attributes": [["rt", "a b"]]}]}',
            b'{"lt": 60, "base": "coap://[2001:db8::1]", "attributes": [["\\u00e9", "\\ud83d\\ude00"]]}',
            b'{"lt": 4294967296, "attributes": [[["a"]]]}',
        ],
    ),
    "watched events": Decoder(
        watched_events,
        [
            b'{"event": "reset", "detail": "what was is forgotten"}\n{"event": "heartbeat", "token": "a1.7"}\n',
            b'{"event": "put", "token": "a1.8", "ep": "a", "d": null}\n\n{"event": "synced", "token": "a1.8"}\n',
        ],
    ),
    "certificate": Decoder(a_certificate, [ROOT.der, read_certificate((KEYS / "peer.crt").read_bytes()).der]),
    "certificate request": Decoder(
        a_request, [load_pem_x509_csr((KEYS / "request.pem").read_bytes()).public_bytes(Encoding.DER)]
    ),
    "call of the draft": Decoder(
        a_call_of_the_draft,
        [
            b"POST\n/commit\nDRiP-Node-ID\nanna\nDRiP-Node-Counter\n18446744073709551615\nDRiP-Node-Counter-reset\ntrue\n"
            b'DRiP-Transaction-Type\nsync\nDRiP-Sync-Complete\nfalse\n\n{"publicID": "+12155551212", "a": [1, null]}',
            b"POST\n/votingphase/node/anna/response/yes",
            b'POST\n/heartbeat/node/anna\n\n{"state": "synchronizing"}',
            b"PUT\n/sync/node/anna",
        ],
    ),
    "what nodes say": Decoder(what_nodes_say, bodies("00" * 32, lambda message: bytes(64)), nodes_saying),
    "signed note": Decoder(a_signed_note, signed.notes()),
    "checkpoint": Decoder(a_checkpoint, [signed.head().note.encode()]),
    "key of a log": Decoder(a_log_key, [LOG.key.encode().encode(), WITNESSES[0].key.encode().encode()]),
    "policy of witnesses": Decoder(a_policy, signed.policies(), signed.policy),
    "proof of an entry": Decoder(a_proof, signed.proofs()),
    "entry of a log": Decoder(a_log_entry, entries_of_logs()),
    "statement": Decoder(a_statement, [a_statement_of_sue().encode()]),
    "evidence": Decoder(a_piece_of_evidence, evidence_of_lies()),
    "JWT": Decoder(
        a_jwt,
        [
            b"eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9."
            b"eyJpc3MiOiJiZWxsIiwiYXVkIjpbImFubmEiXSwiaWF0IjoxLCJleHAiOjIuNSwianRpIjoiYSJ9.AAAA"
        ],
    ),
    "shared secrets": Decoder(
        shared_secrets,
        [
            b'[psk."lamp-3"]\nkey = "8f1c0b7de2a94f5536d80e61c27ba9f4"\nroles = ["device"]\n',
            b'[oscore.a]\nmaster_secret = "8f1c0b7de2a94f5536d80e61c27ba9f4"\nsender_id = "01"\nrecipient_id = ""\n',
        ],
    ),
}
REFUSED: Final = (WireError, Refusal, UnreachableError, ConfigError)


@pytest.mark.parametrize("name", DECODERS)
def test_any_bytes_survive_the_way_back_or_are_refused(name: str, request: pytest.FixtureRequest) -> None:
    seconds: float | None = request.config.getoption("--fuzz-seconds")
    if seconds is None:
        fuzz(name, seed=1, tried_enough=lambda tried, _: tried >= INPUTS)
    else:
        fuzz(name, SystemRandom().getrandbits(64), lambda _, spent: spent >= seconds)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["CoAP message", "link format"])
def test_of_millions_of_inputs_none_does_anything_else(name: str) -> None:
    fuzz(name, seed=2, tried_enough=lambda tried, _: tried >= LONG)


def fuzz(name: str, seed: int, tried_enough: Callable[[int, float], bool]) -> None:
    """`tried_enough` is asked with the inputs and the seconds so far."""
    stream = inputs(DECODERS[name].samples, DECODERS[name].build, Random(seed))
    started = time.perf_counter()
    tried = decoded = 0
    while not tried_enough(tried, spent := time.perf_counter() - started):
        decoded += sum(survives(name, data) for data in itertools.islice(stream, SLICE))
        tried += SLICE
    print(f"{name}: {tried:,} inputs, {decoded:,} of them decoded; {tried / spent:,.0f} a second; seed {seed}")
    assert decoded, "no damaged sample decoded, so the samples are bad"


def survives(name: str, data: bytes) -> bool:
    try:
        DECODERS[name].there_and_back(data)
    except REFUSED:
        return False
    except Exception as error:
        raise AssertionError(f"{name}, bytes.fromhex('{data.hex()}')") from error
    return True


def deep(size: int) -> dict[str, bytes]:
    """Input of about `size` octets that invites a decoder to look at the same octets again and again."""
    nearly = size - 16
    return {
        "one long target": b"<" + b"/" * nearly + b">",
        "a target without end": b"<" + b"a" * nearly,
        "a value without end": b'</a>;t="' + b"\\a" * (nearly // 2),
        "escapes": b'</a>;t="' + b"\\\\" * (nearly // 2) + b'"',
        "spaces before a fault": b"</a>" + b" \t" * (nearly // 2) + b"x",
        "attributes": b"</a>" + b";a=b" * (nearly // 4),
        "links": b",".join([b"</a>"] * (nearly // 5)),
        "dots": b"<" + b"/.." * (nearly // 3) + b">",
    }


@pytest.mark.long
@pytest.mark.parametrize("shape", deep(64))
def test_the_work_grows_with_the_size_and_not_with_its_square(shape: str) -> None:
    """Eight times the input, CPU time alone, the best of five: a square would be 64 times."""

    def work(size: int) -> float:
        return min(spent(deep(size)[shape]) for _ in range(5))

    def spent(data: bytes) -> float:
        started = time.process_time()
        for _ in range(20):
            survives("link format", data)
        return time.process_time() - started

    assert work(64 << 10) < 24 * work(8 << 10) + 0.01
