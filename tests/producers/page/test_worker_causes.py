"""Pools without a worker, and models that fail, in the sentence on top."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections import headline_section
from openfall.router_core.state.breakers import BreakerStatus
from openfall.router_core.vocabulary import BreakerState
from tests.producers.page.snapshots import NOW, QUEUE, STATUS, WORKER, calm_snapshot

GONE = replace(WORKER, name="gone", alive=False, host="rack-2", heartbeat_age_seconds=90.0)
OTHER = replace(WORKER, name="other", queues=("degrade",))
QUIET = replace(WORKER, name="resting", quiet=True)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> PageSnapshot:
    return calm_snapshot(tmp_path_factory.mktemp("causes"))


def causes(snapshot: PageSnapshot, **status: Any) -> list[str]:
    shown: Any = headline_section.context(replace(snapshot, status=replace(STATUS, **status)))
    return [f"{cause.text} [{cause.remedy or cause.section}]" for cause in shown["causes"]]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"workers": (OTHER,)}, "No worker serves the pool gpu [openfall work gpu]"),
        (
            {"workers": (OTHER, GONE)},
            "No worker serves the pool gpu; gone on rack-2 was there until 90s ago [openfall work gpu]",
        ),
        (
            {"workers": (OTHER, GONE, replace(GONE, name="gone-too", heartbeat_age_seconds=99.0))},
            "No worker serves the pool gpu; gone on rack-2 and 1 more were there until 90s ago [openfall work gpu]",
        ),
        (
            {"workers": (OTHER,), "queues": (replace(QUEUE, waiting=1),)},
            "No worker serves the pool gpu, where 1 job waits [openfall work gpu]",
        ),
        (
            {"workers": (OTHER, QUIET), "queues": (replace(QUEUE, waiting=3),)},
            "No worker serves the pool gpu, where 3 jobs wait [openfall workers resume NAME]",
        ),
    ],
    ids=["none", "one that is gone", "two that are gone", "a job waits", "a quiet one"],
)
def test_a_pool_without_a_worker_is_named_with_the_command_that_starts_one(
    calm: PageSnapshot, status: dict[str, Any], words: str
) -> None:
    shown = causes(calm, **status)
    assert shown[0] == words
    assert not any("serves gpu.tiny" in line for line in shown), "its queues are not named too"


def test_a_pool_that_no_role_and_no_job_needs_may_have_no_worker(calm: PageSnapshot) -> None:
    catalog = calm.catalog.model_copy(update={"roles": {}})
    assert causes(replace(calm, catalog=catalog), workers=(OTHER,)) == []


@pytest.mark.parametrize(
    ("status", "words"),
    [({"workers": ()}, "No worker is alive"), ({"suspended": True}, "Every worker is suspended")],
)
def test_where_no_worker_at_all_claims_its_pools_are_not_named(
    calm: PageSnapshot, status: dict[str, Any], words: str
) -> None:
    (line,) = causes(calm, **status)
    assert line.startswith(words)


@pytest.mark.parametrize(
    ("state", "failures", "is_named"),
    [
        (BreakerState.CLOSED, 4, True),
        (BreakerState.CLOSED, 3, True),
        (BreakerState.CLOSED, 2, False),
        (BreakerState.CLOSED, 0, False),
        (BreakerState.OPEN, 9, False),
    ],
)
def test_a_model_that_fails_is_named_before_its_breaker_opens(
    calm: PageSnapshot, state: BreakerState, failures: int, is_named: bool
) -> None:
    row = BreakerStatus(
        target="rack/tiny", state=state, epoch=1, since=NOW, why="", open_count=0, consecutive_failures=failures,
        until=None, forced=None, forced_until=None, cooling_until=None, slow_starting=False, cause="timeout",
    )  # fmt: skip
    line = f"tiny@rack failed its last {failures} calls: timeout [breakers]"
    assert (line in causes(replace(calm, breakers=(row,)))) == is_named
