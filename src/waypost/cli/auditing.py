"""The verb that follows a log of anybody's, and keeps what shows that it lied.

Source: C2SP tlog-tiles, tlog-checkpoint; notes on the ledger, 1 and 5.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from waypost.cli.evict import Duration
from waypost.cli.fetching import Log
from waypost.cli.keys import read_file, replace_file
from waypost.cli.output import emit, fields, note, output_option
from waypost.cli.reports import CheckedLog
from waypost.errors import ConfigError, ProofError, StoreError, UnreachableError, WireError

if TYPE_CHECKING:
    from waypost.ledger.checkpoint import Head
    from waypost.ledger.note import Key

EVIDENCE: Final = ".evidence"  # behind the name of the state file
REFUSED: Final = ".refused"
EVERY_S: Final = 10


@click.command()
@click.argument("url")
@click.option("--key", "vkey", required=True, help="The key that signs the log's heads, as name+ID+base64.")
@click.option("--state", type=click.Path(path_type=Path), help="Remember the head in this file, and begin at it.")
@click.option("--whole", is_flag=True, help="Read all of it, and not only what came since.")
@click.option("--follow", is_flag=True, help="Go on, until the log lies.")
@click.option("--every", "every_s", type=Duration(), default=f"{EVERY_S}s", show_default=True, help="With --follow.")
@click.option("--ca", type=click.Path(path_type=Path), help="Roots that may certify the server, PEM.")
@output_option
def audit(
    url: str, vkey: str, state: Path | None, whole: bool, follow: bool, every_s: int, ca: Path | None, output: str
) -> None:
    """Check a log entry by entry, a node's or anybody's that is served as tlog-tiles.

        waypost log audit http://127.0.0.1:8480/log --key 'waypost/node-1+…' --state node-1.head

    Its entries and tiles must have the root that its head says, and its head must have the one in --state as its past.
    Exit code 5 if not.  What proves a fork is kept beside the state file, for `waypost verify`.
    """
    key = _key(vkey)
    before = _head(state) if state is not None and state.exists() else None
    with Log(url, ca) as log:
        while True:
            try:
                before = _round(log, key, before, state, whole, output)
            except UnreachableError as error:
                if not follow:
                    raise
                note(str(error))
            if not follow:
                return
            time.sleep(every_s)


def _round(log: Log, key: "Key", before: "Head | None", state: Path | None, whole: bool, output: str) -> "Head":
    """The head that was found good.  Raises ProofError."""
    from waypost.identity.keys import verifies
    from waypost.ledger.audit import Audit

    checkpoint = log.checkpoint()
    try:
        audit = Audit(checkpoint, [key], verifies, before, whole=whole)
    except WireError as error:
        raise ProofError(f"{log.url}: {error}") from error
    while paths := audit.wanted():
        for path in paths:
            audit.took(path, log.get(path))
    if audit.faults:
        raise ProofError(
            "; ".join(audit.faults[:3])
            + (f"; and {more} more" if (more := len(audit.faults[3:]) + audit.more) else ""),
            hint=_kept(log, key, before, audit.head, checkpoint, state),
        )
    if state is not None:
        replace_file(state, checkpoint)
    if before is None or before.size != audit.head.size or audit.entries:
        report = CheckedLog(audit.head.origin, True, audit.head.size, audit.entries, audit.tiles, (), 0)
        shown = {"log": report.origin, "whole": f"{report.size} entries", "entries read": report.entries}
        emit(report, output, fields(shown | {"tiles read": report.tiles}))
    return audit.head


def _kept(
    log: Log, key: "Key", before: "Head | None", head: "Head", checkpoint: bytes, state: Path | None
) -> str | None:
    """Where what speaks against the log was put."""
    if before is None or state is None:
        return None
    evidence = _evidence(log, key, before, head)
    name = state.with_name(state.name + (REFUSED if evidence is None else EVIDENCE))
    replace_file(name, checkpoint if evidence is None else evidence)
    if evidence is None:
        return f"the head is kept in {name}, and the one before in {state}: by themselves they prove nothing"
    return f"the proof is in {name}: waypost verify checks it, by a policy with this log"


def _evidence(log: Log, key: "Key", before: "Head", head: "Head") -> bytes | None:
    """That the two heads are of two histories, if the log serves what shows it."""
    from waypost.identity.keys import verifies
    from waypost.ledger.evidence import check, of_heads
    from waypost.ledger.exhibit import encode

    try:
        if head.origin != before.origin or head.size < before.size:
            return None
        evidence = of_heads(key, before, head, log.tree(head) if head.size > before.size else None)
        if evidence is None:
            return None
        data = encode(evidence)
        check(data, [key], verifies, 1)
    except (ProofError, StoreError, WireError):
        return None
    return data


def _key(text: str) -> "Key":
    from waypost.ledger.note import Algorithm, Key

    try:
        key = Key.decode(text)
    except WireError as error:
        raise click.BadParameter(str(error), param_hint="--key") from error
    if key.algorithm is not Algorithm.ED25519:
        raise click.BadParameter("the key is no log's: those are of Ed25519", param_hint="--key")
    return key


def _head(state: Path) -> "Head":
    from waypost.ledger.checkpoint import read_head

    try:
        return read_head(read_file(state))
    except WireError as error:
        raise ConfigError(f"{state} is no head of a log: {error}") from error
