"""The verbs that keep what a node has: backup, backup verify, restore.

They need no running node, and disturb none: what they read and write is the state directory itself.
"""

import time
from pathlib import Path

import click
from msgspec import to_builtins

from waypost.cli.ending import Exit
from waypost.cli.keys import directory_of, wall_ms
from waypost.cli.output import emit, fields, note, output_option, printable
from waypost.cli.reports import BackedUp, CheckedBackup, Restored

FILE = click.Path(path_type=Path)
DIRECTORY = click.option("--dir", "directory", envvar="WAYPOST_DIR", type=FILE, help="The state directory.")
CREATE = "create"


class Backups(click.Group):
    """`waypost backup FILE` is `waypost backup create FILE`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [CREATE, *args]
        return super().parse_args(ctx, args)


@click.group(cls=Backups, no_args_is_help=True)
def backup() -> None:
    """Keep what a node has in one file, while it runs or not.

    waypost backup FILE writes one, waypost backup verify FILE says whether it is whole.
    """


@backup.command(CREATE)
@click.argument("target", metavar="FILE|DIR", type=FILE)
@click.option("--without-keys", is_flag=True, help="Leave keys/ out: keep them elsewhere, a node cannot start without.")
@DIRECTORY
@output_option
def create(target: Path, without_keys: bool, directory: Path | None, output: str) -> None:
    """Write the database, the keys and the configuration into FILE, or into a new file in DIR.

    A node that runs there goes on; the backup shows one moment.  FILE has secrets in it: it is readable to its owner
    alone.
    """
    from waypost.storage.backup import back_up

    moment = wall_ms()
    if target.is_dir():
        target = target / time.strftime("waypost-%Y%m%dT%H%M%SZ.tar", time.gmtime(moment / 1000))
    made = back_up(directory_of(directory), target, wall_ms=moment, keys=not without_keys)
    report = BackedUp(str(target), target.stat().st_size, made.made_ms, made.schema, made.network, made.seq, made.keys)
    emit(report, output, fields(to_builtins(report)))


@backup.command()
@click.argument("file", type=FILE)
@output_option
def verify(file: Path, output: str) -> Exit:
    """Say whether a backup is whole, and whether a node can start from it.

    Every octet is held to its hash, every page and row is read, and what was voted on is held to its certificate.  Exit
    code 5 if something is wrong.
    """
    from waypost.storage.verifying import verify as judge

    found = judge(file, wall_ms=wall_ms())
    made = found.manifest
    for problem in found.problems:
        note(printable(problem))
    report = CheckedBackup(
        str(file),
        not found.problems,
        made.waypost,
        made.made_ms,
        made.schema,
        made.network,
        made.feed,
        made.seq,
        made.keys,
        found.rows,
        found.problems,
    )
    shown = {name: value for name, value in to_builtins(report).items() if name not in ("rows", "problems")}
    emit(report, output, fields(shown | {f"rows of {table}": count for table, count in found.rows.items() if count}))
    return Exit.PROOF_FAILED if found.problems else Exit.OK


@click.command()
@click.argument("file", type=FILE)
@DIRECTORY
@click.option("--replace", is_flag=True, help="Replace what is there; it stays beside, with .before after its name.")
@output_option
def restore(file: Path, directory: Path | None, replace: bool, output: str) -> None:
    """Make a state directory of a backup: one that is empty or not there yet.

    The node goes on where the backup was made, as another installation: whoever follows its changes starts anew, and it
    votes only once it was let in again.
    """
    from random import SystemRandom

    from waypost.storage.restoring import restore as make

    state = directory_of(directory)
    made = make(file, state, rng=SystemRandom(), replace=replace)
    before = str(made.before) if made.before else None
    report = Restored(str(state), made.manifest.made_ms, made.manifest.seq, made.feed, made.has_keys, before)
    emit(report, output, fields(to_builtins(report)))
    if made.is_lone:
        note(
            "it was its network's only voter: if it still is, its operator has it vote again with `waypost peers force`"
        )
    if not made.has_keys:
        note(f"put the node's keys into {state / 'keys'} before it starts: without them it starts as another")
