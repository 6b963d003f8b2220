"""The table of verbs, and the one way in."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

import click

from waypost import __version__
from waypost.cli.ending import Exit, end, wants_json

COMPLETION: Final = "_WAYPOST_COMPLETE"  # in the environment when a shell asks
VERBS: Final = {  # a verb, and the file it is in; after a colon its name there, if Python has other plans for it
    "run": "run",
    "init": "init",
    "demo": "demo",
    "status": "node",
    "doctor": "doctor",
    "report": "report",
    "register": "directory",
    "renew": "directory",
    "unregister": "directory",
    "find": "find",
    "watch": "watch",
    "evict": "evict",
    "export": "moving",
    "import": "moving:take",
    "claim": "claim",
    "transfer": "claim",
    "history": "claim",
    "log": "log",
    "prove": "prove",
    "verify": "verify",
    "peers": "peers",
    "votes": "votes",
    "token": "token",
    "join": "join",
    "ca": "ca",
    "policy": "policy",
    "backup": "backup",
    "restore": "backup",
    "config": "config",
    "completion": "completion",
}


class Verbs(click.Group):
    """Imports the file of a verb when the verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        file = VERBS.get(cmd_name)
        if file is None:
            return None
        module, _, name = file.partition(":")
        command = getattr(import_module(f"waypost.cli.{module}"), name or cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and not args[0].startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            close = get_close_matches(args[0], VERBS, n=1)
            ctx.fail(f"there is no verb {args[0]!r}" + (f"; did you mean {close[0]}?" if close else ""))
        return super().resolve_command(ctx, args)


@click.group(
    cls=Verbs, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="waypost", message="%(prog)s %(version)s")
def waypost() -> None:
    """A registry without a centre.

    Start with `waypost demo`, or with `waypost run` in one terminal and `waypost status` in another.
    """


def call(args: Sequence[str]) -> int:
    """Carry out one command line; returns the exit code."""
    try:
        # Not click's own main(): that one ends the process where we have codes of our own.
        with waypost.make_context("waypost", list(args) or ["--help"]) as ctx:
            result = waypost.invoke(ctx)
        sys.stdout.flush()
    except click.exceptions.Exit as ended:  # --help and --version
        return ended.exit_code
    except (Exception, KeyboardInterrupt) as error:
        return end(error, as_json=wants_json(args))
    return result if isinstance(result, int) else Exit.OK


def complete(instruction: str) -> int:
    """Answer a shell that asks for completion, as in "bash_complete"; returns the exit code."""
    from click.shell_completion import shell_complete

    return shell_complete(waypost, {}, "waypost", COMPLETION, instruction)
