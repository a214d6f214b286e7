"""Metrics of the machinery: queues, workers, breakers, cards, notifications, Redis; and rq's usual ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.metrics_core import Metric

from openfall.producers.metrics.families import counter, gauge, single
from openfall.producers.metrics.label_sets import LabelSets
from openfall.producers.metrics.metrics_reader import ENDED, MetricsReading
from openfall.router_core.state.fleet_status import QueueStatus
from openfall.router_core.state.keys import DEGRADE, model_of
from openfall.router_core.state.metric_counts import OTHER
from openfall.router_core.vocabulary import BreakerState

QUEUE_LABELS = ("pool", "model", "urgency")
BREAKER_STATES = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}
KEY_TARGET = "key:"
"""The breakers of keys are counted together: the digest of a key is no label."""
EVENTS = (
    "confirmations", "crashes", "delayed", "handed_off", "late", "late_accepted", "moved", "passed_through", "put_back",
    "refused_memory", "reserve_exceeded", "settled_unknown", "strayed", "taken_over", "unreadable", "unreadable_jobs",
)  # fmt: skip
"""The totals of `of:counters` that are shown."""
BYTES_PER_GB = 10**9


@dataclass(frozen=True, slots=True)
class MachineMetrics:
    """The families of one reading."""

    reading: MetricsReading
    labels: LabelSets

    def collect(self) -> Iterator[Metric]:
        yield from self._queues()
        yield from self._workers()
        yield from self._breakers()
        yield from self._cards()
        yield from self._server()
        yield from self._rq()

    def _queue_labels(self, queue: QueueStatus) -> tuple[str, ...]:
        pool, _, _ = queue.name.partition(".")
        return self.labels.fold(QUEUE_LABELS, (pool, model_of(queue.name), queue.name.rpartition(".")[2]))

    def _queues(self) -> Iterator[Metric]:
        waiting: dict[tuple[str, ...], float] = {}
        oldest: dict[tuple[str, ...], float] = {}
        paused: dict[tuple[str, ...], float] = {}
        unserved: dict[tuple[str, ...], float] = {}
        without_worker = {queue.name for queue in self.reading.status.unserved}
        for queue in self.reading.status.queues:
            at = self._queue_labels(queue)
            waiting[at] = waiting.get(at, 0.0) + queue.waiting
            oldest[at] = max(oldest.get(at, 0.0), queue.oldest_seconds or 0.0)
            paused[at] = max(paused.get(at, 0.0), float(queue.paused))
            unserved[at] = max(unserved.get(at, 0.0), float(queue.name in without_worker))
        for name, text, rows in (
            ("openfall_queue_jobs", "Jobs that wait.", waiting),
            ("openfall_queue_oldest_seconds", "How long the oldest job that waits has waited.", oldest),
            ("openfall_queue_paused", "1: an operator has paused the queue.", paused),
            ("openfall_queue_unserved", "1: jobs wait, and no live worker reads the queue.", unserved),
        ):
            yield gauge(name, text, QUEUE_LABELS, rows.items())

    def _workers(self) -> Iterator[Metric]:
        status = self.reading.status
        beats = {
            (worker.name,): status.now - worker.heartbeat_age_seconds
            for worker in status.workers
            if worker.heartbeat_age_seconds is not None
        }
        yield gauge(
            "openfall_worker_heartbeat_timestamp_seconds", "The last beat of a worker.", ("worker",), beats.items()
        )
        alive: dict[tuple[str, ...], float] = {}
        for worker in status.workers:
            pool = worker.queues[0].partition(".")[0] if worker.queues else ""
            at = (DEGRADE,) if pool == DEGRADE else self.labels.fold(("pool",), (pool,))
            alive[at] = alive.get(at, 0.0) + worker.takes_jobs
        for pool in (*sorted(self.labels.values["pool"]), DEGRADE):
            alive.setdefault((pool,), 0.0)
        yield gauge("openfall_workers", "Workers of a pool that are alive and claim jobs.", ("pool",), alive.items())
        yield counter(
            "openfall_events_total", "What happened to deliveries, and what could not be read.", ("event",),
            [((event,), status.counters.get(event, 0)) for event in EVENTS],
        )  # fmt: skip

    def _breakers(self) -> Iterator[Metric]:
        states: dict[tuple[str, ...], float] = {}
        parked = 0
        for breaker in self.reading.breakers:
            state = BREAKER_STATES[breaker.state]
            if breaker.target.startswith(KEY_TARGET):
                parked += state > 0
                continue
            backend, _, model = breaker.target.partition("/")
            at = self.labels.fold(("backend", "model"), (backend, model.partition("#")[0]))
            states[at] = max(states.get(at, 0.0), state)
        yield gauge("openfall_breaker_state", "0: closed, 1: half open, 2: open.", ("backend", "model"), states.items())
        yield single("openfall_parked_keys", "Keys of providers that are not used.", parked)

    def _cards(self) -> Iterator[Metric]:
        memory: list[tuple[tuple[str, ...], float]] = []
        models: list[tuple[tuple[str, ...], float]] = []
        for card in self.reading.cards:
            own = sum(model.gb for model in card.models)
            uses = {"limit": card.vram_gb}
            uses |= {} if card.used_gb is None else {"models": own, "others": card.foreign_gb}
            uses |= {"total": card.total_gb} if card.total_gb else {}
            memory += [((card.card, use), gb * BYTES_PER_GB) for use, gb in uses.items()]
            models += [
                ((card.card, *self.labels.fold(("model",), (model.model,))), model.gb * BYTES_PER_GB)
                for model in card.models
            ]
        yield gauge("openfall_card_vram_bytes", "Memory of a graphics card, by its use.", ("card", "use"), memory)
        yield gauge(
            "openfall_model_vram_bytes", "Memory of a model on its card. 0: unknown.", ("card", "model"), models
        )
        managed = [((card.card,), float(card.manager is not None)) for card in self.reading.cards]
        yield gauge("openfall_card_managed", "1: a worker decides about the card.", ("card",), managed)

    def _server(self) -> Iterator[Metric]:
        status, server = self.reading.status, self.reading.server
        yield single("openfall_outbox_entries", "Webhooks and notices to deliver.", self.reading.outbox)
        yield single("openfall_dead_letters", "Webhooks and notices that were given up.", self.reading.dead_letters)
        for name, text, field in (
            ("openfall_redis_memory_used_bytes", "Memory that Redis uses.", "used_memory"),
            ("openfall_redis_memory_max_bytes", "Its maxmemory. 0: no limit.", "maxmemory"),
        ):
            yield gauge(name, text, (), [((), server[field])] if server else [])
        accepting = "0: no job is accepted, as Redis runs out of memory."
        yield single("openfall_accepting_jobs", accepting, not status.memory_pressure)
        yield single("openfall_suspended", "1: `rq suspend` is on.", status.suspended)
        yield single("openfall_local_only", "1: the local-only switch is on.", self.reading.local_only)

    def _rq(self) -> Iterator[Metric]:
        """The metrics of rq-exporter, by its names. Queues and workers are named as rq's tools name them."""
        status = self.reading.status
        jobs: dict[tuple[str, ...], float] = {}
        for queue in status.queues:
            name = queue.name if OTHER not in self._queue_labels(queue) else OTHER
            rows = {"queued": queue.waiting, "started": queue.started, "scheduled": queue.scheduled, "deferred": 0}
            rows |= {state: self.reading.ended.get((queue.name, state), 0) for state in ENDED}
            for state, amount in rows.items():
                jobs[name, state] = jobs.get((name, state), 0.0) + amount
        jobs[DEGRADE, "queued"], jobs[DEGRADE, "deferred"] = status.falling, status.held
        jobs |= {at: n for at, n in self.reading.ended.items() if at[0] == DEGRADE}
        yield gauge("rq_jobs", "RQ jobs by state", ("queue", "status"), jobs.items())
        alive = [worker for worker in status.workers if worker.alive]
        named = [((worker.name, ",".join(worker.queues)), worker) for worker in alive]
        states = [((*at, worker.state), 1) for at, worker in named]
        yield gauge("rq_workers", "RQ workers", ("name", "queues", "state"), states)
        for name, text, attribute in (
            ("rq_workers_success_total", "RQ workers success count", "answered"),
            ("rq_workers_failed_total", "RQ workers fail count", "failed"),
        ):
            yield counter(name, text, ("name", "queues"), [(at, getattr(each, attribute)) for at, each in named])
