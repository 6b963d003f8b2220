"""The vectors of our own: `python tests/ledger/making.py` writes them anew, with the same keys.

Signatures of Ed25519 come out the same again, those of ML-DSA-44 do not.  Judges that share no line with waypost agree
with every verdict: tests/e2e/test_judges.py.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from signing import LOG, WITNESSES, Signer, cosigned, signer, witness

from waypost.codec import u64
from waypost.ledger.checkpoint import TIME_MAX, Checkpoint, Head, cosign, sign_head
from waypost.ledger.note import Algorithm, Line, Note

FOLDER = Path(__file__).parents[1] / "vectors" / "tlog" / "own"
CHECKPOINT = Checkpoint("waypost/anna", 70_000, bytes(range(32)))
TIME_S = 1_800_000_000
QUANTUM = signer("witness.example/q", 30, Algorithm.MLDSA_44)

Case = dict[str, object]


def head_of(checkpoint: Checkpoint = CHECKPOINT, log: Signer = LOG) -> Head:
    return sign_head(checkpoint, log.key, log.sign)


def with_line(head: Head, line: Line) -> Head:
    return replace(head, note=head.note.signed(line))


# Cosignatures


def cosignatures() -> Iterator[Case]:
    for kind, by in (("Ed25519", WITNESSES[0]), ("ML-DSA-44", QUANTUM)):
        for name, head, verdict, at in cosigned_by(by):
            yield {
                "name": f"{kind}: {name}",
                "vkey": by.key.encode(),
                "note": head.note.encode().decode(),
                "verdict": verdict,
                "at": at,
            }


def cosigned_by(by: Signer) -> Iterator[tuple[str, Head, str, int]]:
    """What it is, the head, the verdict, and when."""
    head = head_of()
    line = cosign(head, by.key, by.sign, TIME_S)
    plain = by.key.algorithm == Algorithm.COSIGNATURE
    yield "once", with_line(head, line), "at", TIME_S
    yield "among others", cosigned(head, *WITNESSES[1:], by, time_s=TIME_S), "at", TIME_S
    yield "before the log's line", Head(CHECKPOINT, Note(head.note.text, (line, *head.note.lines))), "at", TIME_S
    yield "twice, the later first", cosigned(with_line(head, line), by, time_s=TIME_S - 9), "at", TIME_S
    yield "twice, the later last", cosigned(with_line(head, line), by, time_s=TIME_S + 9), "at", TIME_S + 9
    yield "at time 0", cosigned(head, by, time_s=0), "at", 0
    yield "at the last second there is", cosigned(head, by, time_s=TIME_MAX), "at", TIME_MAX
    yield "a second after that", cosigned(head, by, time_s=TIME_MAX + 1), "wrong", 0
    yield "not at all", head, "absent", 0
    yield "by another key", cosigned(head, WITNESSES[3], time_s=TIME_S), "absent", 0
    yield "of that name, with another ID", with_line(head, replace(line, id=bytes(4))), "absent", 0
    yield "with that ID, of another name", with_line(head, replace(line, name="other")), "absent", 0
    yield "once, and once wrong", with_line(with_line(head, line), replace(line, signature=bytes(72))), "wrong", 0
    damages = {
        "another time": u64(TIME_S + 1) + line.signature[8:],
        "an octet less": line.signature[:-1],
        "an octet more": line.signature + b"\0",
        "the time alone": line.signature[:8],
        "one octet": b"x",
        "the first bit flipped": line.signature[:8] + bytes([line.signature[8] ^ 128]) + line.signature[9:],
        "the last bit flipped": line.signature[:-1] + bytes([line.signature[-1] ^ 1]),
        "the log's own signature": u64(TIME_S) + head.note.lines[0].signature,
        "without the two lines": u64(TIME_S) + by.sign(head.note.text.encode()),
    }
    for name, octets in damages.items():
        yield name, with_line(head, replace(line, signature=octets)), "wrong", 0
    others = {
        "another origin": replace(CHECKPOINT, origin="waypost/berta"),
        "another size": replace(CHECKPOINT, size=70_001),
        "another root": replace(CHECKPOINT, root=bytes(32)),
    }
    for name, other in others.items():
        yield f"replayed on {name}", with_line(head_of(other), line), "wrong", 0
    extended = head_of(replace(CHECKPOINT, extensions=("more",)))
    yield "with an extension line", cosigned(extended, by, time_s=TIME_S), "at", TIME_S
    moved = with_line(extended, line)
    yield "replayed where an extension line was added", moved, *(("wrong", 0) if plain else ("at", TIME_S))


# Policies

ONE, TWO, THREE, FOUR = WITNESSES
BERTA = signer("waypost/berta", 2)
LOG_LINE = f"log {LOG.key.encode()}\n"
LINES = "".join(f"witness w{number} {each.key.encode()}\n" for number, each in enumerate(WITNESSES, 1))
FIFTH = witness("w5", 15)

WRONG = {
    "nothing": "",
    "no quorum": LINES,
    "two quorums": LINES + "quorum w1\nquorum w1\n",
    "the quorum before its witness": "quorum w1\n" + LINES,
    "a quorum that is not defined": LINES + "quorum w5\n",
    "a line without an end": LINES + "quorum w1",
    "a carriage return": LINES + "quorum w1\r\n",
    "a control character in a comment": "# \x07\n" + LINES + "quorum w1\n",
    "an unknown word": LINES + "Quorum w1\n",
    "a group without members": LINES + "group g any\nquorum g\n",
    "a group that needs none": LINES + "group g 0 w1\nquorum g\n",
    "a group that needs more than it has": LINES + "group g 3 w1 w2\nquorum g\n",
    "a signed number": LINES + "group g +1 w1\nquorum g\n",
    "a number with a leading zero": LINES + "group g 01 w1\nquorum g\n",
    "a member twice": LINES + "group g any w1 w1\nquorum g\n",
    "a member of two groups": LINES + "group g any w1\ngroup h any w1\nquorum g\n",
    "a group of itself": LINES + "group g any g\nquorum g\n",
    "a group before its member": LINES + "group g any h\ngroup h any w1\nquorum g\n",
    "nobody as a member": LINES + "group g any none\nquorum g\n",
    "a witness called none": f"witness none {ONE.key.encode()}\nquorum none\n",
    "one name for a group and a witness": LINES + "group w1 any w2\nquorum w1\n",
    "one name for two groups": LINES + "group g any w1\ngroup g any w2\nquorum g\n",
    "one name for two witnesses": LINES + f"witness w1 {FIFTH.key.encode()}\nquorum w1\n",
    "one key for two witnesses": LINES + f"witness w5 {witness('other', 11).key.encode()}\nquorum w1\n",
    "one key for two logs": LOG_LINE + f"log {signer('waypost/berta', 1).key.encode()}\nquorum none\n",
    "a log's key for a witness": f"witness w5 {LOG.key.encode()}\nquorum w5\n",
    "a witness's key for a log": f"log {ONE.key.encode()}\nquorum none\n",
    "a key with another ID": LOG_LINE.replace("+", "+0", 1) + "quorum none\n",
    "a key with another spelling": f"witness w1 {ONE.key.encode()[:-1]}\nquorum w1\n",
    "too many parts": f"witness w1 {ONE.key.encode()} url url\nquorum w1\n",
    "a log without a key": "log\nquorum none\n",
}


def policies() -> Iterator[Case]:
    for name, text in WRONG.items():
        yield {"name": name, "policy": text, "wrong": True, "heads": []}
    for name, text, heads in right():
        yield {"name": name, "policy": text, "wrong": False, "heads": list(heads)}


def right() -> Iterator[tuple[str, str, list[Case]]]:
    yield "none", LOG_LINE + "quorum none\n", [case(by(), "met"), case(head_of(log=BERTA), "refused")]
    yield "one witness", LOG_LINE + LINES + "quorum w2\n", [
        case(by(TWO), "met"), case(by(ONE, TWO), "met"), case(by(ONE), "unmet"), case(by(), "unmet"),
        case(by(ONE, ONE), "unmet"), case(by(witness("w2", 77)), "unmet"),
        case(Head(CHECKPOINT, replace(by(TWO).note, lines=by(TWO).note.lines[1:])), "refused"),
        case(with_line(by(TWO), replace(by(ONE).note.lines[1], signature=bytes(72))), "refused"),
        case(with_line(head_of(), by_berta().note.lines[1]), "refused"),
    ]  # fmt: skip
    yield "three of four", LOG_LINE + LINES + "group g 3 w1 w2 w3 w4\nquorum g\n", [
        case(by(ONE, TWO), "unmet"), case(by(ONE, TWO, THREE), "met"), case(by(FOUR, TWO, THREE), "met"),
        case(by(*WITNESSES), "met"), case(by(ONE, ONE, ONE, TWO), "unmet"),
    ]  # fmt: skip
    example = "group X 2 w1 w2 w3\ngroup Y any w4\ngroup both all X Y\nquorum both\n"
    yield "the groups of the specification", LOG_LINE + LINES + example, [
        case(by(ONE, TWO, FOUR), "met"), case(by(ONE, TWO, THREE), "unmet"), case(by(ONE, FOUR), "unmet"),
    ]  # fmt: skip
    spaced = (
        f" \t# ours\n\n\tlog  {LOG.key.encode()}\thttps://log.example/ \n"
        + LINES.replace(" ", " \t ")
        + " quorum\tw1 \n"
    )
    yield "spaces, tabs, comments, URLs", spaced, [case(by(ONE), "met"), case(by(TWO), "unmet")]
    kelvin = f"witness \u212a {ONE.key.encode()}\nwitness K {TWO.key.encode()}\nquorum K\n"
    yield "a Kelvin sign is no K", LOG_LINE + kelvin, [case(by(ONE), "unmet"), case(by(TWO), "met")]
    nbsp = f"witness a\u00a0b {ONE.key.encode()}\nquorum a\u00a0b\n"
    yield "a space that is no ASCII is part of a name", LOG_LINE + nbsp, [case(by(ONE), "met")]
    words = f"witness all {ONE.key.encode()}\nwitness log {TWO.key.encode()}\ngroup quorum 2 all log\nquorum quorum\n"
    yield "names that are words of the format", LOG_LINE + words, [case(by(ONE, TWO), "met"), case(by(ONE), "unmet")]
    two = LOG_LINE + f"log {BERTA.key.encode()}\n" + LINES + "quorum w1\n"
    borrowed = cosigned(head_of(Checkpoint("waypost/berta", 7, bytes(32))), ONE, time_s=TIME_S)
    yield "two logs, each for its own origin", two, [
        case(by(ONE), "met"), case(by_berta(), "met"), case(borrowed, "refused"),
    ]  # fmt: skip
    yield "a log that nobody names", LINES + "quorum w1\n", [case(by(ONE), "refused")]
    quantum = f"witness q {QUANTUM.key.encode()}\n"
    yield "an ML-DSA-44 key", LOG_LINE + quantum + "quorum none\n", []
    old = cosigned(cosigned(head_of(), ONE, time_s=TIME_S - 61), TWO, time_s=TIME_S - 60)
    ahead = cosigned(cosigned(head_of(), ONE, time_s=TIME_S + 301), TWO, time_s=TIME_S + 300)
    yield "an age", LOG_LINE + LINES + "quorum w1\n", [
        case(old, "met"), case(old, "unmet", 60), case(old, "met", 61), case(ahead, "met"), case(ahead, "unmet", 60),
    ]  # fmt: skip
    yield "an age, and a witness that is within it", LOG_LINE + LINES + "quorum w2\n", [
        case(old, "met", 60), case(old, "unmet", 59), case(ahead, "met", 60),
    ]  # fmt: skip


def by(*witnesses: Signer) -> Head:
    return cosigned(head_of(), *witnesses, time_s=TIME_S)


def by_berta() -> Head:
    return cosigned(head_of(Checkpoint("waypost/berta", 7, bytes(32)), BERTA), ONE, time_s=TIME_S)


def case(head: Head, verdict: str, age: int | None = None) -> Case:
    return {"note": head.note.encode().decode(), "verdict": verdict, "now": TIME_S, "age": age}


def write(name: str, cases: Iterator[Case]) -> None:
    (FOLDER / name).write_text(json.dumps(list(cases), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    write("cosignatures.json", cosignatures())
    write("policies.json", policies())
