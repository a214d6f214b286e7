"""The measure of fairness: what it calls broken, and that it measures a fleet at work."""

from __future__ import annotations

from collections import Counter

import pytest
from rich.console import Console

from benchmarks.fairness import EMPTY, FLOODED, Outcome, Plan, broken, run, sheets
from benchmarks.turns import VARIANTS, compare


def outcome(flooded: float = 60.0, batch: int = 50) -> Outcome:
    waits = {EMPTY: [[1.0] * 90 + [10.0] * 10], FLOODED: [[1.0] * 90 + [flooded] * 10]}
    return Outcome(waits, Counter(interactive=1000 - batch, batch=batch))


def test_a_fleet_that_keeps_its_promises_is_not_broken() -> None:
    assert broken(outcome()) == []
    assert broken(outcome(flooded=62, batch=48)) == [], "at the limit"


def test_interactive_jobs_that_wait_longer_than_for_one_call_are_reported() -> None:
    (words,) = broken(outcome(flooded=62.1))
    assert words == "interactive jobs waited 62 ms (p95) with batch jobs queued, 10 ms without"


@pytest.mark.parametrize("batch", [0, 47], ids=["none at all", "too few"])
def test_batch_with_less_than_its_share_is_reported(batch: int) -> None:
    (words,) = broken(outcome(batch=batch))
    assert "of what was done while interactive jobs waited, not 5%" in words


def test_the_cost_of_turns_among_producers_is_measured() -> None:
    measured = compare(jobs=400, rounds=3)
    assert [sheet.title for sheet in measured] == [
        "An accept, 400 waiting jobs", "A claim of 1 job, 400 waiting jobs", "A claim of 8 jobs, 400 waiting jobs",
    ]  # fmt: skip
    assert all([row.name for row in sheet.rows] == list(VARIANTS) for sheet in measured)


@pytest.mark.slow
def test_a_small_fleet_is_measured_from_end_to_end() -> None:
    measured = run(Plan(seconds=1, turns=1, batch=2000), Console(quiet=True))
    assert [len(turns) for turns in measured.waits.values()] == [1, 1]
    assert all(wait > 0 for turns in measured.waits.values() for turn in turns for wait in turn)
    assert measured.done["interactive"] > 0
    assert measured.done["batch"] > 0 or measured.done["interactive"] < 100, "it moves, by one job in 20"
    waits, done = sheets(measured)
    assert [row.name for row in waits.rows] == [EMPTY, FLOODED]
    assert [row.name for row in done.rows] == ["batch", "interactive"]
