"""Whether an entry is what it says, beside being in a log: its author signed it.

Who voted is named by a certificate, and checked with the network's roster, which is not in the entry.

Source: notes on the ledger, 5 (entry kinds); notes on DRiP, 4.2.
"""

from waypost.errors import ProofError, WireError
from waypost.ledger import entry
from waypost.ledger.entry import Commit, Kind
from waypost.ledger.note import Verify
from waypost.ledger.statement import Statement, require_signed
from waypost.record import ROSTER, Matter, network_of, roster_in


def require_genuine(data: bytes, verify: Verify) -> Commit | Statement | None:
    """What a commit or a statement says; None of an entry that nobody signs by itself.  Raises ProofError."""
    read = entry.decode(data)
    try:
        if read.kind is Kind.STATEMENT:
            statement = Statement.decode(data)
            require_signed(statement, verify)
            return statement
        if read.kind is Kind.COMMIT:
            commit = entry.read_commit(read.body)
            _require_committed(commit, verify)
            return commit
    except WireError as error:
        raise ProofError(f"the entry is not what it says: {error}") from error
    return None


def _require_committed(commit: Commit, verify: Verify) -> None:
    record, certificate = commit.committed.record, commit.committed.certificate
    record.require_sound()
    if certificate is None:
        # The network's first roster is signed by nobody: its hash is the network's name.
        if record.place != ROSTER or record.version != 1 or network_of(roster_in(record)) != commit.network:
            raise ProofError("nobody voted for the record")
        return
    if not verify(bytes.fromhex(record.author), bytes.fromhex(record.signature), record.to_sign(commit.network)):
        raise ProofError("the signature of the record's author is wrong")
    if certificate.matter != Matter.of(record, certificate.matter.ballot, commit.network):
        raise ProofError("the votes are for another record")
