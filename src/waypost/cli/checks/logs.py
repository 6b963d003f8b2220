"""How a running node's log is, and what it knows of others', by its figures."""

from waypost.cli.checks import fail, fine, skip, warn
from waypost.cli.checks.running import Running
from waypost.cli.reports import Finding


def check_log(running: Running) -> list[Finding]:
    figures = running.figures
    if "waypost_ledger_signing" not in figures:
        return [skip("log", "no node runs here that would say how its log is")]
    contradicted = int(figures.get("waypost_ledger_opening_contradicted_total", 0))
    size, cosigners, quorum, evidence, frozen, behind = (
        int(figures.get(f"waypost_ledger_{name}", 0))
        for name in ("size", "cosigners", "quorum", "evidence", "frozen", "mirror_behind")
    )
    found: list[Finding] = []
    if contradicted:
        sentence = "somebody has a head signed with this log's key that contradicts what is here: nothing is signed"
        found.append(
            fail(
                "log",
                sentence,
                "was the disk put back, or is the key elsewhere? let the node join anew, with an empty directory",
            )
        )
    elif not figures["waypost_ledger_signing"]:
        sentence = "the log is not signed: no other node has said which head of it it saw last"
        found.append(
            fail("log", sentence, "`waypost log status` says why; `waypost log resume` if there is nobody to ask")
        )
    if evidence or frozen:
        sentence = (
            f"{evidence} proofs that a log, a witness or a signer has lied are kept, and {frozen} logs are frozen"
        )
        found.append(fail("log", sentence, "`waypost log evidence` shows them"))
    if cosigners < quorum:
        sentence = f"{cosigners} witnesses cosigned the last head, and {quorum} should: readers will not take it"
        found.append(warn("log", sentence, "`waypost log status` shows which of them did"))
    if behind:
        found.append(warn("log", f"{behind} entries of other logs are cosigned, and not kept here yet"))
    return found or [fine("log", f"{size} entries, and {cosigners} of {quorum} witnesses cosigned the last head")]
