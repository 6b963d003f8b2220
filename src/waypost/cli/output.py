"""What a verb found out, as a table for people or as JSON for programs."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import click
from msgspec import to_builtins

FORMATS: Final = ("table", "json", "jsonl")

F = TypeVar("F", bound=Callable[..., Any])


def output_option(function: F) -> F:
    """`-o`, which every verb takes."""
    return click.option(
        "-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True, help="How to show the result."
    )(function)


def emit(value: Any, output: str, table: str | None = None) -> None:
    """`value` is a report of schemas.REPORTS.  `table` replaces the usual table."""
    value = to_builtins(value)
    if output == "json":
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    elif output == "jsonl":
        for item in value if isinstance(value, list | tuple) else [value]:
            click.echo(json.dumps(item, ensure_ascii=False, separators=(",", ":")))
    else:
        click.echo(fields(value) if table is None else table)


def fields(value: Mapping[str, Any]) -> str:
    """A line for each name."""
    width = max(map(len, value), default=0)
    return "\n".join(f"{name.replace('_', ' '):<{width}}  {cell(item)}" for name, item in value.items())


def rows(items: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A line for each item below a line of headings."""
    lines = [[column.replace("_", " ").upper() for column in columns]]
    lines += [[cell(item.get(column)) for column in columns] for item in items]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def cell(value: Any) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.0f}"
        case [[str(), _], *_]:  # attributes
            return " ".join(attribute(name, text) for name, text in value)
        case [] | ():
            return "-"
        case _:
            return printable(str(value))


def attribute(name: str, value: str | None) -> str:
    if value is None:
        return printable(name)
    return printable(f"{name}={value}" if value and " " not in value else f'{name}="{value}"')


def printable(text: str) -> str:
    """Names come from anybody: none of them moves the cursor or changes the terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def note(text: str) -> None:
    """A remark for people, on standard error."""
    click.echo(text, err=True)
