"""Notes, checkpoints, keys, policies and proofs of a log."""

from random import Random
from typing import Final

from signing import LOG, WITNESSES, cosigned

from waypost.ledger.checkpoint import Checkpoint, Head, sign_head
from waypost.ledger.note import Note, sign
from waypost.ledger.policy import Policy
from waypost.ledger.proof import ProofFile
from waypost.ledger.submission import Submission
from waypost.ledger.tree import Tree

WORDS: Final = (
    "log", "witness", "group", "quorum", "none", "all", "any", "1", "2", "02", "129", "a", "b", "c", "#",
    "\u212a", "\udce9",
    "\x7f", "url", LOG.key.encode(), *(each.key.encode() for each in WITNESSES),
)  # fmt: skip


def head() -> Head:
    return cosigned(
        sign_head(Checkpoint("waypost/anna", 7, bytes(32), ("more",)), LOG.key, LOG.sign), *WITNESSES, time_s=9
    )


def notes() -> list[bytes]:
    text = "\n\u00e8 subito sera.\n\n\u2014 a AAAAAAA=\n"
    return [Note(text, (sign(text, LOG.key, LOG.sign),)).encode(), head().note.encode()]


def policies() -> list[bytes]:
    example = (
        f"# ours\nlog {LOG.key.encode()} https://log.example\n"
        + "".join(f"witness w{number} {each.key.encode()}\n" for number, each in enumerate(WITNESSES))
        + "group X 2 w0 w1 w2\n\ngroup both all X w3\n quorum\tboth\n"
    )
    return [Policy.of([LOG.key], [each.key for each in WITNESSES], 3).encode(), example.encode()]


def policy(rng: Random) -> bytes:
    """Lines that are right but for what they name, then some of any words."""
    keys = [f"witness {name} {rng.choice(WORDS[-4:])}" for name in rng.sample("abcd", rng.randrange(3))]
    groups = [f"group {rng.choice('efg')} {rng.choice(WORDS[5:11])} {' '.join(rng.sample('abcde', rng.randrange(4)))}"]
    odd = [" ".join(rng.choices(WORDS, k=rng.randrange(5))) for _ in range(rng.randrange(2))]
    lines = [*keys, *groups[: rng.randrange(2)], *odd, f"quorum {rng.choice([*'aef', 'none'])}"]
    return "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")


def proofs() -> list[bytes]:
    tree = Tree()
    tree.extend([b"%d" % number for number in range(7)])
    return [
        ProofFile(3, tree.inclusion(3), head(), b"3").encode(),
        ProofFile(3, (), head()).encode(),
        Submission(3, tree.consistency(3), head()).encode(),
    ]
