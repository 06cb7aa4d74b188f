"""All metrics as the text that Prometheus reads, made anew for each scrape."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from loominal.weft.api.tally import HttpTally
from loominal.weft.fabric import Fabric
from loominal.weft.metrics.process import weft_families
from loominal.weft.metrics.projects import project_families


class _Weft(Collector):
    """What one reader may see: of `only` these projects, or, without any, of everything."""

    def __init__(self, fabric: Fabric, http: HttpTally, only: Collection[str]) -> None:
        self._fabric = fabric
        self._http = http
        self._only = only

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        projects = self._fabric.projects()
        hubs = projects.loaded() if projects else []
        yield from project_families(
            hub.project for hub in hubs if hub.leads and (not self._only or hub.project.id in self._only)
        )
        if not self._only:
            yield from weft_families(self._fabric, self._http)


def metrics_text(fabric: Fabric, http: HttpTally, only: Collection[str]) -> bytes:
    """Return the metrics in Prometheus' text format; with `only` those of these projects and nothing of the rest."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Weft(fabric, http, only))
    if not only:
        ProcessCollector(registry=registry)
    return generate_latest(registry)
