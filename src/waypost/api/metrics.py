"""The node's figures as Prometheus reads them.

Labels take few values whatever clients send: a known method or "other", a route's template or "none".
"""

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from waypost import __version__
from waypost.assembly.questions import Report

METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics(Collector):
    """One application's: nothing is shared with another in the same process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._report = Report({}, {})
        self._checks: Mapping[str, bool] = {}
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
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def count(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """`route` is the template of a route in the table, None for a path that is none."""
        self._requests.labels(method if method in METHODS else "other", route or "none", str(status)).inc()
        self._seconds.labels(route or "none").observe(seconds)

    def text(self, report: Report, checks: Mapping[str, bool]) -> bytes:
        """The exposition, format 0.0.4."""
        self._report, self._checks = report, checks
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("waypost_build", "What runs.", {"version": __version__})
        ready = GaugeMetricFamily("waypost_ready", "What readiness depends on: 1 if it is well.", labels=("check",))
        for name, well in self._checks.items():
            ready.add_metric((name,), int(well))
        yield ready
        for name, value in self._report.counters.items():
            yield CounterMetricFamily(f"waypost_{name}", f"{name.replace('_', ' ')} since the start", value)
        for name, value in self._report.gauges.items():
            yield GaugeMetricFamily(f"waypost_{name}", f"{name.replace('_', ' ')} now", value)
