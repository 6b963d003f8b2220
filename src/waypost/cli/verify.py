"""The verb that checks a file, and asks nobody.

Source: C2SP tlog-proof, tlog-policy; notes on the ledger, 5.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from msgspec import to_builtins

from waypost.api.logged import NewStatement
from waypost.cli.claiming import at
from waypost.cli.evict import Duration
from waypost.cli.keys import read_file
from waypost.cli.output import emit, fields, note, output_option
from waypost.cli.reports import Convicted, Verified
from waypost.cli.trusting import policy_option, trusted
from waypost.errors import ProofError, WireError

if TYPE_CHECKING:
    from waypost.ledger.policy import Policy


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@policy_option
@click.option("--max-age", "age_max_s", type=Duration(), help="Count only cosignatures of the last, as in 1h.")
@click.option("--entry", type=click.Path(path_type=Path), help="The entry itself, if the proof does not have it.")
@output_option
def verify(file: Path, policy: Path | None, age_max_s: int | None, entry: Path | None, output: str) -> None:
    """Check a proof that `waypost prove` wrote, or evidence against a log; nobody is asked.

        waypost verify lamp.proof --policy tlog-policy

    A proof: the record is signed by its author and is an entry of the log, whose head is signed by a log of the policy
    and cosigned by a quorum of its witnesses.  Evidence: whom it accuses of what, by the keys of the policy.

    Exit code 0: it is so, and the answer says what; 5: it is not, or the file was changed.
    """
    from waypost.ledger.entry import Kind

    trust = trusted(policy)
    data = read_file(file)
    if data.startswith(Kind.EVIDENCE.line):
        convicted = _convicted(file, data, trust)
        emit(convicted, output, fields({"proven": convicted.fault} | _rest(convicted)))
        return
    verified = _verified(file, data, trust, age_max_s, None if entry is None else read_file(entry))
    emit(verified, output, fields(_lines(verified)))
    if output == "table" and not verified.cosigned:
        note("the policy asks for no witness: that the log shows everybody the same is not proven")


def _verified(file: Path, data: bytes, trust: "Policy", age_max_s: int | None, entry: bytes | None) -> Verified:
    from waypost.identity.keys import verifies
    from waypost.ledger.entry import Commit, decode
    from waypost.ledger.genuine import require_genuine
    from waypost.ledger.proof import ProofFile, verify_proof
    from waypost.ledger.statement import Statement

    try:
        proof = ProofFile.decode(data)
    except WireError as error:
        raise ProofError(f"{file} is no proof: {error}") from error
    entry = proof.extra if entry is None else entry
    if not entry:
        raise ProofError(f"{file} does not have the entry that it is about", hint="give it with --entry")
    verdict = verify_proof(proof, entry, trust, verifies, int(time.time()), age_max_s)
    said = require_genuine(entry, verifies)
    kind = decode(entry).kind
    return Verified(
        str(file),
        proof.head.origin,
        verdict.log.encode(),
        proof.index,
        proof.head.size,
        kind.value if kind else None,
        verdict.cosigned,
        said.committed if isinstance(said, Commit) else None,
        msgspec.convert(said, NewStatement, from_attributes=True) if isinstance(said, Statement) else None,
    )


def _convicted(file: Path, data: bytes, trust: "Policy") -> Convicted:
    from waypost.identity.keys import verifies
    from waypost.ledger.evidence import check

    keys = [log.key for log in trust.logs] + [witness.key for witness in trust.witnesses]
    try:
        found = check(data, keys, verifies, _believed(trust))
    except WireError as error:
        raise ProofError(f"{file} is no evidence: {error}") from error
    return Convicted(str(file), found.fault.value, found.accused, found.origin, found.conflict, found.digest)


def _believed(trust: "Policy") -> int:
    """How many witnesses that agree are believed: so many as are a quorum, whichever they be."""
    return len(trust.witnesses) + 1 if trust.quorum == "none" else len(trust.witnesses) - trust.down_max


def _rest(convicted: Convicted) -> dict[str, Any]:
    if not convicted.origin:
        return {"by": f"the key {convicted.accused}", "digest": convicted.digest}
    dispute = f"whatever is larger than {convicted.conflict - 1} entries"
    return {"by": convicted.accused, "log": convicted.origin, "in dispute": dispute, "digest": convicted.digest}


def _lines(verified: Verified) -> dict[str, Any]:
    shown: dict[str, Any] = {"proven": f"entry {verified.index} of {verified.origin}, which has {verified.size}"}
    shown["kind"] = verified.kind
    if verified.committed is not None:
        record, certificate = verified.committed.record, verified.committed.certificate
        gone = "(nothing)" if record.value is None else record.value
        shown |= {"key": "/".join(record.place), "version": record.version, "value": gone, "holder": record.holder}
        shown |= {"signed by": record.author, "dated": at(record.hlc.wall_ms)}
        shown["voters"] = " ".join(mark.voter for mark in certificate.marks) if certificate else ""
    elif verified.statement is not None:
        statement = to_builtins(verified.statement)
        shown |= {"says": statement["body"], "signed by": statement["signer"], "dated": at(statement["at_ms"])}
    by = (f"{name} ({at(1000 * time_s)})" for name, time_s in sorted(verified.cosigned.items()))
    return shown | {"cosigned": ", ".join(by)}
