"""Witnesses that are no nodes, and logs that are no node's: programs that others wrote, and our node between them."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from clients import environment
from outside import Witness, outside_witness
from reading import Keys, cosigners_of, fetch, head_of, keys_of, page, until
from running import Node as Process
from running import running, start
from signing import LOG, signer
from voting import claim

from waypost.config import Coap, Coaps, Config, Http, Ledger, Peers
from waypost.identity.keys import verifies
from waypost.ledger.checkpoint import Head, cosigned_at, read_head, require_signed
from waypost.ledger.note import Algorithm, Key
from waypost.node import Node

pytestmark = pytest.mark.peer("pip:aics_witness", "pip:aics_tlog")
VECTORS: Final = Path(__file__).resolve().parents[1] / "vectors" / "tlog" / "extracted" / "add-checkpoint.json"
ENTRIES: Final = 600  # two full tiles and a part of one

# A log of 300 entries that grows in steps, each cosigned by the witness before the next one.
GROW: Final = """
import sys
from aics_tlog import Checkpoint, MerkleTree, sign_checkpoint
from aics_witness.feeder import WitnessClient, merge_cosignatures
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

url, witness, origin, seed = sys.argv[1:]
key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
tree = MerkleTree()
for size in (1, 2, 255, 256, 300):
    tree.extend(b"entry %d" % number for number in range(tree.size, size))
    head = sign_checkpoint(Checkpoint(origin, size, tree.root()), key, origin).to_bytes()
    with WitnessClient(url, witness) as client:
        cosigned = merge_cosignatures(head, client.submit(head, tree.consistency_proof))
sys.stdout.buffer.write(cosigned)
"""

# Every tile and every entry of a log, read over HTTP and hashed anew.
AUDIT: Final = """
import sys
from aics_tlog import HttpTileReader, audit_tiles, parse_checkpoint, parse_note, parse_vkey, verify_note

url, log = sys.argv[1:]
reader = HttpTileReader(url)
note = parse_note(reader.read_checkpoint())
assert verify_note(note, [parse_vkey(log)])
head = parse_checkpoint(note.text)
audit_tiles(reader, head.size, head.root)
print(head.size)
"""


def configure(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.toml").write_text(f"[ledger]\nround_s = 1\nidle_round_s = 1\n{text}")
    return folder


def witnessed_by(*witnesses: Witness) -> str:
    return "".join(f'[[ledger.witnesses]]\nkey = "{each.key.encode()}"\nurl = "{each.url}"\n' for each in witnesses)


def program(text: str, *arguments: str) -> bytes:
    command = [sys.executable, "-c", text, *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def head_cosigned_by(node: Process, keys: Keys, witness: Witness) -> Head:
    def whole() -> Head | None:
        head = head_of(node.http, keys)
        return head if head and cosigners_of(head, {"outside": witness.key}) else None

    return until(whole)


def test_a_witness_that_others_wrote_cosigns_our_node_s_log(tmp_path: Path) -> None:
    with outside_witness(tmp_path / "witness") as witness:
        with running(configure(tmp_path / "node", witnessed_by(witness))) as node:
            keys = keys_of(node.http)
            published = until(lambda: head_of(node.http, keys))
            assert not cosigners_of(published, {"outside": witness.key}), "it does not know our log yet"
            witness.trust(keys.log)
            assert head_cosigned_by(node, keys, witness).size >= published.size
        with running(tmp_path / "node") as node:
            assert keys_of(node.http) == keys
            head_cosigned_by(node, keys, witness)


def test_a_head_is_published_though_a_witness_is_gone(tmp_path: Path) -> None:
    """Who writes does not wait for it; who reads demands a quorum."""
    with outside_witness(tmp_path / "witness") as witness:
        pass
    with running(configure(tmp_path / "node", witnessed_by(witness))) as node:
        keys = keys_of(node.http)
        head = until(lambda: head_of(node.http, keys))
        assert not cosigners_of(head, {"outside": witness.key})


def test_our_node_cosigns_a_log_that_a_stranger_s_program_keeps(tmp_path: Path) -> None:
    seed = bytes([77]) * 32
    log = signer("stranger.example/log", 77).key
    with running(configure(tmp_path, f'witnessed = ["{log.encode()}"]\n')) as node:
        keys = keys_of(node.http)
        cosigner = keys.cosigner.encode()
        cosigned = read_head(program(GROW, f"{node.http}/log", cosigner, log.name, seed.hex()))
        assert cosigned.size == 300
        require_signed(cosigned, log, verifies)
        assert cosigned_at(cosigned, keys.cosigner, verifies) is not None
        stranger = Keys(log, keys.cosigner)
        shown = read_head(page(node.http, f"witness/{stranger.hex}/checkpoint"))
        assert shown.checkpoint == cosigned.checkpoint
    node = start(tmp_path)
    try:
        shown = read_head(page(node.http, f"witness/{stranger.hex}/checkpoint"))
        assert shown.checkpoint == cosigned.checkpoint, "a witness forgets nothing"
    finally:
        node.kill()


def test_the_vectors_of_a_witness_get_their_statuses_from_our_node(tmp_path: Path) -> None:
    vectors = json.loads(VECTORS.read_text())
    key = Key(vectors["origin"], Algorithm.ED25519, bytes.fromhex(vectors["log_public_key_hex"]))
    with running(configure(tmp_path, f'witnessed = ["{key.encode()}"]\n')) as node:
        for case in vectors["cases"]:
            status, body = fetch(f"{node.http}/log/add-checkpoint", case["request"].encode())
            assert status in case.get("status_now", [case["status"]]), (case, body)
            assert body.decode() == case.get("body", body.decode())


def test_a_log_that_is_not_configured_is_not_witnessed(tmp_path: Path) -> None:
    vectors = json.loads(VECTORS.read_text())
    with running(configure(tmp_path, f'witnessed = ["{LOG.key.encode()}"]\n')) as node:
        assert fetch(f"{node.http}/log/add-checkpoint", vectors["cases"][0]["request"].encode())[0] == 404


def test_a_program_that_others_wrote_audits_our_node_s_log(tmp_path: Path) -> None:
    """Its full tiles, which are files, and those that are made when they are asked for."""

    async def story() -> None:
        any_port = ("127.0.0.1:0",)
        config = Config(
            dir=tmp_path,
            coap=Coap(listen=any_port),
            coaps=Coaps(listen=any_port),
            http=Http(listen=any_port),
            peers=Peers(listen=any_port),
            ledger=Ledger(round_s=1),
        )
        async with Node(config) as node:
            keys = await asyncio.to_thread(keys_of, node.url)
            await asyncio.gather(*(claim(node, f"lamp-{number}", "on") for number in range(ENTRIES)))

            def whole() -> Head | None:
                head = head_of(node.url, keys)
                return head if head and head.size > ENTRIES else None

            head = await asyncio.to_thread(until, whole)
            audited = await asyncio.to_thread(program, AUDIT, f"{node.url}/log", keys.log.encode())
            assert int(audited) >= head.size
            damaged = tmp_path / "tiles" / "log" / "tile" / "0" / "000"
            damaged.write_bytes(bytes(32) + damaged.read_bytes()[32:])
            with pytest.raises(AssertionError, match="TileVerificationError"):
                await asyncio.to_thread(program, AUDIT, f"{node.url}/log", keys.log.encode())

    asyncio.run(story())
