"""The verbs `config` and `completion`: no node runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from waypost.cli.reference import page
from waypost.cli.verbs import call
from waypost.config.settling import KEYS

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_config_show_tells_each_value_and_what_set_it(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[log]\nlevel = "debug"\n[[peers.drip_02]]\nname = "bell"\n')
    line = ["config", "show", "-o", "json", "--coap-listen", "[::1]:0", "--coap-listen", "127.0.0.1:0"]
    environ = {"WAYPOST_DIR": str(tmp_path), "WAYPOST_RD_GRACE_S": "7"}
    run = subprocess.run([sys.executable, "-m", "waypost", *line], env=environ, capture_output=True, check=True)
    settings = {item.pop("key"): item for item in json.loads(run.stdout)}
    assert list(settings) == list(KEYS)
    assert settings["dir"] == {"value": str(tmp_path), "source": "WAYPOST_DIR"}
    assert settings["log.level"] == {"value": "debug", "source": str(tmp_path / "config.toml")}
    assert settings["rd.grace_s"] == {"value": 7, "source": "WAYPOST_RD_GRACE_S"}
    assert settings["coap.listen"] == {"value": ["[::1]:0", "127.0.0.1:0"], "source": "--coap-listen"}
    assert settings["peers.drip_02"]["value"] == ['{ name = "bell", url = "", key = "" }']
    assert settings["insecure"] == {"value": [], "source": "default"}


def test_config_check_accepts_what_a_node_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["config", "check", "--dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "the configuration is right\n"


def test_config_reference_is_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["config", "reference"]) == 0
    assert capsys.readouterr().out == page()


def test_the_page_in_the_documentation_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: waypost config reference > docs/configuration.md"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_writes_a_script_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["completion", shell]) == 0
    assert "_WAYPOST_COMPLETE" in capsys.readouterr().out


@pytest.mark.parametrize(
    "verb",
    [
        "config show --dir {dir}",
        "config check --dir {dir}",
        "config reference",
        "completion bash",
        "completion zsh",
        "completion fish",
    ],
)
@pytest.mark.parametrize("output", ["table", "json", "jsonl"])
def test_every_offline_verb_takes_every_output(
    tmp_path: Path, verb: str, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call([*verb.format(dir=tmp_path).split(), "-o", output]) == 0
    out = capsys.readouterr().out
    if output == "json":
        json.loads(out)
    if output == "jsonl":
        assert [json.loads(line) for line in out.splitlines()]
