"""Completion of names from the running node: quick, and silent if there is none.

bash breaks words at "=", so "rt=temp" arrives as three of them, and only the part behind "=" goes back.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from waypost.cli.node import place
from waypost.errors import WaypostError

NAMES: Final = ("ep=", "d=", "et=", "rt=", "if=", "base=", "href=", "anchor=")
SHOWN_MAX: Final = 50
TIMEOUT_S: Final = 0.5


def complete_endpoint(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem[Any]]":
    """Names and ids that begin so."""
    found = _endpoints(ctx, incomplete)
    if not found and incomplete:
        found = [entry for entry in _endpoints(ctx, "") if entry.id.startswith(incomplete)]
        return [CompletionItem(entry.id, help=entry.ep) for entry in found]
    return [CompletionItem(entry.ep, help=entry.base) for entry in found]


def complete_criterion(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem[Any]]":
    before: tuple[str, ...] = ctx.params.get("criteria") or ()
    name, equals, value = incomplete.partition("=")
    prefix = f"{name}="
    if before[-1:] == ("=",) and len(before) > 1:
        name, value, prefix = before[-2], incomplete, ""
    elif before and f"{before[-1]}=" in NAMES:
        name, value, prefix = before[-1], incomplete, ""
    elif not equals:
        return [CompletionItem(known) for known in NAMES if known.startswith(incomplete)]
    return [CompletionItem(prefix + known) for known in _values(ctx, name, value)]


def _values(ctx: click.Context, name: str, start: str) -> list[str]:
    if name in ("ep", "d", "base", "et"):
        entries = _endpoints(ctx, start, name)
        values: Iterable[str | None] = (
            dict(entry.attributes).get(name) if name == "et" else getattr(entry, name) for entry in entries
        )
    else:
        values = (
            value
            for link in _find(ctx, "links", [(name, start + "*")])
            for key, value in (("href", link.href), ("anchor", link.anchor), *link.attributes)
            if key == name
        )
    return sorted({value for value in values if value and value.startswith(start)})


def _endpoints(ctx: click.Context, start: str, name: str = "ep") -> list[Any]:
    return _find(ctx, "endpoints", [(name, start + "*")])


def _find(ctx: click.Context, kind: Any, criteria: list[tuple[str, str]]) -> list[Any]:
    try:
        given = (ctx.params.get(name) for name in ("url", "directory", "token_file", "ca"))
        with place(*given).client(TIMEOUT_S) as node:
            return list(islice(node.find(kind, criteria, count=SHOWN_MAX), SHOWN_MAX))
    except WaypostError:
        return []
