"""The text of `/metrics` and of `openfall metrics`. `prometheus_client` is imported at the first one only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from openfall.producers.metrics.label_sets import label_sets
from openfall.producers.metrics.metrics_reader import MetricsReading
from openfall.router_core.catalog.catalog import Catalog

UP_TEXT = "1: Redis answers, and the other metrics are of this moment. 0: it does not, and there are no others."


@dataclass(frozen=True, slots=True)
class Exposition:
    """A text, and its media type: OpenMetrics if it was asked for, else the text format of Prometheus."""

    body: bytes
    media_type: str


def expose(reading: MetricsReading | None, catalog: Catalog, accept: str = "") -> Exposition:
    """The metrics of a reading. None: Redis does not answer."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector

    from openfall.producers.metrics.families import event_counters, single
    from openfall.producers.metrics.machine_metrics import MachineMetrics
    from openfall.producers.metrics.people_metrics import PeopleMetrics

    class FleetCollector(Collector):
        def collect(self) -> Iterable[Metric]:
            yield single("openfall_up", UP_TEXT, reading is not None)
            if reading is not None:
                labels = label_sets(catalog)
                yield from PeopleMetrics(reading, catalog, labels).collect()
                yield from MachineMetrics(reading, labels).collect()
                yield from event_counters(reading.counts, labels)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(FleetCollector())
    encoder, media_type = choose_encoder(accept)
    return Exposition(encoder(registry), media_type)
