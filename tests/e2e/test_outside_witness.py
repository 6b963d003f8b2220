"""What we send to a witness is what one understands that others wrote, and its cosignature is one that we verify."""

import json
from hashlib import sha256
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from outside import Witness, outside_witness
from signing import LOG, signer

from waypost.identity.keys import verifies
from waypost.ledger.checkpoint import Checkpoint, Head, cosigned_at, read_head, sign_head
from waypost.ledger.note import Algorithm, Key, Line, Note
from waypost.ledger.submission import PATH, SIZE_MEDIA, Submission
from waypost.ledger.tree import Tree

pytestmark = pytest.mark.peer("pip:aics_witness")
VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "tlog" / "extracted" / "add-checkpoint.json"


@pytest.fixture(scope="module")
def tree() -> Tree:
    tree = Tree()
    tree.extend([f"entry {number}".encode() for number in range(1_000)])
    return tree


def head_of(tree: Tree, size: int) -> Head:
    return sign_head(Checkpoint(LOG.key.name, size, tree.root(size)), LOG.key, LOG.sign)


def ask(url: str, body: bytes | None = None) -> tuple[int, str, bytes]:
    """Status, media type and body."""
    try:
        with urlopen(Request(url, body), timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read()


def cosigned(head: Head, body: bytes) -> Head:
    lines = [Line.decode(line) for line in body.decode().removesuffix("\n").split("\n")]
    return Head(head.checkpoint, Note(head.note.text, (*head.note.lines, *lines)))


def add(witness: Witness, old: int, head: Head, proof: tuple[bytes, ...] = ()) -> tuple[int, str, bytes]:
    return ask(f"{witness.url}/{PATH}", Submission(old, proof, head).encode())


def test_an_outside_witness_cosigns_a_log_as_it_grows(tree: Tree, tmp_path: Path) -> None:
    with outside_witness(tmp_path / "witness", LOG.key) as witness:
        old = 0
        for size in (1, 2, 7, 256, 257, 999, 1_000, 1_000):
            head = head_of(tree, size)
            status, _, body = add(witness, old, head, tree.consistency(old, size) if old else ())
            assert status == 200
            assert cosigned_at(cosigned(head, body), witness.key, verifies) is not None
            old = size
        status, _, body = ask(f"{witness.url}/{sha256(LOG.key.name.encode()).hexdigest()}/checkpoint")
        assert status == 200
        assert cosigned_at(read_head(body), witness.key, verifies) is not None
        assert read_head(body).root == tree.root()


def test_its_refusals_are_those_that_the_specification_has(tree: Tree, tmp_path: Path) -> None:
    """C2SP tlog-witness: 404, 403, 400, 409 with the size it has, 422."""
    stranger = signer("waypost/berta", 2)
    with outside_witness(tmp_path / "witness", LOG.key) as witness:
        assert add(witness, 0, head_of(tree, 7))[0] == 200
        proof = tree.consistency(7, 8)
        assert add(witness, 6, head_of(tree, 8), tree.consistency(6, 8)) == (409, SIZE_MEDIA, b"7\n")
        assert add(witness, 8, head_of(tree, 7))[0] == 400
        assert add(witness, 0, sign_head(Checkpoint("waypost/berta", 8, tree.root(8)), LOG.key, LOG.sign))[0] == 404
        forged = sign_head(Checkpoint(LOG.key.name, 8, tree.root(8)), stranger.key, stranger.sign)
        assert add(witness, 7, forged, proof)[0] == 403
        other = sign_head(Checkpoint(LOG.key.name, 8, bytes(32)), LOG.key, LOG.sign)
        assert add(witness, 7, other, proof)[0] == 422
        assert add(witness, 7, head_of(tree, 8))[0] == 422
        fork = sign_head(Checkpoint(LOG.key.name, 7, bytes(32)), LOG.key, LOG.sign)
        assert add(witness, 7, fork)[0] == 422
        assert add(witness, 7, head_of(tree, 8), proof)[0] == 200
        assert ask(f"{witness.url}/{'0' * 64}/checkpoint")[0] == 404


def test_the_vectors_get_the_statuses_that_they_name(tmp_path: Path) -> None:
    vectors = json.loads(VECTORS.read_text())
    key = Key(vectors["origin"], Algorithm.ED25519, bytes.fromhex(vectors["log_public_key_hex"]))
    with outside_witness(tmp_path / "witness") as witness:
        witness.trust(key)
        for case in vectors["cases"]:
            status, _, _ = ask(f"{witness.url}/{PATH}", case["request"].encode())
            assert status in case.get("status_now", [case["status"]]), case["request"]
