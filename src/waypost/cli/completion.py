"""The verb that writes a shell's completion, names of a running node included (`names.py`)."""

import click
from click.shell_completion import get_completion_class

from waypost.cli.output import emit, output_option
from waypost.cli.reports import Script
from waypost.cli.verbs import COMPLETION

WHERE = {
    "bash": '~/.bashrc:  eval "$(waypost completion bash)"',
    "zsh": '~/.zshrc:  eval "$(waypost completion zsh)"',
    "fish": "~/.config/fish/completions/waypost.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(WHERE)))
@output_option
@click.pass_context
def completion(ctx: click.Context, shell: str, output: str) -> None:
    """Write the completion script of SHELL.

    Its first line says where to put it.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(ctx.find_root().command, {}, "waypost", COMPLETION).source()
    emit(Script(shell, WHERE[shell], script), output, table=f"# {WHERE[shell]}\n{script}")
