"""Rules of the house that no linter knows."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ["requirements.lock", "requirements-run.lock"]
LINES_MAX = 450  # of a source file; past 300 it is time to split


def sources() -> list[Path]:
    return sorted((ROOT / "src").rglob("*.py"))


def pins(lock: str) -> list[str]:
    """`name==version ; marker` of each package."""
    lines = (ROOT / lock).read_text().splitlines()
    return [line.removesuffix("\\").strip() for line in lines if not line.startswith("    --hash=")]


def test_no_source_file_is_too_long_to_read() -> None:
    long = [path.name for path in sources() if len(path.read_text().splitlines()) > LINES_MAX]
    assert long == []


def test_every_module_says_what_it_is() -> None:
    silent = [path for path in sources() if ast.get_docstring(ast.parse(path.read_text())) is None]
    assert silent == []


@pytest.mark.parametrize("lock", [*LOCKS, "bench/ledger.lock"])
def test_a_lock_names_exact_versions_with_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "--index" not in text
    for line in pins(lock):
        assert re.fullmatch(r"[a-z0-9.-]+==[0-9a-z.]+( ; [^;]+)?", line), line
    assert text.count("--hash=sha256:") >= len(pins(lock))


def test_the_demo_runs_on_the_versions_that_the_tests_run_on() -> None:
    run, everything = ({pin.partition(" ")[0] for pin in pins(lock)} for lock in reversed(LOCKS))
    assert run <= everything


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [project["project"]["dependencies"], *project["dependency-groups"].values()]
    names = {re.split(r"[^a-z0-9-]", requirement)[0] for group in groups for requirement in group}
    assert names <= {pin.partition("==")[0] for pin in pins("requirements.lock")}


def test_dev_needs_nothing_but_the_standard_library() -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / "dev").read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    assert imported <= sys.stdlib_module_names


def test_the_build_runs_what_contributors_run() -> None:
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert script == ["#!/usr/bin/env bash", "set -eu", 'cd "$(dirname "$0")/.."', 'exec ./dev test "$@"']


def test_every_news_fragment_is_of_a_known_kind() -> None:
    towncrier = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
    kinds = "|".join(kind["directory"] for kind in towncrier["type"])
    for path in (ROOT / "changes").glob("*.*"):
        assert path.name == ".gitignore" or re.fullmatch(rf"(\+[a-z0-9-]+|\d+)\.({kinds})\.md", path.name), path.name


def test_no_file_names_a_registry_or_a_folder_of_one_machine() -> None:
    """Whoever installs chooses where from; hosts are put together here so that this file may say them."""
    forbidden = re.compile("|".join(("py" + "pi", "python" + "hosted", "npm" + "js", "/ro" + "ot/", "/wo" + "rk/")))
    folders = [ROOT / name for name in ("src", "tests", "bench", "docs", "changes", ".ci")]
    paths = [path for folder in folders for path in sorted(folder.rglob("*")) if "_build" not in path.parts]
    named = [path for path in (*paths, *ROOT.glob("*")) if path.is_file() and forbidden.search(text_of(path))]
    assert named == []


def text_of(path: Path) -> str:
    return "" if path.suffix == ".pyc" else path.read_text(errors="replace")
