"""The documentation builds, and every reference in it leads somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    options = ["--fail-on-warning", "--keep-going", "--quiet", "--doctree-dir", str(tmp_path / "trees")]
    command = [sys.executable, "-m", "sphinx", *options, "-b", "html", str(ROOT / "docs"), str(tmp_path / "html")]
    built = subprocess.run(command, check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "waypost" in (tmp_path / "html" / "index.html").read_text().lower()


@pytest.mark.parametrize("page", sorted(path.name for path in ROOT.glob("*.md")))
def test_the_pages_at_the_root_link_to_files_that_exist(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []
