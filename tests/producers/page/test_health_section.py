"""The sentence on top, as a pure function of a snapshot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from openfall.config import load
from openfall.producers.outage import Away, Wait
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections import health_section
from openfall.producers.page.sections.health_section import FleetHealth
from openfall.router_core.state.fleet_status import FleetStatus, QueueStatus, WorkerStatus
from openfall.router_core.state.held_jobs import HeldSummary
from openfall.router_core.vocabulary import HoldReason

NOW = 1_800_000_000.0
WORKER = WorkerStatus("w", "idle", True, ("gpu.tiny.interactive", "degrade"), "host", 1, 0.5, 3, 0)
QUEUE = QueueStatus("gpu.tiny.interactive", 0, None, 0, 0, False)
STATUS = FleetStatus(NOW, (QUEUE,), (WORKER,), 0, 0, False, None, {})


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> PageSnapshot:
    file = tmp_path_factory.mktemp("health") / "openfall.yaml"
    file.write_text(
        "redis: redis://127.0.0.1:1\npools: {gpu: {local: yes}}\n"
        "backends: {rack: {protocol: openai, url: 'http://127.0.0.1:9', pool: gpu}}\n"
        "models: {tiny: {upstream: t, backends: [rack]}}\nroles: {chat: {chain: [tiny]}}\n"
    )
    return PageSnapshot(now=NOW, catalog=load(file).catalog, catalog_digest="", status=STATUS)


def health(snapshot: PageSnapshot) -> tuple[FleetHealth, str, str]:
    """The health, the sentence, and every cause in one text."""
    shown: Any = health_section.context(snapshot)
    return (
        shown["health"],
        shown["sentence"],
        " | ".join(f"{c.text} [{c.remedy or c.section}]" for c in shown["causes"]),
    )


def test_a_calm_fleet_answers(calm: PageSnapshot) -> None:
    assert health(calm) == (
        FleetHealth.GOOD,
        "People get answers: nothing is late, nothing waits, 1 worker ready.",
        "",
    )


def test_a_fleet_without_redis_answers_nobody(calm: PageSnapshot) -> None:
    level, sentence, causes = health(replace(calm, redis_away_since=NOW - 9))
    assert (level, sentence) == (FleetHealth.FAILING, "Nobody gets an answer: Redis does not answer.")
    assert "start Redis again" in causes


def test_waiting_jobs_without_a_worker_are_a_failure_and_name_the_command(calm: PageSnapshot) -> None:
    queue = replace(QUEUE, waiting=4, oldest_seconds=2.0)
    level, sentence, causes = health(replace(calm, status=replace(STATUS, queues=(queue,), workers=())))
    assert (level, sentence) == (FleetHealth.FAILING, "Nobody gets an answer.")
    assert "No worker is alive, and 4 jobs wait" in causes
    assert "openfall work POOL" in causes


@pytest.mark.parametrize(
    ("waited", "level"), [(3.0, FleetHealth.GOOD), (8.0, FleetHealth.IMPAIRED), (26.0, FleetHealth.FAILING)]
)
def test_the_age_of_the_oldest_interactive_job_decides(calm: PageSnapshot, waited: float, level: FleetHealth) -> None:
    queue = replace(QUEUE, waiting=1, oldest_seconds=waited)
    assert health(replace(calm, status=replace(STATUS, queues=(queue,))))[0] is level


def test_a_model_that_takes_no_calls_is_named_with_its_cause(calm: PageSnapshot) -> None:
    away = Away(
        model="tiny", backends=("rack",), since=NOW - 60, cause="timeout", until=NOW + 30, wait=Wait.PROBE,
        flat_plan=False,
    )  # fmt: skip
    level, _, causes = health(replace(calm, away=(away,)))
    assert level is FleetHealth.IMPAIRED
    assert causes == "tiny@rack takes no calls: timeout [breakers]"


def test_held_jobs_and_the_switch_are_named(calm: PageSnapshot) -> None:
    held = HeldSummary(3, 3, {HoldReason.OUTAGE: 3}, ("tiny",))
    _, sentence, causes = health(replace(calm, held=held, local_only="audit"))
    assert sentence == "People get answers, but some things need attention."
    assert causes == (
        "3 jobs held (outage); released by itself when tiny takes calls [open-fall] | "
        "Local only: no job leaves the local pools (audit) [switch]"
    )
