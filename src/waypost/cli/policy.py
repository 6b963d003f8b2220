"""Verbs about the policy: what it says, and what it would say; no node needs to run."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from waypost.cli.ending import Exit
from waypost.cli.keys import directory_of, directory_option
from waypost.cli.output import cell, emit, fields, output_option, rows
from waypost.cli.reports import Asked, CheckedPolicy, Decided, Rule
from waypost.errors import ConfigError
from waypost.identity import KINDS, NAME, ROLES, Identity
from waypost.identity.rules import NAMELESS, ROOMS, Action, Written

if TYPE_CHECKING:
    from waypost.identity.policy import Policy

F = TypeVar("F", bound=Callable[..., Any])
HEADING: Final = re.compile(r"\s*\[\[\s*(allow|deny)\s*\]\]")


@click.group(no_args_is_help=False)
def policy() -> None:
    """Show, check and try who may do what."""


def file_option(function: F) -> F:
    return click.option("--file", type=click.Path(path_type=Path), help="The policy. [policy.toml of the node]")(
        function
    )


@policy.command()
@file_option
@directory_option
@output_option
def show(file: Path | None, directory: Path | None, output: str) -> None:
    """Show the rules, as a node that starts now would go by them."""
    place, text, rules = _read(file, directory)
    lines = _lines(text)
    items = [_rule(kind, number, written, lines) for kind, number, written in rules.written]
    table = rows(
        [
            {
                "rule": f"{item.kind} {item.number}",
                "who": " ".join(item.who),
                "do": " ".join(item.do),
                "in": " ".join(item.rooms),
                "sector": _patterns(item.sector),
                "name": _patterns(item.name),
                "owner": item.owner,
            }
            for item in items
        ],
        ("rule", "who", "do", "in", "sector", "name", "owner"),
    )
    emit(items, output, f"{place}: {len(items)} rules; what none allows is denied\n\n{table}")


@policy.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@directory_option
@output_option
def check(file: Path | None, directory: Path | None, output: str) -> None:
    """Say whether a node would take the policy."""
    place, _, rules = _read(file, directory)
    emit(CheckedPolicy(str(place), len(rules.written)), output, table=f"{place} is right")


@policy.command()
@file_option
@directory_option
@click.option("--who", default="anonymous", show_default=True, help="As in psk:lamp-3, certificate:anna, operator.")
@click.option("--role", "roles", multiple=True, type=click.Choice(ROLES), help="That who asks was given.")
@click.option("--do", "action", required=True, type=click.Choice([action.value for action in Action]), help="What.")
@click.option("--in", "room", default="rd", show_default=True, type=click.Choice(ROOMS), help="The room.")
@click.option("--sector", default="*", show_default=True, help="The sector, or a range of them as in floor-*.")
@click.option("--name", default="*", show_default=True, help="The name, or a range of them as in lamp-*.")
@click.option("--owner", default="", help="For whom it is remembered, as in psk:lamp-3 or source:192.0.2.1.")
@click.option("--source", default="", help="The address that an anonymous asker has.")
@output_option
def test(
    file: Path | None,
    directory: Path | None,
    who: str,
    roles: tuple[str, ...],
    action: str,
    room: str,
    sector: str,
    name: str,
    owner: str,
    source: str,
    output: str,
) -> Exit:
    """Ask the policy, as a node would; exit code 4 if it is denied.

    waypost policy test --who psk:lamp-3 --role device --do register --sector floor-1 --name lamp-3
    """
    from waypost.identity.policy import Target
    from waypost.identity.scopes import pattern

    place, text, rules = _read(file, directory)
    asker = _identity(who, roles)
    target = Target(room, pattern(sector), pattern(name), owner, source)
    decision = rules.decide(asker, Action(action), target)
    lines, written = _lines(text), {(kind, number): rule for kind, number, rule in rules.written}
    deciding = []
    for rule in rules.deciding(asker, Action(action), target):
        key = ("allow" if rule.allows else "deny", rule.number)
        deciding.append(_rule(*key, written[key], lines))
    report = Decided(
        decision.allowed,
        decision.allowed and decision.view is not None,
        decision.reason or None,
        str(place),
        Asked(who, tuple(sorted(roles)), action, room, sector, name, owner or None, source or None),
        tuple(deciding),
    )
    emit(report, output, _verdict(report))
    return Exit.OK if decision.allowed else Exit.DENIED


def _verdict(report: Decided) -> str:
    said = "in part" if report.in_part else "yes" if report.allowed else "no"
    told = {"allowed": said, "because": report.reason} if report.reason else {"allowed": said}
    for rule in report.rules:
        at = f" (line {rule.line})" if rule.line else ""
        told |= {f"[[{rule.kind}]] {rule.number}{at}": f"{' '.join(rule.do)} by {' '.join(rule.who)}"}
    return fields({**told, "policy": report.file})


def _read(file: Path | None, directory: Path | None) -> "tuple[Path, str, Policy]":
    """Where the policy is, its text and what it says; a node without a file goes by the default.

    Raises ConfigError.
    """
    from waypost.identity.policy import DEFAULT, default
    from waypost.storage.policy import NAME as FILE
    from waypost.storage.policy import read_policy

    place = directory_of(directory) / FILE if file is None else file
    if file is None and not place.exists():
        return Path("the default policy"), DEFAULT, default()
    read = read_policy(place)
    return place, place.read_text(), read


def _lines(text: str) -> dict[tuple[str, int], int]:
    """Where each rule begins."""
    found: dict[tuple[str, int], int] = {}
    counts = {"allow": 0, "deny": 0}
    for number, line in enumerate(text.splitlines(), 1):
        match = HEADING.match(line)
        if match is not None:
            counts[match[1]] += 1
            found[match[1], counts[match[1]]] = number
    return found


def _rule(kind: str, number: int, rule: Written, lines: dict[tuple[str, int], int]) -> Rule:
    line = lines.get((kind, number))
    return Rule(kind, number, line, rule.who, rule.do, rule.rooms, rule.sector, rule.name, rule.owner)


def _patterns(patterns: tuple[str, ...]) -> str:
    return " ".join(cell(text) if text else '""' for text in patterns)


def _identity(who: str, roles: tuple[str, ...]) -> Identity:
    """Raises ConfigError for who cannot be."""
    kind, _, name = who.partition(":")
    if kind not in KINDS or (kind in NAMELESS) == bool(name) or (name and not NAME.fullmatch(name)):
        raise ConfigError(f"{who!r} is nobody", hint="as in psk:lamp-3, certificate:anna, anonymous or operator")
    return Identity(kind, name, tuple(sorted({*roles})))
