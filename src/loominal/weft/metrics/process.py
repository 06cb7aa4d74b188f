"""The metrics of a weft as a whole: what it answers, what it leads, its broker and store, and its HTTP interface."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

import loominal
from loominal.fabric.hub.tally import Change, Tally
from loominal.weft.api.tally import HttpTally
from loominal.weft.fabric import Fabric
from loominal.weft.projects import Projects


def weft_families(fabric: Fabric, http: HttpTally) -> Iterator[Metric]:
    """Yield every metric that belongs to no project."""
    yield GaugeMetricFamily("loominal_wefts", "Wefts that are alive and stay.", value=len(fabric.wefts()))
    about = GaugeMetricFamily("loominal_build_info", "Always 1; the label is this weft's version.", labels=("version",))
    about.add_metric((loominal.__version__,), 1)
    yield about
    duties = CounterMetricFamily("loominal_duty_failures", "Rounds of background duties that failed.", labels=("duty",))
    for duty, count in fabric.failures.items():
        duties.add_metric((duty,), count)
    yield duties
    yield from _broker(fabric)
    projects = fabric.projects()
    yield from _operations(projects.tally if projects else Tally())
    if projects:
        yield from _leadership(projects)
    yield from _http(http)


def _broker(fabric: Fabric) -> Iterator[Metric]:
    broker, projects = fabric.broker(), fabric.projects()
    yield GaugeMetricFamily(
        "loominal_broker_up", "1 while this weft is connected to the broker.", value=broker is not None and broker.up
    )
    yield CounterMetricFamily(
        "loominal_broker_connects", "How often this weft got a connection.", value=broker.connects if broker else 0
    )
    if projects:
        yield GaugeMetricFamily(
            "loominal_store_used_ratio",
            "Share of the broker's store, or of its disk if less is left there, that is used.",
            value=projects.fullness.use,
        )


def _operations(tally: Tally) -> Iterator[Metric]:
    seconds = HistogramMetricFamily(
        "loominal_operation_seconds",
        "Time to the answer of an operation; those that wait for something wait in it.",
        labels=("operation", "code"),
    )
    for key, histogram in tally.operations.items():
        seconds.add_metric(key, histogram.buckets(), histogram.sum)
    yield seconds


def _leadership(projects: Projects) -> Iterator[Metric]:
    loaded = GaugeMetricFamily("loominal_projects", "Projects loaded here, by what for.", labels=("role",))
    roles = Counter(
        "leader" if hub.leads else "reader" if hub.reads_only else "follower" if hub.loaded.is_set() else "loading"
        for hub in projects.loaded()
    )
    for role in ("leader", "follower", "reader", "loading"):
        loaded.add_metric((role,), roles[role])
    changes = CounterMetricFamily("loominal_lead_changes", "What became of projects' leads.", labels=("change",))
    for change in Change:
        changes.add_metric((change,), projects.tally.leads[change])
    yield from (loaded, changes)


def _http(http: HttpTally) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "loominal_http_requests", "HTTP requests that were answered.", labels=("method", "route", "status")
    )
    for (method, route, status), count in http.requests.items():
        requests.add_metric((method, route, str(status)), count)
    seconds = HistogramMetricFamily(
        "loominal_http_request_seconds", "Time until an answer begins.", labels=("method", "route")
    )
    for which, histogram in http.seconds.items():
        seconds.add_metric(which, histogram.buckets(), histogram.sum)
    cut = CounterMetricFamily("loominal_event_readers_cut", "Event readers that were cut off.", labels=("reason",))
    for reason, count in http.cut.items():
        cut.add_metric((reason,), count)
    yield from (requests, seconds, cut)
    yield GaugeMetricFamily("loominal_event_readers", "Readers of live events.", value=http.readers)
