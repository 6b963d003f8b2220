"""A test that needs a program we did not write never passes quietly without it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
STORY = """
import pytest

@pytest.mark.peer("no-such-program", "npm:no-such-package")
def test_with_a_peer():
    raise AssertionError("ran without its peer")
"""


@pytest.mark.parametrize(("ci", "code", "word"), [("true", 1, "ERROR"), ("", 0, "SKIPPED")])
def test_a_missing_peer_is_named_and_fails_the_build(ci: str, code: int, word: str, tmp_path: Path) -> None:
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "test_story.py").write_text(STORY)
    command = [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, env={**os.environ, "CI": ci}, capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout
    assert f"{word} " in done.stdout
    assert "no-such-program, npm:no-such-package: not installed" in done.stdout
