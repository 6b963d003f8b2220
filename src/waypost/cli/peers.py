"""The verbs about who is in the network, and about what it is voting on.

Who votes, and who may make which keys, stands in the roster: a record that is voted on like any other, and that the
operator signs here.  When somebody else changed it meanwhile, the change is made again upon the new one.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import click
from msgspec import structs, to_builtins

from waypost.api import voted
from waypost.api.sync import SyncClient
from waypost.cli.claim import Holder
from waypost.cli.claiming import Author, before, deadline_option, put, tell
from waypost.cli.ending import Exit
from waypost.cli.keys import operator_key
from waypost.cli.node import Place, node_option
from waypost.cli.output import emit, note, output_option, rows
from waypost.errors import RemoteError, StateError, WireError
from waypost.record import ROSTER, Creator, Member, Roster, roster_in
from waypost.record.roster import DETAILED, Forced
from waypost.record.vote import forced

COLUMNS: Final = (
    "name", "part", "state", "heard", "round trip", "wire", "known by", "organisation", "url", "incarnation",
)  # fmt: skip
TRIES: Final = 5  # when others change the roster, too

Change = Callable[[Roster], Roster]


class Peers(click.Group):
    """With no verb of its own it lists."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def operator_option(function: Callable[..., Any]) -> Callable[..., Any]:
    file = click.Path(path_type=Path)
    return click.option("--key", "file", type=file, required=True, help="The operator's key, PEM.")(function)


@click.group(cls=Peers, no_args_is_help=False)
def peers() -> None:
    """Show who is in the network, and say who votes and who may make which keys."""


@peers.command("list")
@node_option
@output_option
def list_(at: Place, output: str) -> None:
    """List the nodes of the network, as this one sees them.  The default."""
    with at.client() as node:
        network = node.peers()
    emit(network, output, rows(list(_lines(network)), COLUMNS))
    if output == "table":
        roster = network.roster
        voters = f"{roster.quorum} of {len(roster.voters)} voters commit"
        note(f"network {network.network[:16]}…, roster {roster.epoch}: {voters}")


@peers.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@operator_option
@deadline_option
@node_option
@output_option
def promote(names: tuple[str, ...], file: Path, deadline_s: float, at: Place, output: str) -> Exit:
    """Let learners vote, and voters that came back with a new disk.

    waypost peers promote node-2 node-3 --key operator.pem
    """
    with at.client() as node:
        applicants = node.peers().applicants
        return _have(node, lambda roster: promoted(roster, names, applicants), file, deadline_s, output)


@peers.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@operator_option
@deadline_option
@node_option
@output_option
def remove(names: tuple[str, ...], file: Path, deadline_s: float, at: Place, output: str) -> Exit:
    """Take nodes out of the network: they vote no more, and are told no more."""
    with at.client() as node:
        return _have(node, lambda roster: removed(roster, names), file, deadline_s, output)


@peers.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--source", "sources", metavar="NAME", multiple=True, help="Who is asked for all it has; of the voters.")
@click.option("--accept-loss", is_flag=True, required=True, help="What only the others knew is lost: say so.")
@operator_option
@node_option
@output_option
def force(
    names: tuple[str, ...], sources: tuple[str, ...], accept_loss: bool, file: Path, at: Place, output: str
) -> Exit:
    """Have only these vote from now on, where a majority of the voters is gone for good.  It needs no votes.

    What was committed and is known to none of the sources is lost, and the roster says for ever that it was forced.
    Never while the others may come back and vote: then two would decide.

    waypost peers force node-1 node-2 --accept-loss --key operator.pem
    """
    assert accept_loss
    author = Author(operator_key(file))
    with at.client() as node:
        next, current = before(node, ROSTER)
        network = node.peers()
        if current is None or network.roster.policy.operator != author.public:
            raise StateError(f"{file} is not the key of this network's operator")
        roster = forced_upon(network.roster, names, network.applicants, sources)
        record = author.sign(next, ROSTER, roster.text, current.record.holder)
        return tell(node.force(forced(record, next.network, author.key.sign)), output)


@peers.command()
@click.argument("range", metavar="NAMESPACE/PREFIX")
@click.argument("holder", metavar="HOLDERKEY", type=Holder())
@click.option("--undo", is_flag=True, help="Allow it no more; what it holds it keeps.")
@operator_option
@deadline_option
@node_option
@output_option
def allow(range: str, holder: str, undo: bool, file: Path, deadline_s: float, at: Place, output: str) -> Exit:
    """Let whoever has a key make new keys of a namespace that begin with PREFIX; with any, if there is none.

    waypost peers allow names/floor-1/ 3b6a27bc… --key operator.pem
    """
    namespace, slash, prefix = range.partition("/")
    if not slash:
        raise click.BadArgumentUsage(f"{range!r} is not NAMESPACE/PREFIX; {range}/ means all of it")
    creator = Creator(namespace, prefix, holder)
    with at.client() as node:
        return _have(node, lambda roster: allowed(roster, creator, undo=undo), file, deadline_s, output)


