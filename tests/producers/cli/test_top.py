"""`openfall top`: the same snapshot as the page, in a terminal of any width."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from openfall.config import load
from openfall.producers.cli.top import fetched_sources
from openfall.producers.cli.top_screen import screen
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections import headline_section
from openfall.producers.page.sources import CardsNow
from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.state.breakers import BreakerStatus
from openfall.router_core.state.budget_book import BudgetState
from openfall.router_core.state.card_status import CardStatus, ModelShown
from openfall.router_core.state.fleet_status import FleetStatus, QueueStatus, WorkerStatus
from openfall.router_core.state.held_jobs import HeldSummary, summarize_held
from openfall.router_core.state.ledger import LedgerEntry
from openfall.router_core.state.recent_jobs import JobPage, ListedJob
from openfall.router_core.state.subscription_plans import PlanState
from openfall.router_core.vocabulary import BreakerState, HoldReason, LoadState
from tests.producers.cli.conftest import Run
from tests.producers.page.snapshots import held_job

NOW = 1_800_000_000.0
CONFIG = """
redis: redis://127.0.0.1:1
pools: {gpu: {local: yes}}
backends: {rack: {protocol: openai, url: 'http://127.0.0.1:9', pool: gpu}}
models: {tiny: {upstream: t, backends: [rack]}}
roles: {chat: {chain: [tiny]}}
"""
JOB = ListedJob(
    id="8f21c6d0b7f94e0c9a51d3e2", state="done", status="answered", queue="gpu.tiny.interactive", role="chat",
    model="tiny", urgency="interactive", group=None, producer="p", accepted_at=NOW, ended_at=NOW, deadline=NOW,
    held_for=None, why="1st in role chat, \x1b[31mloaded", answered_by="tiny", took_seconds=1.25, cost_usd=0.004,
)  # fmt: skip


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> PageSnapshot:
    file = tmp_path_factory.mktemp("top") / "openfall.yaml"
    file.write_text(CONFIG)
    workers = (WorkerStatus("w", "idle", True, ("gpu.tiny.interactive", "degrade"), "host", 1, 0.5, 3, 0),)
    queues = (QueueStatus("gpu.tiny.interactive", 3, 26.0, 2, 1, False),)
    ledger = LedgerEntry(day="2027-01-15", model="tiny", backend="rack", group=None, nusd=40_000_000)
    day: dict[str, Any] = {"window": "2027-01-15", "ends_at": NOW + 60}
    budget = BudgetState(budget=Budget(name="house", usd=5, per="day"), **day, limit=5 * 10**9, spent=4 * 10**9)
    card = CardStatus(
        card="card-0", pool="gpu", vram_gb=24, foreign_gb=1.0, total_gb=24.0, waiting={}, reason="", manager="w",
        models=(ModelShown(model="tiny", load_state=LoadState.READY, state_seconds=5, gb=11.0),),
        manager_lease_seconds=5.0,
    )  # fmt: skip
    jobs = tuple(held_job(HoldReason.OUTAGE, "tiny", id=name) for name in ("one", "two"))
    return PageSnapshot(
        now=NOW,
        catalog=load(file).catalog,
        catalog_digest="",
        status=FleetStatus(NOW, queues, workers, 0, 2, False, None, {}),
        breakers=(breaker(),),
        held=summarize_held(2, jobs),
        held_jobs=jobs,
        sources={"jobs": JobPage((JOB,), None), "ledger": [ledger], "budgets": [budget], "cards": CardsNow([card], {})},
    )


def breaker() -> BreakerStatus:
    values: dict[str, Any] = dict.fromkeys(("until", "forced", "forced_until", "cooling_until"))
    values |= {"epoch": 1, "since": NOW - 9, "open_count": 1, "consecutive_failures": 5, "slow_starting": False}
    return BreakerStatus(target="rack/tiny", state=BreakerState.OPEN, why="5 of 5 failed", **values)


def drawn(snapshot: PageSnapshot, width: int, head: str = "") -> list[str]:
    out = Console(file=io.StringIO(), width=width, color_system=None, markup=False, emoji=False, highlight=False)
    out.print(screen(snapshot, width, head))
    return out.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_screen_has_every_part_at_any_width(snapshot: PageSnapshot, width: int) -> None:
    lines = drawn(snapshot, width, "openfall top   q: quit")
    text = " ".join(" ".join(lines).split())
    for part in ("q: quit", "start late", "26s!", ">2", "Breakers", "tiny@rack", "card-0", "#####", "2 jobs held",
                 "Cost today", "house", "8f21c6d0", "answered"):  # fmt: skip
        assert part in text
    assert max(map(len, lines)) <= width


def test_a_wide_screen_says_why_each_job_was_answered_so_and_no_text_controls_the_terminal(
    snapshot: PageSnapshot,
) -> None:
    text = "\n".join(drawn(snapshot, 200))
    assert "1st in role chat, \\x1b[31mloaded" in text
    assert "\x1b" not in text
    assert "$0.004" in text


def test_a_calm_fleet_without_jobs_cards_and_budgets_has_a_short_screen(snapshot: PageSnapshot) -> None:
    empty = {"jobs": JobPage((), None), "ledger": [], "budgets": [], "cards": CardsNow([], {})}
    calm = replace(snapshot, breakers=(), held=HeldSummary(), sources=empty)
    text = "\n".join(drawn(calm, 60))
    assert "Breakers: 1 closed" in text
    assert "Cost today $0" in text
    assert all(word not in text for word in ("Recent jobs", "Models on cards", "Open Fall"))


def test_the_causes_are_those_of_the_page_in_its_order_each_with_its_section(snapshot: PageSnapshot) -> None:
    wrong = replace(snapshot, local_only="guests", dead_letters=3, status=replace(snapshot.status, suspended=True))
    shown: Any = headline_section.context(wrong)
    lines = [line for line in drawn(wrong, 600) if line.startswith("- ")]
    assert len(lines) == len(shown["causes"]) > 3
    for line, cause in zip(lines, shown["causes"], strict=True):
        assert cause.text in line
        assert line.rstrip().endswith(f"(runbook: {cause.runbook})")


def test_the_sources_of_the_causes_of_the_page_are_read() -> None:
    assert set(headline_section.SOURCES) <= set(fetched_sources())


@pytest.mark.parametrize(
    ("cap", "shown"), [(100, "40 % used"), (40, "100 % used"), (None, "40 calls, its limit is not known yet")]
)
def test_a_flat_plan_is_shown_with_its_budget_and_what_is_known_of_its_share(
    snapshot: PageSnapshot, cap: int | None, shown: str
) -> None:
    plan = PlanState(backend="claude", number=1, window_seconds=18_000.0, calls=40, resets_at=NOW + 3000, cap=cap)
    text = "\n".join(drawn(replace(snapshot, sources={**snapshot.sources, "plans": [plan]}), 100))
    assert "claude" in text
    assert shown in text
    assert "house" in text


def test_without_a_terminal_the_screen_is_printed_once(openfall: Run) -> None:
    ran = openfall("top")
    assert ran.returncode == 0
    assert "Queues: waiting" in ran.stdout
    assert "\x1b" not in ran.stdout


def test_in_a_terminal_p_pauses_the_screen_and_q_ends_it(
    environment: dict[str, str], tmp_path: Path, redis_url: str
) -> None:
    master, slave = pty.openpty()
    given = {**environment, "REDIS_URL": redis_url, "TERM": "xterm", "COLUMNS": "60", "LINES": "40"}
    process = subprocess.Popen(
        [sys.executable, "-m", "openfall.producers.cli", "top"],
        cwd=tmp_path, env=given, stdin=slave, stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    shown = b""
    try:
        for wanted, key in ((b"p: pause", b"p"), (b"(paused)", b"q")):
            while wanted not in shown:
                assert select.select([master], [], [], 60)[0], shown
                shown += os.read(master, 65536)
            os.write(master, key)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)
