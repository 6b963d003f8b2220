"""Export, import and evict, against a real node, and files that are wrong in every way."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.api.schemas import LineError
from waypost.api.sync import SyncClient
from waypost.cli.batches import BATCH_LINES, BATCH_OCTETS, LINE_MAX, batches
from waypost.cli.verbs import call

BASE = "coap://192.0.2.7"
NAMES = count()

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(url: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Carries out a line; returns its exit code and what it printed."""

    def run(*line: str) -> tuple[int, str, str]:
        code = call([*line, "--url", url])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def sector(url: str) -> Iterator[str]:
    """One of its own for each test, empty again afterwards."""
    name = f"moving-{next(NAMES)}"
    yield name
    with SyncClient(url) as node:
        for entry in list(node.find("endpoints", d=name)):
            node.unregister(entry.id)


def a_line(sector: str, ep: str, **more: object) -> str:
    return json.dumps({"ep": ep, "d": sector, "base": BASE, "lt": 500, "links": "</t>;rt=x"} | more) + "\n"


def names(url: str, sector: str) -> list[str]:
    with SyncClient(url) as node:
        return [entry.ep for entry in node.export(d=sector)]


def test_what_was_exported_to_a_file_is_imported_from_it(run: Run, url: str, sector: str, tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_text("".join(a_line(sector, f"n{number}") for number in range(BATCH_LINES + 3)))
    code, out, _ = run("import", str(source), "-o", "json")
    assert (code, json.loads(out)["imported"]) == (0, BATCH_LINES + 3)
    code, out, _ = run("export", str(copy), f"d={sector}", "-o", "json")
    assert (code, json.loads(out)) == (0, {"exported": BATCH_LINES + 3, "file": str(copy)})
    with SyncClient(url) as node:
        ids = {entry.ep: entry.id for entry in node.find("endpoints", d=sector)}
        for id in ids.values():
            node.unregister(id)
    code, out, _ = run("import", str(copy), "-o", "json")
    assert (json.loads(out)["imported"], json.loads(out)["moved"]) == (BATCH_LINES + 3, 0)
    with SyncClient(url) as node:
        assert {entry.ep: entry.id for entry in node.find("endpoints", d=sector)} == ids
    assert sorted(tmp_path.iterdir()) == [copy, source]


def test_an_import_may_be_repeated(run: Run, sector: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text(a_line(sector, "a"))
    assert json.loads(run("import", str(tmp_path / "f"), "-o", "json")[1])["kept"] == 0
    assert json.loads(run("import", str(tmp_path / "f"), "-o", "json")[1])["kept"] == 1


def test_lines_that_are_wrong_are_named_by_their_number_in_the_file(
    run: Run, url: str, sector: str, tmp_path: Path
) -> None:
    good = [a_line(sector, f"n{number}") for number in range(BATCH_LINES)]
    bad = [
        "garbage\n",
        "\n",
        a_line(sector, "b", expires_in=-3),
        '"' + "x" * LINE_MAX + '"\n',
        a_line(sector, "c", lt=0),
    ]
    (tmp_path / "f").write_text("".join([*good, *bad, a_line(sector, "last")]))
    code, out, err = run("import", str(tmp_path / "f"), "-o", "json")
    report = json.loads(out)
    assert (code, report["imported"], report["refused"]) == (2, BATCH_LINES + 1, 4)
    assert [error["line"] - BATCH_LINES for error in report["errors"]] == [1, 3, 4, 5]
    assert f"line {BATCH_LINES + 3}: its lifetime has passed\n" in err
    assert "last" in names(url, sector)


def test_a_rehearsal_imports_nothing(run: Run, url: str, sector: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text(a_line(sector, "a") + "x")
    code, out, _ = run("import", "--dry-run", str(tmp_path / "f"), "-o", "json")
    assert (code, json.loads(out)["imported"], names(url, sector)) == (2, 1, [])


def test_the_two_lookups_of_another_directory_are_one_import(run: Run, url: str, sector: str, tmp_path: Path) -> None:
    """As aiocoap's directory prints them (RFC 9176, 6.3 and 6.4)."""
    (tmp_path / "ep").write_text(
        f'</reg/1/>;ep="a";base="coap://[2001:db8::1]";d="{sector}";rt="core.rd-ep";et="lamp",'
        f'</reg/2/>;ep="b";base="coap://[2001:db8::2]:61616";d="{sector}";rt="core.rd-ep"'
    )
    (tmp_path / "res").write_text(
        '<coap://[2001:db8::2]:61616/t>;rt="temperature";ct=0,<coap://[2001:db8::1]/on>;rt="switch",'
        '<https://example.com/manual>;rel="describedby";anchor="coap://[2001:db8::1]/on",'
        '<coap://[2001:db8::9]/lost>;rt="x"'
    )
    code, out, _ = run("import", "--format", "link-format", str(tmp_path / "ep"), str(tmp_path / "res"), "-o", "json")
    report = json.loads(out)
    assert (code, report["imported"]) == (2, 2)
    assert report["errors"] == [{"line": 6, "detail": "no endpoint here has the base of <coap://[2001:db8::9]/lost>"}]
    with SyncClient(url) as node:
        found = {entry.ep: entry for entry in node.export(d=sector)}
    assert found["b"].links == '</t>;rt="temperature";ct=0'
    assert found["a"].links == '</on>;rt="switch",<https://example.com/manual>;rel="describedby";anchor="/on"'
    assert found["a"].attributes == (("et", "lamp"),)


def test_endpoints_at_one_base_are_refused_if_there_are_links(run: Run, sector: str, tmp_path: Path) -> None:
    two = ",".join(f'</{ep}>;ep="{ep}";base="{BASE}";d="{sector}";rt="core.rd-ep"' for ep in "ab")
    (tmp_path / "f").write_text(f"{two},<{BASE}/t>")
    code, out, _ = run("import", "--format", "link-format", str(tmp_path / "f"), "-o", "json")
    assert (code, [error["line"] for error in json.loads(out)["errors"]]) == (2, [1, 2])


def test_link_format_goes_out_and_comes_in_again(run: Run, url: str, sector: str, tmp_path: Path) -> None:
    links = '</t>;rt="x y";title="a, b",<coap://elsewhere/u>;anchor="/t"'
    (tmp_path / "in").write_text(a_line(sector, "a", links=links, attributes=[["et", "lamp"]]))
    run("import", str(tmp_path / "in"))
    run("export", "--format", "link-format", str(tmp_path / "out"), f"d={sector}")
    before = names(url, sector)
    with SyncClient(url) as node:
        (old,) = node.export(d=sector)
        node.unregister(str(old.id))
        assert run("import", "--format", "link-format", str(tmp_path / "out"))[0] == 0
        (new,) = node.export(d=sector)
    assert before == ["a"]
    assert (new.links, new.attributes, new.lt, new.base) == (old.links, old.attributes, old.lt, old.base)


def test_links_that_belong_nowhere_are_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "f").write_text('</t>;rt="x",<urn:x:y>,<coap://x/t>,</e>;ep="a";rt="core.rd-ep"')
    code, out, _ = run("import", "--format", "link-format", str(tmp_path / "f"), "-o", "json")
    assert (code, [error["line"] for error in json.loads(out)["errors"]]) == (2, [1, 2, 3, 4])


@pytest.mark.parametrize("content", ["garbage", "</a>;ep=", "<", "\udcff"])
def test_what_is_no_link_format_is_refused_whole(run: Run, content: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(content.encode("utf-8", "surrogateescape"))
    code, _, err = run("import", "--format", "link-format", str(tmp_path / "f"))
    assert code == 2
    assert "nothing was imported" in err


def test_a_file_that_cannot_be_read_or_written_is_said(run: Run, tmp_path: Path) -> None:
    assert run("import", str(tmp_path / "none"))[0] == 2
    assert run("export", str(tmp_path / "none" / "f"))[0] == 74


def test_a_full_disk_is_said_and_leaves_no_half_a_file(url: str, run: Run, sector: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text(a_line(sector, "a"))
    run("import", str(tmp_path / "f"))
    code, _, err = run("export", "/dev/full", f"d={sector}")
    assert (code, err) == (74, "error: no space left on device\n")


def test_a_reader_that_leaves_ends_the_export_quietly(url: str, run: Run, sector: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text(a_line(sector, "a"))
    run("import", str(tmp_path / "f"))
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-m", "waypost", "export", "--url", url], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (process.returncode, process.stderr) == (141, b"")


def test_nobody_there_leaves_the_old_file_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = tmp_path / "f"
    old.write_text("old")
    assert call(["export", str(old), "--url", "http://127.0.0.1:1"]) == 3
    assert call(["import", str(old), "--url", "http://127.0.0.1:1"]) == 3
    assert old.read_text() == "old"
    assert capsys.readouterr().out == ""


def test_an_evicted_device_is_refused_until_it_is_let_back_in(run: Run, sector: str) -> None:
    register = ["register", "lamp", "--base", BASE, "--sector", sector]
    run(*register)
    assert run("evict", "lamp", "--sector", sector, "--for", "1h")[0] == 0
    code, _, err = run(*register)
    assert code == 4
    assert "evicted" in err
    assert "try again in" in err
    (eviction,) = json.loads(run("evict", "--list", "-o", "json")[1])
    assert (eviction["ep"], eviction["d"]) == ("lamp", sector)
    assert 3_590 < eviction["remaining_s"] <= 3_600
    assert run("evict", "--undo", "lamp")[0] == 0
    assert run("evict", "--undo", "lamp")[0] == 1
    assert run(*register)[0] == 0
    assert run("evict", "lamp", "--sector", sector)[0] == 0
    assert run(*register)[0] == 0


@pytest.mark.parametrize(
    "line",
    [
        (),
        ("lamp", "--list"),
        ("--undo",),
        ("lamp", "--undo", "--for", "1h"),
        ("lamp", "--for", "soon"),
        ("lamp", "--for", "0"),
        ("lamp", "--for", "9999999999d"),
    ],
)
def test_a_line_that_makes_no_sense_is_usage(run: Run, line: tuple[str, ...]) -> None:
    assert run("evict", *line)[0] == 2


LINES = st.lists(st.integers(0, LINE_MAX), max_size=8) | st.lists(st.integers(0, 40), max_size=3 * BATCH_LINES)


@given(LINES, st.integers(2, 7))
def test_batches_keep_every_line_in_order_and_stay_small(sizes: list[int], every: int) -> None:
    lines: list[tuple[int, Any]] = [
        (number, LineError(number, "wrong") if number % every == 0 else b"x" * size)
        for number, size in enumerate(sizes, 1)
    ]
    made = list(batches(iter(lines)))
    sent = [(number, line) for batch in made for number, line in zip(batch.numbers, batch.lines, strict=True)]
    assert sent == [(number, line) for number, line in lines if isinstance(line, bytes) and line]
    assert [e.line for batch in made for e in batch.errors] == [n for n, line in lines if isinstance(line, LineError)]
    for batch in made:
        assert len(batch.lines) <= BATCH_LINES
        assert len(b"\n".join(batch.lines)) <= BATCH_OCTETS + BATCH_LINES
