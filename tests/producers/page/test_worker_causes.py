"""Pools without a worker, and models that fail, in the sentence on top."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections import headline_section
from openfall.router_core.state.breakers import BreakerStatus
from openfall.router_core.state.last_workers import LastWorker
from openfall.router_core.vocabulary import BreakerState
from tests.producers.page.snapshots import NOW, QUEUE, STATUS, WORKER, calm_snapshot

LAST = LastWorker("gone", "gpu", "rack-2", 7, "journalctl --unit w.service _PID=7", NOW - 90)
OTHER = replace(WORKER, name="other", queues=("degrade",))
QUIET = replace(WORKER, name="resting", quiet=True)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> PageSnapshot:
    return calm_snapshot(tmp_path_factory.mktemp("causes"))


def causes(snapshot: PageSnapshot, **status: Any) -> list[str]:
    shown: Any = headline_section.context(replace(snapshot, status=replace(STATUS, **status)))
    return [
        f"{'. '.join(filter(None, (cause.text, cause.effect)))} [{cause.remedy or cause.section}]"
        for cause in shown["causes"]
    ]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"workers": (OTHER,)}, "No worker serves the pool gpu [openfall work gpu]"),
        ({"workers": (OTHER,), "last_workers": (LAST,)}, "No worker serves the pool gpu [systemctl restart w.service]"),
        (
            {"workers": (OTHER,), "queues": (replace(QUEUE, waiting=1),)},
            "No worker serves the pool gpu. 1 job waits [openfall work gpu]",
        ),
        (
            {"workers": (OTHER, QUIET), "queues": (replace(QUEUE, waiting=3),)},
            "An operator keeps resting from further jobs. No other worker serves the pool gpu: 3 jobs wait "
            "[openfall workers resume resting]",
        ),
    ],
    ids=["none", "one that is gone", "a job waits", "a quiet one"],
)
def test_a_pool_without_a_worker_is_named_with_the_command_that_starts_one(
    calm: PageSnapshot, status: dict[str, Any], words: str
) -> None:
    shown = causes(calm, **status)
    assert shown[0] == words
    assert not any("serves gpu.tiny" in line for line in shown), "its queues are not named too"


@pytest.mark.parametrize(
    ("last", "advice", "command"),
    [
        ((), "Start one on a machine of the pool: Redis knows of no earlier one", "openfall work gpu"),
        (
            (LAST,),
            "Start one on rack-2. gone beat last there: why it ended is at the end of its log "
            "(journalctl --unit w.service _PID=7)",
            "systemctl restart w.service",
        ),
        (
            (replace(LAST, log=""), replace(LAST, name="other", host="attic"), LAST),
            "Start one on rack-2, attic. gone beat last on rack-2",
            "openfall work gpu",
        ),
        (
            tuple(replace(LAST, log="", host=f"h{number}") for number in range(5)),
            "Start one on h0, h1, h2 and 2 more. gone beat last on h0",
            "openfall work gpu",
        ),
        (
            (replace(LAST, log="/data/log/worker-gpu-1.log"),),
            "Start one on rack-2. gone beat last there: why it ended is at the end of its log "
            "(/data/log/worker-gpu-1.log)",
            "openfall up, or openfall work gpu",
        ),
        (
            (replace(LAST, log="docker logs b0x"),),
            "Start one on rack-2. gone beat last there: why it ended is at the end of its log (docker logs b0x)",
            "docker start b0x",
        ),
    ],
    ids=["unknown", "a unit", "no log", "many hosts", "openfall up", "a container"],
)
def test_the_line_names_where_the_last_worker_ran_and_how_one_is_started_there(
    calm: PageSnapshot, last: tuple[LastWorker, ...], advice: str, command: str
) -> None:
    shown: Any = headline_section.context(replace(calm, status=replace(STATUS, workers=(OTHER,), last_workers=last)))
    line = shown["causes"][0]
    assert (line.advice, line.remedy, line.since) == (advice, command, last[0].beat_at if last else None)
    assert line.host == (last[0].host if last else ""), "where the command is typed"


@pytest.mark.parametrize(
    ("status", "text", "command"),
    [
        ({"workers": ()}, "No worker is alive", "systemctl restart w.service; openfall work degrade"),
        (
            {"workers": (replace(WORKER, queues=("gpu.tiny.interactive",)),), "falling": 2},
            "2 jobs without a model wait for the degrade worker",
            "openfall work degrade",
        ),
    ],
    ids=["no worker at all", "no degrade worker"],
)
def test_every_line_about_missing_workers_names_the_last_ones(
    calm: PageSnapshot, status: dict[str, Any], text: str, command: str
) -> None:
    last = (LAST, replace(LAST, name="d", pool="degrade", log=""))
    shown: Any = headline_section.context(replace(calm, status=replace(STATUS, **status, last_workers=last)))
    line = shown["causes"][0]
    assert (line.text, line.remedy, line.host) == (text, command, "rack-2")
    assert line.advice.startswith("Start one on rack-2. ")


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
