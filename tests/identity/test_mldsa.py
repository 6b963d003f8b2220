"""ML-DSA-44, where the library has it, and what becomes of it where not."""

import subprocess
import sys

import pytest

from waypost.identity import mldsa

SEED = bytes(range(32))
WITHOUT = """
import sys
sys.modules["cryptography.hazmat.primitives.asymmetric.mldsa"] = None
from waypost.identity import mldsa
from waypost.ledger.checkpoint import Checkpoint, Head, cosigned_at
from waypost.ledger.note import Algorithm, Key, Line, Note
assert not mldsa.AVAILABLE
assert not mldsa.verifies(bytes(1312), bytes(2420), b"")
checkpoint, key = Checkpoint("o", 0, bytes(32)), Key("w", Algorithm.MLDSA_44, bytes(1312))
head = Head(checkpoint, Note(checkpoint.text, (Line("w", key.id, bytes(2428)),)))
assert Key.decode(key.encode()) == key
assert cosigned_at(head, key, lambda *_: True) is None
"""


def test_a_signature_is_true_of_one_message_one_key_and_itself() -> None:
    public, signature = mldsa.public_of(SEED), mldsa.sign(SEED, b"waypost")
    assert (len(public), len(signature)) == (mldsa.PUBLIC_SIZE, mldsa.SIGNATURE_SIZE) == (1_312, 2_420)
    assert mldsa.verifies(public, signature, b"waypost")
    assert mldsa.verifies(public, mldsa.sign(SEED, b"waypost"), b"waypost")
    assert not mldsa.verifies(public, signature, b"Waypost")
    assert not mldsa.verifies(mldsa.public_of(bytes(32)), signature, b"waypost")
    assert not mldsa.verifies(public, signature[:-1] + bytes([signature[-1] ^ 1]), b"waypost")


@pytest.mark.parametrize("size", [0, 31, 32, 1_311, 1_313])
def test_octets_that_are_no_key_or_no_signature_verify_nothing(size: int) -> None:
    assert not mldsa.verifies(bytes(size), mldsa.sign(SEED, b""), b"")
    assert not mldsa.verifies(mldsa.public_of(SEED), bytes(size), b"")
    assert not mldsa.verifies(b"\xff" * 1_312, bytes(2_420), b"")


def test_where_the_library_lacks_it_a_key_is_read_and_has_cosigned_nothing() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT], check=True, timeout=60)
