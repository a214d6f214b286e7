"""The runbook has a row for each line that the page shows on top, in the words of the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openfall.producers.outage import Away, Wait
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections import health_section
from openfall.producers.page.sections.resource_causes import CARD_STATES
from openfall.producers.page.sources import BUDGETS
from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.state.breakers import BreakerStatus
from openfall.router_core.state.budget_book import BudgetState
from openfall.router_core.state.card_state import CardState
from openfall.router_core.vocabulary import BreakerState, HoldReason
from tests.producers.page.snapshots import NOW, QUEUE, STATUS, WORKER, calm_snapshot, held_job, holding

RUNBOOK = (Path(__file__).resolve().parents[3] / "docs" / "runbook.md").read_text("utf-8")
TABLE = RUNBOOK.partition("what the page shows")[2].partition("## Incidents")[0]


def sentences() -> Iterator[str]:
    """The sentences of the first column."""
    for row in TABLE.splitlines():
        if row.startswith("| *"):
            yield from re.findall(r"\*([^*]+)\*", row.split("|")[1])


def pattern(sentence: str) -> re.Pattern[str]:
    """A word in capitals stands for any text; N for a number; `jobs` also for one job."""
    words = re.escape(sentence).replace("jobs", "jobs?").replace("notifications", "notifications?")
    words = re.sub(r"\bN\b", r"[\\d,]+", words)
    return re.compile(re.sub(r"\b[A-Z]{3,}S?\b(?<!MiB)", ".+", words))


def away(model: str | None, wait: Wait) -> Away:
    return Away(model=model, backends=("rack",), since=NOW, cause="timeout", until=NOW, wait=wait, flat_plan=False)


def snapshots(calm: PageSnapshot) -> Iterator[PageSnapshot]:
    """A snapshot for each thing that can be wrong."""
    queues = tuple(replace(QUEUE, name=f"gpu.tiny.{urgency}", waiting=2, paused=True) for urgency in ("batch", "a"))
    yield from (replace(calm, away=(away(model, wait),)) for model in ("tiny", None) for wait in Wait)
    yield from (
        replace(calm, status=replace(STATUS, **change))
        for change in (
            {"workers": (), "queues": (replace(QUEUE, waiting=1),)},
            {"workers": (replace(WORKER, queues=("degrade",)),)},
            {"queues": (replace(QUEUE, name="gpu.tiny.batch", waiting=2),)},
            {"falling": 2, "workers": (replace(WORKER, queues=("gpu.tiny.interactive",)),)},
            {"suspended": True},
            {"queues": (queues[0],)},
            {"queues": queues},
            {"memory_pressure": "Redis uses 57 MiB of its 64 MiB of memory (maxmemory)"},
            {"workers": (replace(WORKER, quiet=True),)},
            {"workers": (replace(WORKER, catalog="abc"),)},
            {"workers": (replace(WORKER, shortage="has no file descriptors"),)},
            {"queues": (replace(QUEUE, waiting=1, oldest_seconds=26.0),)},
        )
    )
    yield replace(calm, local_only="guests")
    yield replace(calm, dead_letters=2)
    for reason in HoldReason:
        yield holding(calm, held_job(reason, "tiny"))
    budget = BudgetState(budget=Budget.model_construct(name="house"), window="day", ends_at=NOW, limit=5, spent=5)
    yield replace(calm, sources={BUDGETS.name: [budget]})
    why = "(tiny: budget house: $1 of $2 are spent, and this call may cost $3)"
    yield holding(calm, held_job(HoldReason.BUDGET, "tiny", why=why), sources={BUDGETS.name: [budget]})
    yield replace(calm, sources={CARD_STATES.name: {"rack": CardState(loads=[(NOW, 50.0)] * 5)}})
    yield replace(calm, breakers=(failing(),))


def failing() -> BreakerStatus:
    return BreakerStatus(
        target="rack/tiny", state=BreakerState.CLOSED, epoch=1, since=NOW, why="", open_count=0,
        consecutive_failures=4, until=None, forced=None, forced_until=None, cooling_until=None, slow_starting=False,
        cause="timeout",
    )  # fmt: skip


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    calm = calm_snapshot(tmp_path_factory.mktemp("runbook"))
    shown: list[Any] = [health_section.context(each) for each in snapshots(calm)]
    stopped: Any = health_section.context(replace(calm, redis_away_since=NOW))
    return {cause.text for each in shown for cause in each["causes"]} | {stopped["sentence"]}


def test_each_line_of_the_page_has_a_row_of_the_runbook(lines: set[str]) -> None:
    patterns = [pattern(sentence) for sentence in sentences()]
    missing = [line for line in sorted(lines) if not any(each.match(line) for each in patterns)]
    assert not missing


def test_each_sentence_of_the_runbook_is_one_of_the_page(lines: set[str]) -> None:
    patterns = {sentence: pattern(sentence) for sentence in sentences()}
    assert len(patterns) > 20
    unknown = [sentence for sentence, each in patterns.items() if not any(map(each.match, lines))]
    assert not unknown
