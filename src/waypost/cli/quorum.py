"""The verb that writes a policy: which logs and witnesses a reader trusts, and how many of them may lie.

n witnesses, of whom k must have cosigned: two histories have k cosigners each only if 2k - n of them signed both.  So
f < 2k - n may lie, and n - k be down.

Source: C2SP tlog-policy; notes on the ledger, L6 and 5 (reader policy).
"""

from typing import TYPE_CHECKING, Final

import click

from waypost.api.logged import Log
from waypost.cli.node import Place, node_option
from waypost.cli.output import emit, note, output_option
from waypost.cli.reports import WrittenPolicy
from waypost.errors import ConfigError, RemoteError, StateError

if TYPE_CHECKING:
    pass

HEAD: Final = (
    "# Whom a reader of these logs trusts (C2SP tlog-policy).  Compare each key with what its own node says.\n"
)


@click.command()
@click.option("--node", "name", metavar="NAME", help="Only the log of that node. [all of the network]")
@click.option("--quorum", "k", type=click.IntRange(min=1), help="How many must have cosigned. [two thirds, and one]")
@node_option
@output_option
def policy(name: str | None, k: int | None, at: Place, output: str) -> None:
    """Write a policy for the logs of the network, as the node knows them, for `waypost verify`.

        waypost log policy > tlog-policy

    Of n witnesses a quorum of k must have cosigned a head: then f < 2k - n of them may lie, and n - k be down.
    """
    with at.client() as node:
        written = write(node.log(), name, k)
    emit(written, output, written.text.removesuffix("\n"))
    if output == "table" and not written.quorum:
        note("there is no witness: this policy believes the log alone")


def write(log: Log, name: str | None, k: int | None) -> WrittenPolicy:
    """Raises StateError where so few of so many witness nothing, RemoteError for an unknown name."""
    from waypost.errors import WireError
    from waypost.ledger.note import Key
    from waypost.ledger.policy import Policy, quorum_of, tolerated

    sound = [link for link in log.links if link.frozen is None]
    own = (log.origin, log.origin.rpartition("/")[2])
    logs = [(own, log.key, log.cosigner)]
    logs += [((link.origin, link.node), link.key, link.cosigner) for link in sound]
    wanted = [each for each in logs if name is None or name in each[0]]
    if not wanted:
        raise RemoteError(f"there is no log of {name!r}, or there is evidence against it", code=404)
    cosigners = [cosigner for _, _, cosigner in logs if name is None or cosigner != wanted[0][2]]
    witnesses = [*cosigners, *(outside.key for outside in log.outside)]
    n = len(witnesses) - (1 if name is None else 0)  # that count for any one log
    k = min(quorum_of(n), n) if k is None else k
    faulty = tolerated(n, k)
    if k > n or (k and faulty < 0):
        raise StateError(_why(n, k), hint=f"of {n} take {quorum_of(n)}" if n else None)
    keys: list[Key] = [Key.decode(key) for key in witnesses] if n else []
    try:
        made = Policy.of([Key.decode(key) for _, key, _ in wanted], keys, k)
    except WireError as error:
        raise ConfigError(f"the node names keys that cannot be in one policy: {error}") from error
    text = HEAD + _rule(n, k, faulty, one=name is not None)
    text += "".join(
        f"# Not trusted, there is evidence: {link.origin}\n" for link in log.links if link.frozen is not None
    )
    origins = tuple(names[0] for names, _, _ in wanted)
    return WrittenPolicy(origins, n, k, max(faulty, 0), n - k, text + made.encode().decode())


def _why(n: int, k: int) -> str:
    if k > n:
        return f"{k} of {n} witnesses can never have cosigned"
    return f"with {k} of {n} witnesses a log can show two histories, and nobody has to lie for it (f < 2k - n)"


def _rule(n: int, k: int, faulty: int, *, one: bool) -> str:
    if not n:
        return "# Nobody witnesses this log: it may show everybody another history.\n"
    own = "" if one else "# The cosigner of a log's own node does not count for that log, and is not among the n.\n"
    return (
        f"# n = {n} witnesses, k = {k} must have cosigned.\n"
        f"# While at most {faulty} of them lie (f < 2k - n), nobody is shown another history.\n"
        f"# While at most {n - k} of them are down (n - k), new heads are found good.\n"
    ) + own
