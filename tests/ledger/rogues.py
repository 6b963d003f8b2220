"""Nodes that lie: members of the network with keys of their own, that show each node what they like.

What a rogue says to a node comes from the history that this node is shown; the test decides which.  It cosigns whatever
it is asked to, with the answers that a witness gives.  Nothing here is bound to a transport.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from hashlib import sha256

from waypost.ledger.checkpoint import Head, cosign
from waypost.ledger.entry import Kind
from waypost.ledger.note import Key
from waypost.ledger.peers import make_keys
from waypost.ledger.questions import Call, Notary, Reply, Serve
from waypost.ledger.submission import SIZE_MEDIA, Submission
from waypost.sim.histories import History


@dataclass
class Rogue:
    """`views` are the histories that nodes are shown, `history` what everybody else is; `asked` is what it was asked.

    `answers` come before its own: what it says to a question, or None.
    """

    notary: Notary
    own: Key
    history: History
    views: dict[str, History] = field(default_factory=dict)
    answers: Callable[[Serve], Reply | None] = lambda question: None
    asked: list[Serve] = field(default_factory=list)
    now_s: Callable[[], int] = lambda: 0
    cosigned: dict[str, Head] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)  # by node, the size that it has cosigned
    refusals: list[Reply] = field(default_factory=list)
    proves: bool = True  # with its heads come the proofs of what it shows

    @property
    def name(self) -> str:
        return self.notary.name

    def view(self, node: str) -> History:
        return self.views.get(node, self.history)

    def serve(self, question: Serve) -> Reply:
        self.asked.append(question)
        given = self.answers(question)
        if given is not None:
            return given
        match question.method, question.path.split("/"):
            case "GET", ["keys"]:
                return Reply(200, make_keys(self.notary, self.own))
            case "GET", ["checkpoint"] | ["tile", *_]:
                return self.view(question.node).serve(question.path)
            case "GET", ["witness", digest, "checkpoint"]:
                found = (head for head in self.cosigned.values() if digest_of(head.origin) == digest)
                return next((Reply(200, head.note.encode()) for head in found), Reply(404))
            case "POST", ["add-checkpoint"]:
                return self.witness(Submission.decode(question.body))
            case "POST", ["heads" | "evidence"]:
                return Reply(200)
            case _:
                return Reply(404)

    def witness(self, submission: Submission) -> Reply:
        """Cosigns, if only the old size is the one that it says; nothing is verified."""
        head = submission.head
        before = self.cosigned.get(head.origin)
        if submission.old != (before.size if before else 0):
            return Reply(409, b"%d\n" % (before.size if before else 0), SIZE_MEDIA)
        line = cosign(head, self.notary.cosigner, self.notary.cosign, self.now_s())
        self.cosigned[head.origin] = Head(head.checkpoint, head.note.signed(line))
        return Reply(200, line.encode().encode())

    def submit(self, node: str, size: int | None = None) -> Call:
        """The head of what the node is shown, for its witness."""
        submission = self.view(node).submission(self.held.get(node, 0), size)
        if not self.proves:
            submission = replace(submission, proof=())
        return Call(node, "POST", "add-checkpoint", submission.encode())

    def heard(self, node: str, call: Call, reply: Reply | None) -> bool:
        """What came of it: whether it is worth another try."""
        if reply is not None and reply.status == 200:
            self.held[node] = Submission.decode(call.body).head.size
        elif reply is not None and reply.status == 409:
            old = self.held.get(node)
            self.held[node] = int(reply.body)
            return old != self.held[node] <= self.view(node).size
        elif reply is not None:
            self.refusals.append(reply)
        return False


def digest_of(origin: str) -> str:
    return sha256(origin.encode()).hexdigest()


def rewritten(history: History, origins: Iterable[str]) -> History:
    """An entry near its beginning was another, and there are no links to the logs of those origins."""
    lines = [Kind.PEER_HEAD.line + origin.encode() + b"\n" for origin in origins]
    kept = [data for data in history.entries if not data.startswith(tuple(lines))]
    return history.fork(2, b"so it was", *kept[3:], *[b"padding"] * (history.size - len(kept)))
