"""`waypost report`: what goes in, and what stays out."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from waypost import __version__
from waypost.cli.checks.listening import listening
from waypost.cli.report import LOG_LINES, log_lines
from waypost.cli.verbs import call
from waypost.config import Config

LISTEN = [f"--{name}-listen=127.0.0.1:0" for name in listening(Config(dir=Path("nowhere")))]
TOKEN = f"wp_{'a' * 8}_{'b' * 52}"
PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIMMt5F\n-----END PRIVATE KEY-----"


def written(out: Path) -> Any:
    return json.loads(out.read_text())


def test_a_report_has_what_helps_and_is_for_one_pair_of_eyes(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.json"
    assert call(["report", str(out), "--dir", str(tmp_path / "state"), "--url", url, *LISTEN, "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"file": str(out), "sections": list(written(out))}
    assert list(written(out)) == ["made", "versions", "configuration", "doctor", "status", "metrics"]
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    report = written(out)
    assert report["versions"]["waypost"] == __version__
    assert {"key": "http.listen", "value": ["127.0.0.1:0"], "source": "--http-listen"} in report["configuration"]
    assert report["status"]["ready"] is True
    assert any(line.startswith("waypost_registrations ") for line in report["metrics"])
    assert {"ok", "skipped"} <= {finding["state"] for finding in report["doctor"]}


def test_a_report_without_a_node_says_so(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    assert call(["report", str(out), "--dir", str(tmp_path), "--url", "http://127.0.0.1:1", *LISTEN]) == 0
    assert written(out)["status"] == "no answer from http://127.0.0.1:1: connection refused"
    assert written(out)["metrics"] == written(out)["status"]


def test_no_file_is_written_over_and_a_missing_log_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.json"
    line = ["report", str(out), "--dir", str(tmp_path), "--url", "http://127.0.0.1:1", *LISTEN]
    assert call([*line, "--log", str(tmp_path / "none")]) == 2
    assert not out.exists()
    out.write_text("mine")
    assert call(line) == 2
    assert out.read_text() == "mine"
    assert "file exists" in capsys.readouterr().err.lower()


def test_of_a_log_only_messages_are_taken() -> None:
    human = "2026-11-21T15:19:01.123456Z [warning] keys changed and cannot be used"
    said = {"timestamp": "2026-11-21T15:19:01Z", "level": "warning", "event": "no"}
    shown = {"event": "the operator's key: keep it offline", "level": "warning", "operator_key": PEM}
    text = "\n".join(
        [
            PEM,
            f"an administrator's token\n\n{TOKEN}",
            human,
            json.dumps(shown),
            json.dumps(said | {"secret": PEM}),
            "[]",
        ]
    )
    assert list(log_lines(text)) == [human, said]


def test_a_token_that_somebody_put_into_a_message_is_cut() -> None:
    human = f"2026-11-21T15:19:01Z [error   ] request GET '/v1/endpoints/{TOKEN}' failed"
    said = {"timestamp": "2026-11-21T15:19:01Z", "level": "error", "event": f"request {TOKEN}"}
    assert "b" * 52 not in json.dumps(list(log_lines(f"{human}\n{json.dumps(said)}")))
    assert len(list(log_lines(f"{human}\n{json.dumps(said)}"))) == 2


def test_a_log_is_taken_from_its_end(tmp_path: Path) -> None:
    lines = [f"2026-11-21T15:19:01Z [info     ] number {number}" for number in range(LOG_LINES + 3)]
    taken = list(log_lines("\n".join(lines)))
    assert taken == lines[3:]
    log, out = tmp_path / "log", tmp_path / "report.json"
    log.write_text("\n".join(lines))
    assert (
        call(["report", str(out), "--dir", str(tmp_path), "--url", "http://127.0.0.1:1", "--log", str(log), *LISTEN])
        == 0
    )
    assert written(out)["log"] == lines[3:]
