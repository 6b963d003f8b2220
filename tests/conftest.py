"""What every test may use."""

import os
import shutil
import sys
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-seconds", type=float, default=None, help="fuzz each decoder for so long")


def pytest_configure() -> None:
    # Peers written in Python (aiocoap-client) lie beside the interpreter, also when it was called by its path.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """`@pytest.mark.peer("tshark")`: without tshark the test is skipped, and fails where CI=true."""
    missing = [name for mark in item.iter_markers("peer") for name in mark.args if shutil.which(name) is None]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"{', '.join(missing)}: not installed", pytrace=False)
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed")
