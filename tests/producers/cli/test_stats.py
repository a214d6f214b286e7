"""`openfall stats`: the jobs of a day or a month, by model, role, group or urgency."""

from __future__ import annotations

import calendar
import json
from typing import Any

import pytest

from tests.producers.cli.conftest import Run


@pytest.fixture
def counted(store: Any) -> None:
    """What the scripts count: 3 jobs of two models in one day, and what their calls cost."""
    day = "2026-11-21"
    store.hset("of:job-counts", mapping={"since": calendar.timegm((2026, 11, 21, 12, 0, 0)) * 1000})
    labels = "chat interactive family"
    totals = {f"{labels} tiny answered 1": 2, f"{labels} large fell_back 5": 1, f"{labels} tiny failed -": 1,
              f"{labels} tiny ms": 1600, f"{labels} tiny in": 300, f"{labels} tiny out": 60}  # fmt: skip
    store.hset("of:job-counts", mapping=totals)
    store.hset(f"of:ledger:{day}", mapping={"large@rack family chat -": "1 0 0 0 4000000 0 0 4000000"})


def test_a_day_without_jobs_is_said_to_be_one(openfall: Run) -> None:
    ran = openfall("stats", "--day", "2026-11-21")
    assert (ran.returncode, ran.stdout) == (0, "")
    assert "no job ended in 2026-11-21" in ran.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--day", "yesterday"), "is no day"),
        (("--month", "2026-13"), "no month"),
        (("--day", "2026-11-21", "--month", "2026-11"), "not both"),
    ],
)
def test_a_period_that_is_none_is_refused(openfall: Run, options: tuple[str, ...], words: str) -> None:
    ran = openfall("stats", *options)
    assert ran.returncode == 2
    assert words in ran.stderr


def test_jobs_are_summed_up_by_model_with_what_their_calls_cost(openfall: Run, counted: None) -> None:
    rows = {row["name"]: row for row in json.loads(openfall("stats", "--day", "2026-11-21", "--json").stdout)}
    assert rows["tiny"]["requests"] == 3
    assert (rows["tiny"]["answered"], rows["tiny"]["failed"], rows["tiny"]["input_tokens"]) == (2, 1, 300)
    assert rows["tiny"]["mean_seconds"] == pytest.approx(0.8)
    assert (rows["large"]["fell_back"], rows["large"]["nusd"]) == (1, 4_000_000)
    shown = openfall("stats", "--month", "2026-11").stdout
    assert "$0.004" in shown


def test_roles_have_no_cost_because_the_ledger_knows_none(openfall: Run, counted: None) -> None:
    (row,) = json.loads(openfall("stats", "--by", "role", "--day", "2026-11-21", "--json").stdout)
    assert (row["name"], row["requests"], row["nusd"]) == ("chat", 4, None)
