"""The verbs about the log of a node, and about the logs of others.

Source: notes on the ledger, 5; docs/ledger.md.
"""

from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

from waypost.api import logged
from waypost.cli.node import Place, node_option
from waypost.cli.output import emit, fields, note, output_option, rows
from waypost.cli.prove import wait_option, write
from waypost.cli.reports import EvidenceFile

VERBS: Final = {  # a verb, and the file it is in
    "status": "log",
    "policy": "quorum",
    "prove": "log",
    "add": "stating",
    "diff": "differing",
    "evidence": "log",
    "fsck": "fsck",
    "audit": "auditing",
    "resume": "log",
}
LINKS: Final = ("log", "size", "mirrored", "linked", "state")


class Log(click.Group):
    """Imports the file of a verb when the verb is called; with no verb of its own it shows how the log is."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
            args = ["status", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        file = VERBS.get(cmd_name)
        command = super().get_command(ctx, cmd_name)
        if command is not None or file is None:
            return command
        found = getattr(import_module(f"waypost.cli.{file}"), cmd_name)
        assert isinstance(found, click.Command)
        return found


@click.group(cls=Log, no_args_is_help=False)
def log() -> None:
    """Show what a node wrote down for ever and who witnesses it, and check logs of anybody."""


@log.command()
@node_option
@output_option
def status(at: Place, output: str) -> None:
    """Show how the log is, and the logs that it witnesses.  The default."""
    with at.client() as node:
        _tell(node.log(), output)


@log.command()
@click.argument("index", type=click.IntRange(min=0))
@click.argument("file", type=click.Path(path_type=Path))
@wait_option
@node_option
@output_option
def prove(index: int, file: Path, wait_s: float, at: Place, output: str) -> None:
    """Write into FILE the proof that an entry is in the log of the node, such as a statement."""
    with at.client() as node:
        write(file, node, lambda: node.prove_entry(index), wait_s, output)


@log.command()
@click.argument("digest", required=False)
@node_option
@output_option
def evidence(digest: str | None, at: Place, output: str) -> None:
    """List the proofs that some log, witness or signer has lied; or write one of them out.

    waypost log evidence 3f9c… > evidence; waypost verify evidence
    """
    with at.client() as node:
        if digest is not None:
            text = node.evidence(digest).decode()
            emit([EvidenceFile(digest, text)], output, text.removesuffix("\n"))
            return
        digests = node.log().evidence
    emit([EvidenceFile(each, None) for each in digests], output, "\n".join(digests))
    if not digests and output == "table":
        note("there is none: nobody was found to lie")


@log.command()
@node_option
@output_option
def resume(at: Place, output: str) -> None:
    """Have the node sign heads of its log, though no other node says which one it saw last.

    Where the node came back with an old disk, that makes a second history of its log, and whoever saw the first can
    prove it.  If one other node can be reached, start that instead.
    """
    with at.client() as node:
        _tell(node.resume_log(), output)


def _tell(shown: logged.Log, output: str) -> None:
    table = fields(_lines(shown))
    if shown.links:
        table += "\n\n" + rows([_linked(link) for link in shown.links], LINKS)
    emit(shown, output, table)
    if output == "table" and shown.evidence:
        note(f"somebody has lied: {len(shown.evidence)} proofs, `waypost log evidence`")


def _lines(shown: logged.Log) -> dict[str, Any]:
    published = shown.published
    return {
        "log": shown.origin,
        "key": shown.key,
        "cosigner": shown.cosigner,
        "state": shown.state,
        "entries": shown.size,
        "published": f"of {published.size} entries" if published else "not yet",
        "cosigned": f"by {len(shown.cosigners)}, wanted {shown.quorum}: {', '.join(shown.cosigners) or 'nobody'}",
        "outside": ", ".join(each.url for each in shown.outside),
        "last day": shown.day,
        "evidence": len(shown.evidence),
    }


def _linked(link: logged.LinkedLog) -> dict[str, Any]:
    frozen = link.frozen is not None
    return {
        "log": link.origin,
        "size": link.size,
        "mirrored": link.mirrored,
        "linked": link.linked,
        "state": f"frozen at {link.frozen}" if frozen else "followed",
    }
