"""What docs/conformance.md claims is there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_test_that_conformance_names_exists() -> None:
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs" / "conformance.md").read_text())
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    there = {path.stem for path in files}
    for path in files:
        there.update(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.M))
    assert len(named) > 30
    assert [name for name in named if name not in there] == []
