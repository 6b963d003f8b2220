"""What the log of a node looks like."""

import subprocess
import sys

import pytest

PROGRAM = """
import logging
from waypost.cli.run import log_to_standard_error
from waypost.config import Log

def handle(value):
    hidden = value * 2
    raise ValueError("it went wrong")

log_to_standard_error(Log(level="debug", format="%s"))
try:
    handle("canary" + "42")
except ValueError as error:
    logging.getLogger("waypost").error("a request failed", exc_info=error)
"""


@pytest.mark.parametrize("form", ["human", "json"])
def test_a_traceback_has_no_values_of_variables(form: str) -> None:
    """Some are secrets."""
    done = subprocess.run([sys.executable, "-c", PROGRAM % form], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert all(text in done.stderr for text in ("a request failed", "ValueError: it went wrong", "in handle"))
    assert "canary42" not in done.stderr
