"""The verb about what is being voted on, and what waits to be."""

from collections.abc import Iterator
from typing import Any, Final

import click

from waypost.api import voted
from waypost.cli.claiming import at
from waypost.cli.node import Place, node_option
from waypost.cli.output import emit, note, output_option, rows

COLUMNS: Final = ("key", "version", "promised", "accepted", "yes", "no", "holder", "txid")
WAITING: Final = ("waiting", "version", "since", "until", "sent", "author", "txid")


@click.command()
@click.option("--local", is_flag=True, help="Only what this node knows by itself: ask no other voter.")
@node_option
@output_option
def votes(local: bool, at: Place, output: str) -> None:
    """Show votes under way and who voted what, keys on which voting has stopped, and claims that wait for a quorum.

    The voters are asked, and whoever calls for votes; those that do not answer are named.

    JSON has the records and each voter's signed vote, and for each key that has stopped the proof: two certificates
    that cannot both be honest.
    """
    with at.client() as node:
        report = node.votes(voters=not local)
    table = rows([_line(vote) for vote in report.open], COLUMNS)
    if report.queued:
        table += "\n\n" + rows([_waiting(intent) for intent in report.queued], WAITING)
    emit(report, output, table)
    if output == "table":
        for line in _remarks(report):
            note(line)


def _line(vote: voted.OpenVote) -> dict[str, Any]:
    return {
        "key": f"{vote.namespace}/{vote.key}",
        "version": vote.version,
        "promised": _ballot(vote.promised.node, vote.promised.round),
        "accepted": _ballot(vote.accepted.node, vote.accepted.round),
        "yes": " ".join(vote.yes) or None,
        "no": " ".join(f"{name} ({reason})" if reason else name for name, reason in vote.no) or None,
        "holder": vote.record.holder if vote.record else None,
        "txid": vote.record.txid if vote.record else None,
    }


def _waiting(intent: voted.Intent) -> dict[str, Any]:
    return {
        "waiting": f"{intent.namespace}/{intent.key}",
        "version": intent.version,
        "since": at(intent.since_ms),
        "until": at(intent.expires_ms),
        "sent": intent.sent,
        "author": intent.author,
        "txid": intent.txid,
    }


def _remarks(report: voted.Votes) -> Iterator[str]:
    if report.silent:
        yield f"no answer from {', '.join(report.silent)}: what they voted is not known here"
    for alarm in report.alarms:
        marks = (*alarm.proof.first.marks, *alarm.proof.second.marks)
        names = ", ".join(sorted({mark.voter for mark in marks}))
        yield f"voting on {alarm.namespace}/{alarm.key} has stopped: among {names}, some signed two records"
    if report.waiting:
        yield f"{report.waiting} claims wait here for a quorum of voters; waypost peers shows who is away"


def _ballot(node: str, round: int) -> str | None:
    return f"{node}, round {round}" if node else None
