"""Verbs about the configuration; no node needs to run."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from waypost.cli.output import emit, output_option, rows
from waypost.cli.reference import in_toml, page, shown
from waypost.cli.reports import Checked, Described, Set
from waypost.config import settling as table

F = TypeVar("F", bound=Callable[..., Any])


def config_options(function: F) -> F:
    """--config and a flag for each key; they arrive as `file` and `flags`, see chosen()."""
    for key in reversed(table.KEYS.values()):
        function = click.option(
            key.flag, _parameter(key), multiple=key.many, metavar="TEXT", help=f"{key.description} [{shown(key)}]"
        )(function)
    return click.option("--config", "file", type=click.Path(path_type=Path), help="Read this file.")(function)


def chosen(options: dict[str, Any]) -> dict[str, str]:
    """The flags that were given, by key."""
    flags: dict[str, str] = {}
    for path, key in table.KEYS.items():
        value = options[_parameter(key)]
        if value not in (None, ()):
            flags[path] = ",".join(value) if key.many else value
    return flags


def _parameter(key: table.Key) -> str:
    return key.path.replace(".", "_")


@click.group(no_args_is_help=False)
def config() -> None:
    """Show, check and describe the configuration."""


@config.command()
@config_options
@output_option
def show(file: Path | None, output: str, **options: Any) -> None:
    """Show each key's value, and what set it."""
    settings = table.settle(chosen(options), os.environ, file).values()
    table.build(settings)
    items = [Set(s.key.path, _plain(s.value), s.source) for s in settings]
    cells = [{"key": s.key.path, "value": in_toml(s.value), "source": s.source} for s in settings]
    emit(items, output, rows(cells, ("key", "value", "source")))


@config.command()
@config_options
@output_option
def check(file: Path | None, output: str, **options: Any) -> None:
    """Say whether a node would accept the configuration."""
    loaded = table.load(chosen(options), os.environ, file)
    emit(Checked(str(loaded.dir)), output, table="the configuration is right")


@config.command()
@output_option
def reference(output: str) -> None:
    """Write the reference page of all keys."""
    items = [Described(k.path, k.environment, k.flag, k.expected, shown(k), k.description) for k in table.KEYS.values()]
    emit(items, output, page().rstrip("\n"))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(item if isinstance(item, str) else in_toml(item) for item in value)
    return str(value) if isinstance(value, Path) else value
