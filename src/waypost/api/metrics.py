"""The node's figures as Prometheus reads them; docs/metrics.md lists them.

Labels take few values whatever clients send: a known method or "other", a route's template or "none", a
listener's name, the system's name for an error.
"""

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from waypost import __version__
from waypost.api.meanings import MEANINGS
from waypost.assembly.questions import Report
from waypost.runtime.figures import Distribution, Figures, Labelled

METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics(Collector):
    """One application's: nothing is shared with another in the same process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._report = Report({}, {})
        self._checks: Mapping[str, bool] = {}
        self._figures = Figures()
        self._requests = Counter(
            "waypost_http_requests", "HTTP requests answered.", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "waypost_http_request_seconds",
            "Time from a request's header to its answer.",
            ("route",),
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._counted: dict[tuple[str, str | None, int], Counter] = {}  # found again faster than by labels()
        self._timed: dict[str | None, Histogram] = {}
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def count(self, method: str, route: str | None, status: int, seconds: float | None) -> None:
        """`route` is the template of a route in the table, None for a path that is none; `seconds` None: not timed."""
        counted = self._counted.get((method, route, status))
        if counted is None:
            known = method in METHODS
            counted = self._requests.labels(method if known else "other", route or "none", str(status))
            if known:  # the others are as many as clients can think of
                self._counted[method, route, status] = counted
        counted.inc()
        if seconds is not None:
            timed = self._timed.get(route)
            if timed is None:
                timed = self._timed[route] = self._seconds.labels(route or "none")
            timed.observe(seconds)

    def text(self, report: Report, checks: Mapping[str, bool], figures: Figures) -> bytes:
        """The exposition, format 0.0.4."""
        self._report, self._checks, self._figures = report, checks, figures
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("waypost_build", "What runs.", {"version": __version__})
        ready = GaugeMetricFamily("waypost_ready", "What readiness depends on: 1 if it is well.", labels=("check",))
        for name, well in self._checks.items():
            ready.add_metric((name,), int(well))
        yield ready
        for name, value in {**self._report.counters, **self._figures.counters}.items():
            yield _family(CounterMetricFamily, name, value)
        for name, value in {**self._report.gauges, **self._figures.gauges}.items():
            yield _family(GaugeMetricFamily, name, value)
        for name, distribution in self._figures.distributions.items():
            yield _histogram(name, distribution)


def _meaning(name: str) -> str:
    return MEANINGS.get(name, name.replace("_", " ").capitalize() + ".")


def _family(
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily], name: str, value: int | Labelled
) -> CounterMetricFamily | GaugeMetricFamily:
    if not isinstance(value, Labelled):
        return kind(f"waypost_{name}", _meaning(name), value)
    family = kind(f"waypost_{name}", _meaning(name), labels=value.labels)
    for labels, number in value.values.items():
        family.add_metric(labels, number)
    return family


def _histogram(name: str, distribution: Distribution) -> HistogramMetricFamily:
    bounds = [*map(str, distribution.bounds), "+Inf"]
    buckets = list(zip(bounds, map(float, accumulate(distribution.counts)), strict=True))
    return HistogramMetricFamily(f"waypost_{name}", _meaning(name), buckets, distribution.total)