def promoted(roster: Roster, names: Iterable[str], applicants: Iterable[Member]) -> Roster:
    """Raises StateError for a node that is neither a learner nor has applied."""
    waiting = {member.name: member for member in (*roster.learners, *(_told(each, roster) for each in applicants))}
    voters, learners = list(roster.voters), list(roster.learners)
    for name in dict.fromkeys(names):
        if name not in waiting:
            what = "a voter already" if roster.voter(name) else "unknown: it has not joined yet"
            raise StateError(f"{name!r} is {what}", hint="waypost peers")
        if roster.has_details and waiting[name].wire < DETAILED:
            raise StateError(f"{name!r} is of an earlier release, which cannot read this roster", hint="update it")
        voters = [member for member in voters if member.name != name] + [waiting[name]]
        learners = [member for member in learners if member.name != name]
    return _next(roster, tuple(voters), tuple(learners))


def removed(roster: Roster, names: Iterable[str]) -> Roster:
    """Raises StateError for a node that is not in the roster."""
    gone = dict.fromkeys(names)
    for name in gone:
        if name not in roster.nodes:
            raise StateError(f"{name!r} is not in the network", hint="waypost peers")
    voters = tuple(member for member in roster.voters if member.name not in gone)
    if not voters:
        raise StateError("without a voter nothing can be changed any more: promote another first")
    return _next(roster, voters, tuple(member for member in roster.learners if member.name not in gone))


def forced_upon(
    roster: Roster, names: Iterable[str], applicants: Iterable[Member], sources: Iterable[str] = ()
) -> Roster:
    """Raises StateError for a node that is neither in the roster nor has applied."""
    known = {member.name: member for member in (*roster.members, *(_told(each, roster) for each in applicants))}
    chosen = tuple(dict.fromkeys(names))
    for name in (*chosen, *sources):
        if name not in known:
            raise StateError(f"{name!r} is unknown: it has not joined", hint="waypost peers")
    voters = tuple(known[name] for name in chosen)
    learners = tuple(member for member in roster.learners if member.name not in chosen)
    told_by = tuple(dict.fromkeys(sources)) or tuple(name for name in chosen if _goes_on(known[name], roster))
    return structs.replace(_next(roster, voters, learners), forced=Forced(told_by))


def allowed(roster: Roster, creator: Creator, *, undo: bool) -> Roster:
    """Raises StateError if there is nothing to undo."""
    others = tuple(each for each in roster.policy.creators if each != creator)
    if undo and len(others) == len(roster.policy.creators):
        raise StateError("that is not allowed as it is", hint="waypost peers -o json shows roster.policy.creators")
    creators = others if undo else (*others, creator)
    return _next(roster, roster.voters, roster.learners, structs.replace(roster.policy, creators=creators))


def _told(member: Member, roster: Roster) -> Member:
    """As the roster may name it: with details once it has any, for then all of its members read them."""
    return member if roster.has_details else member.plain


def _goes_on(member: Member, roster: Roster) -> bool:
    """Whether it is a voter, in the same installation, whatever it says of itself by now."""
    voter = roster.voter(member.name)
    return voter is not None and (voter.incarnation, voter.key) == (member.incarnation, member.key)


def _next(roster: Roster, voters: tuple[Member, ...], learners: tuple[Member, ...], policy: Any = None) -> Roster:
    policy = policy or roster.policy
    if policy.quorum > len(voters):
        policy = structs.replace(policy, quorum=0)  # a majority
    return Roster(roster.epoch + 1, voters, learners, policy)


def _have(node: SyncClient, change: Change, file: Path, deadline_s: float, output: str) -> Exit:
    """Has the changed roster voted on."""
    author = Author(operator_key(file))
    for _ in range(TRIES):
        next, current = before(node, ROSTER)
        if current is None:
            raise RemoteError("the node knows of no roster", code=404)
        if current.record.holder != author.public:
            raise StateError(f"{file} is not the key that may change this network's roster")
        roster = change(roster_in(current.record))
        try:
            Roster.decode(roster.encode())
        except WireError as error:
            raise StateError(str(error)) from error
        record = author.sign(next, ROSTER, roster.text, current.record.holder)
        claimed = put(node, record, deadline_s)
        if claimed.state != "lost":
            break
    return tell(claimed, output)


def _lines(network: voted.Peers) -> Iterable[dict[str, Any]]:
    for peer in network.peers:
        state = "this node" if peer.name == network.name else peer.state
        part = "voter" if peer.voter else "learner"
        if peer.name in network.restored:
            part = "voter, restored from an old copy: it does not vote"
        yield to_builtins(peer) | {
            "part": part,
            "state": state,
            "known by": "key" if (member := network.roster.member(peer.name)) and member.tls else "name",
            "heard": None if peer.heard_s is None else f"{peer.heard_s:.1f} s ago",
            "round trip": None if peer.rtt_s is None else f"{1000 * peer.rtt_s:.1f} ms",
        }
    for member in network.applicants:
        yield to_builtins(member) | {"part": "applicant"}
