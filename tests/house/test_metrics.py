"""The figures of a running node, their page, and the alerts that name them.

`pytest tests/house/test_metrics.py --update-golden` rewrites docs/metrics.md.
"""

import asyncio
import re
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest
import yaml
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from waypost.api.meanings import MEANINGS
from waypost.config import Coap, Coaps, Config, Http, Https, Peers
from waypost.node import Node

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "metrics.md"
ALERTS: Final = ROOT / "docs" / "alerts.yml"
FROM_ELSEWHERE: Final = {"up"}  # Prometheus' own
SUFFIXES: Final = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "info": ["_info"]}
HEAD: Final = """\
# Metrics

<!-- Written by a test: pytest tests/house/test_metrics.py --update-golden -->

`GET /metrics` answers in Prometheus' text format.  Labels take few values whatever clients send.  Counters begin at
zero when the node starts.  {download}`alerts.yml` has alerting rules to begin with.

Latency is measured where there is a clock: for HTTP in `waypost_http_request_seconds`, for the disk in
`waypost_commit_seconds`.  `process_start_time_seconds` and its kin are the process's own.

| metric | kind | labels | |
| --- | --- | --- | --- |
"""


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> list[Metric]:
    """Of a node that has answered one request and made one commit."""

    def fetch(url: str) -> str:
        with urllib.request.urlopen(url, timeout=20) as response:
            return response.read().decode()  # type: ignore[no-any-return]

    async def text() -> str:
        listen = ("127.0.0.1:0",)
        directory = tmp_path_factory.mktemp("node")
        coap, http = (Coap(listen=listen), Coaps(listen=listen)), (Http(listen=listen), Https(listen=listen))
        config = Config(
            dir=directory, coap=coap[0], coaps=coap[1], http=http[0], https=http[1], peers=Peers(listen=listen)
        )
        async with Node(config) as node:
            await asyncio.to_thread(fetch, f"{node.url}/livez")
            return await asyncio.to_thread(fetch, f"{node.url}/metrics")

    return list(text_string_to_metric_families(asyncio.run(text())))


def own(families: Iterable[Metric]) -> list[Metric]:
    return [
        family for family in families if family.name.startswith("waypost_") and not family.name.endswith("_created")
    ]


def page(families: Iterable[Metric]) -> str:
    lines = []
    for family in sorted(own(families), key=lambda family: family.name):
        labels = {label: None for sample in family.samples for label in sample.labels if label != "le"}
        name = family.name + "_total" * (family.type == "counter")
        lines.append(f"| `{name}` | {family.type} | {', '.join(labels)} | {family.documentation} |\n")
    return HEAD + "".join(lines)


def test_the_page_lists_every_figure_and_no_other(families: list[Metric], request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        PAGE.write_text(page(families), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page(families)


def test_every_figure_has_a_meaning_and_every_meaning_a_figure(families: list[Metric]) -> None:
    """Those of the application itself say theirs where they are made."""
    names = {family.name.removeprefix("waypost_") for family in own(families)}
    assert names - MEANINGS.keys() == {"build_info", "http_request_seconds", "http_requests", "ready"}
    assert MEANINGS.keys() - names == set()


def test_names_end_in_a_base_unit_or_none(families: list[Metric]) -> None:
    """Prometheus' naming: seconds, not milliseconds; a counter's samples end in _total."""
    for family in own(families):
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name)
        assert not re.search(r"_(ms|us|minutes|kb|mb|total)$", family.name)


def test_alerts_name_only_what_there_is(families: list[Metric]) -> None:
    known = set(FROM_ELSEWHERE)
    for family in families:
        known |= {family.name, *(family.name + suffix for suffix in SUFFIXES.get(family.type, []))}
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        named = set(re.findall(r"\bwaypost_\w+|\bup\b", rule["expr"]))
        assert named
        assert named <= known, rule["alert"]
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("page", "ticket")
