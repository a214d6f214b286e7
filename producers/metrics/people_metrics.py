"""Metrics for the question whether people get answers: jobs, times, fallbacks, Open Fall, money."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.metrics_core import Metric

from openfall.producers.gateway.error_table import REFUSED_CAUSES
from openfall.producers.metrics.families import counter, gauge, histogram, single
from openfall.producers.metrics.label_sets import LabelSets
from openfall.producers.metrics.metrics_reader import MetricsReading
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.client_keys import RESERVED_NAMES
from openfall.router_core.state.histogram_buckets import FIRST_TOKEN_BOUNDS, JOB_BOUNDS, WAIT_BOUNDS
from openfall.router_core.state.metric_counts import OTHER, read_histogram
from openfall.router_core.state.refused_requests import NO_KEY, RefusedRequests
from openfall.router_core.state.statistics import JobStatistics
from openfall.router_core.vocabulary import Urgency

NUSD = 1e9
"""Nanodollars in a dollar."""
JOB_LABELS = ("role", "urgency", "group", "model")


@dataclass(frozen=True, slots=True)
class PeopleMetrics:
    """The families of one reading."""

    reading: MetricsReading
    catalog: Catalog
    labels: LabelSets

    def collect(self) -> Iterator[Metric]:
        yield from self._jobs()
        yield from self._times()
        yield from self._open_fall()
        yield from self._money()

    def _labels_of(self, row: JobStatistics) -> tuple[str, ...]:
        return self.labels.fold(JOB_LABELS, (row.role, row.urgency, row.group, row.model))

    def _jobs(self) -> Iterator[Metric]:
        rows = [(self._labels_of(row), row) for row in self.reading.jobs]
        accepted = self.reading.status.counters.get("accepted", 0)
        yield counter("openfall_accepted_total", "Jobs that were accepted.", (), [((), accepted)])
        yield counter(
            "openfall_jobs_total",
            "Jobs that ended. fell_back: another model than the first choice answered. role: its task, if it has none.",
            (*JOB_LABELS, "outcome"),
            [((*labels, outcome), n) for labels, row in rows for outcome, n in row.outcomes.items()],
        )
        yield counter(
            "openfall_tokens_total",
            "Tokens of calls, as providers counted them.",
            (*JOB_LABELS, "direction"),
            [
                ((*labels, direction), amount)
                for labels, row in rows
                for direction, amount in (("input", row.input_tokens), ("output", row.output_tokens))
                if amount
            ],
        )
        yield counter(
            "openfall_refused_requests_total",
            "Requests that the gateway refused, reset each day (UTC). key: empty if it had no known one.",
            ("key", "cause"),
            [(self._refusal_labels(row), row.count) for row in self.reading.refused],
        )
        yield histogram(
            "openfall_job_duration_seconds",
            "From the acceptance of a job to its reply, of jobs that got one.",
            JOB_LABELS,
            JOB_BOUNDS,
            [(labels, row.buckets, row.seconds) for labels, row in rows if any(row.buckets)],
        )

    def _refusal_labels(self, row: RefusedRequests) -> tuple[str, str]:
        known = self.reading.key_names | RESERVED_NAMES
        key = "" if row.key == NO_KEY else row.key if row.key in known else OTHER
        return key, row.cause if row.cause in REFUSED_CAUSES else OTHER

    def _times(self) -> Iterator[Metric]:
        waits = "openfall_queue_wait_seconds", "From the acceptance of a job to the call that answered it."
        yield self._histogram("wait", waits, ("model", "urgency"), WAIT_BOUNDS)
        firsts = "openfall_time_to_first_token_seconds", "From the start of a streamed call to its first token."
        yield self._histogram("first_token", firsts, ("model", "backend"), FIRST_TOKEN_BOUNDS)

    def _histogram(
        self, family: str, name: tuple[str, str], labels: tuple[str, ...], bounds: Sequence[float]
    ) -> Metric:
        rows = [
            (self.labels.fold(labels, at), read_histogram(cells, bounds))
            for at, cells in self.reading.counts[family].items()
        ]
        return histogram(*name, labels, bounds, [(at, times.buckets, times.seconds) for at, times in rows])

    def _open_fall(self) -> Iterator[Metric]:
        status, incidents = self.reading.status, self.reading.incidents
        held: dict[tuple[str, ...], float] = {}
        for incident in incidents:
            reason = self.labels.fold(("reason",), (incident.reason,))
            held[reason] = held.get(reason, 0.0) + max(0, incident.held)
        if (rest := status.held - sum(held.values())) > 0:
            held[(OTHER,)] = held.get((OTHER,), 0.0) + rest
        yield gauge(
            "openfall_held_jobs", "Jobs that are held, by the reason of an incident.", ("reason",), held.items()
        )
        yield single("openfall_falling_jobs", "Jobs that wait for the degrade worker.", status.falling)
        rows = {self.labels.fold(("reason",), (each.reason,)): each.began_at for each in incidents}
        yield gauge(
            "openfall_incident_began_timestamp_seconds", "When an open incident began.", ("reason",), rows.items()
        )
        yield gauge(
            "openfall_urgency_target_seconds",
            "Within how many seconds a job should start.",
            ("urgency",),
            [((urgency,), self.catalog.urgency[urgency].start_within) for urgency in Urgency],
        )

    def _money(self) -> Iterator[Metric]:
        labels = ("model", "backend", "group")
        rows = [(self.labels.fold(labels, (row.model, row.backend, row.group)), row) for row in self.reading.today]
        yield counter(
            "openfall_spend_usd_total", "The known cost of calls, reset each day (UTC).", labels,
            [(at, row.usd) for at, row in rows],
        )  # fmt: skip
        yield counter(
            "openfall_calls_total", "Calls of models, probes too, reset each day (UTC).",
            (*labels, "outcome"),
            [
                ((*at, outcome), n) for at, row in rows
                for outcome, n in (("answered", max(0, row.calls - row.failed)), ("failed", row.failed))
            ],
        )  # fmt: skip
        budgets = [((state.budget.name,), state) for state in self.reading.budgets if not state.owner]
        limits = [(at, state.limit / NUSD) for at, state in budgets]
        yield gauge("openfall_budget_usd", "The limit of a budget, with what it was raised by.", ("budget",), limits)
        left = [(at, state.left / NUSD) for at, state in budgets]
        yield gauge("openfall_budget_remaining_usd", "What a further call may cost at most.", ("budget",), left)
        refused = [(at, state.refused) for at, state in budgets]
        yield gauge("openfall_budget_refused_calls", "Claims whose call did not fit.", ("budget",), refused)
