"""Tables for people, JSON for programs."""

import json
from collections.abc import Iterator

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.cli.output import FORMATS, cell, emit, fields, printable, rows
from waypost.cli.verbs import waypost


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    items = [{"ep": "lamp", "lt": 60, "d": None}, {"ep": "thermometer", "lt": 90000, "d": "cellar"}]
    assert rows(items, ("ep", "lt", "d")) == "EP           LT     D\nlamp         60     -\nthermometer  90000  cellar"


def test_one_thing_is_shown_a_line_for_each_name() -> None:
    assert fields({"id": "a", "expires_in": 1.6}) == "id          a\nexpires in  2"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        ([], "-"),
        (True, "yes"),
        (0, "0"),
        (59.7, "60"),
        ([["rt", "temperature"], ["obs", None]], "rt=temperature obs"),
        ([["rt", "light switch"], ["title", ""]], 'rt="light switch" title=""'),
    ],
)
def test_a_cell_is_short(value: object, text: str) -> None:
    assert cell(value) == text


@given(st.text())
def test_no_text_of_a_peer_can_command_the_terminal(text: str) -> None:
    assert printable(text).isprintable()


def test_json_lines_are_one_for_each_item(capsys: pytest.CaptureFixture[str]) -> None:
    emit([{"a": 1}, {"a": 2}], "jsonl")
    assert capsys.readouterr().out == '{"a":1}\n{"a":2}\n'
    emit([], "jsonl")
    assert capsys.readouterr().out == ""
    emit({"a": "ä"}, "json")
    assert json.loads(capsys.readouterr().out) == {"a": "ä"}


def commands(command: click.Command, ctx: click.Context) -> Iterator[click.Command]:
    if not isinstance(command, click.Group):
        yield command
        return
    for name in command.list_commands(ctx):
        inner = command.get_command(ctx, name)
        assert inner is not None
        yield from commands(inner, ctx)


def test_every_verb_takes_an_output() -> None:
    for command in commands(waypost, click.Context(waypost)):
        (option,) = (param for param in command.params if param.name == "output")
        assert option.opts == ["-o", "--output"]
        assert isinstance(option.type, click.Choice)
        assert tuple(option.type.choices) == FORMATS
