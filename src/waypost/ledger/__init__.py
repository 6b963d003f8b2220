"""The log that every node keeps of what it committed and learnt, and the others' logs that it witnesses.

An RFC 6962 tree for each node, served as C2SP tlog-tiles; checkpoints that peers cosign and enter in logs of their own;
proofs of inclusion for readers, and proofs of misbehaviour against a log that forks.

Read `tree.py`, `note.py` and `checkpoint.py` first, then `log.py` (the node's own), `witness.py` and `rounds.py` (what
nodes do for each other), `court.py` (when one of them lies), and `engine.py`, which joins them.

Source: minutes of the IETF 99 side meeting on distributed registries; RFC 6962; C2SP signed-note, tlog-checkpoint,
tlog-tiles, tlog-cosignature, tlog-witness, tlog-proof, tlog-policy; notes on the ledger, 2 and 5.
"""
