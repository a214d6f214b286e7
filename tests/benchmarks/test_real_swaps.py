"""The benchmark of swaps with real workers: what it reads from the engine, and what it calls broken."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.server import Server
from benchmarks.swaps.card_simulator import BATCH, INTERACTIVE, SimJob, SimModel, Trace
from benchmarks.swaps.real_runs import RealRun, with_overhead
from benchmarks.swaps.simulated_runs import OURS, SIMULATED, Measured, Waits
from benchmarks.swaps.swap_promises import real_promises

MODEL = SimModel("a", 10, 10, 2, 10, 100)


def trace() -> Trace:
    jobs = [SimJob(0, "a", BATCH, 0.0, 30.0), SimJob(1, "a", INTERACTIVE, 10.0, 5.0), SimJob(2, "a", BATCH, 0.0, 3.0)]
    return Trace((MODEL,), (("card", 16.0),), jobs)


def measured_of(directory: Path, *rows: dict[str, Any]) -> Measured:
    run = RealRun(trace(), directory, 10.0, Server(0, None, None), 0, True, began_at=1000.0, ended_at=1020.0)  # type: ignore[arg-type]
    run.engine_log.write_text("".join(json.dumps({"model": "a", **row}) + "\n" for row in rows))
    return run.measured(overhead=0.5)


def test_what_the_engine_wrote_becomes_seconds_of_the_trace(tmp_path: Path) -> None:
    first, second = "takes 3.0 0", "takes 0.5 1"
    figures = measured_of(
        tmp_path,
        {"at": 1000.1, "event": "load"},
        {"at": 1001.1, "event": "loaded"},
        {"at": 1001.2, "event": "call", "job": first},
        {"at": 1001.4, "event": "call", "job": first},
        {"at": 1001.5, "event": "call", "job": second},
        {"at": 1002.0, "event": "answered", "job": second},
        {"at": 1004.4, "event": "answered", "job": first},
    )
    assert (figures.loads, figures.put_back, figures.end_seconds) == (1, 1, pytest.approx(44))
    assert figures.waits[INTERACTIVE].p50 == pytest.approx(5)
    assert figures.waits[BATCH].longest == pytest.approx(200), "a job that was never called has waited to the end"
    assert figures.waits[BATCH].unanswered == 0.5
    assert figures.bound_seconds == pytest.approx(10 + (30.5 + 5.5 + 3.5) / 2), "each call costs a little more"


def test_longer_calls_change_nothing_else() -> None:
    longer = with_overhead(trace(), 2.0).jobs
    assert [job.work_seconds for job in longer] == [32, 7, 5]
    assert [replace(job, work_seconds=0.0) for job in longer] == [replace(job, work_seconds=0) for job in trace().jobs]


def figures(loads: float = 10, end: float = 100.0, p95: float = 20.0, **waits: float) -> Measured:
    return Measured(
        loads=loads, models=10, end_seconds=end, batch_end_seconds=end, bound_seconds=0, batch_bound_seconds=0,
        waits=[Waits(p95=p95), Waits(**waits), Waits()], first_share=0, usual_call=0, left=0, put_back=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("real", "broken"),
    [
        (figures(), []),
        (figures(loads=11, end=109, p95=39), []),
        (figures(loads=12), ["bots: loads, of the simulated rule's"]),
        (figures(end=111), ["bots: end, of the simulated rule's"]),
        (figures(p95=41), ["bots: people's p95, later than the simulated rule's (s)"]),
        (figures(past_deadline=0.1), ["bots: background and batch past their deadline"]),
        (figures(unanswered=0.1), ["bots: jobs that were not answered"]),
    ],
)
def test_real_workers_do_what_the_rule_does_in_the_simulator(real: Measured, broken: list[str]) -> None:
    promised = real_promises({("bots", OURS): real, ("bots", SIMULATED): figures()})
    assert [promise.text for promise in promised if not promise.kept] == broken


def test_a_night_of_real_workers_loads_each_model_once() -> None:
    promised = real_promises({("night", OURS): figures(loads=11, end=106), ("night", SIMULATED): figures()})
    broken = [promise.text for promise in promised if not promise.kept]
    assert broken == ["night: loads", "night: end, of the simulated rule's"]
