"""What operations share: the node's answer to a question, and the policy's, each of them or a refusal."""

from typing import TypeVar

from waypost.api.moving import Ask
from waypost.api.problem import Refusal
from waypost.identity import ANONYMOUS, Identity
from waypost.identity.policy import Action, Decide, Target, View
from waypost.rd.questions import Busy

T = TypeVar("T")


async def put(ask: Ask, question: object, kind: type[T]) -> T:
    """The answer, which is a `kind`.  Raises Refusal if the node has too much to do."""
    answer = await ask(question)
    if isinstance(answer, Busy):
        raise Refusal(503, answer.detail, retry_s=answer.retry_s)
    assert isinstance(answer, kind), f"{answer!r} is no answer to {question!r}"
    return answer


def require(decide: Decide, who: Identity, action: Action, target: Target) -> View | None:
    """What of the target may be seen, None: all.  Raises Refusal if the policy allows nothing of it."""
    decision = decide(who, action, target)
    if not decision.allowed:
        raise Refusal(401 if who == ANONYMOUS else 403, decision.reason)
    return decision.view
