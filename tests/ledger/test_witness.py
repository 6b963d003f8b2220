"""The witness, request by request.  Time is a number we choose."""

import json
from pathlib import Path

from seeing import Eye

from waypost.identity.keys import verifies
from waypost.ledger.note import Algorithm, Key
from waypost.ledger.questions import Reply

VECTORS = Path(__file__).parents[1] / "vectors" / "tlog" / "extracted" / "add-checkpoint.json"


def test_the_exchanges_of_another_witness_get_the_answers_of_the_specification() -> None:
    vectors = json.loads(VECTORS.read_text())
    key = Key(vectors["origin"], Algorithm.ED25519, bytes.fromhex(vectors["log_public_key_hex"]))
    eye = Eye({key.name: key}, verify=verifies)
    assert len(vectors["cases"]) == 9
    for case in vectors["cases"]:
        reply = eye.submit(case["request"].encode())
        assert reply.status in case.get("status_now", [case["status"]])
        if "body" in case:
            assert reply == Reply(409, case["body"].encode(), "text/x.tlog.size")
