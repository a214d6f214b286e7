"""The runbook has a row for each line that the page shows on top, in the words of the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openfall.config import load
from openfall.producers.fleet_problems import FleetProblem, ProblemCode, ProblemSeverity
from openfall.producers.outage_text import Away, Wait
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections import headline_section
from openfall.producers.page.sources import BUDGETS, CARD_STATES, CLIENT_KEYS
from openfall.producers.runbook import RunbookSection, read_sections
from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.jobs.over_budget import OverCause
from openfall.router_core.state.audit_log import AuditEntry
from openfall.router_core.state.breakers import BreakerStatus
from openfall.router_core.state.budget_book import BudgetState
from openfall.router_core.state.card_state import CardState, FailedLoad, ModelOnCard, Switch
from openfall.router_core.state.fleet_status import GatewayStatus
from openfall.router_core.state.lost_writes import LostWrites
from openfall.router_core.vocabulary import BreakerState, HoldReason
from tests.producers.page.snapshots import NOW, QUEUE, STATUS, WORKER, calm_snapshot, held_job, holding
from tests.producers.page.test_lines_on_top import over, over_budget

SECTIONS = read_sections()


def sentences() -> Iterator[tuple[str, str]]:
    """The sentences of the page, in the first line of a section, with its heading."""
    for heading, text in SECTIONS.items():
        first = text.partition("\n")[0]
        if re.match(r"\*[^*]", first):
            yield from ((heading, sentence) for sentence in re.findall(r"\*([^*]+)\*", first))


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
            {"memory_pressure": "Redis uses 57 MiB of its 64 MiB of memory (maxmemory)"},
            {"workers": (replace(WORKER, quiet=True),)},
            {"workers": (replace(WORKER, catalog="abc"),)},
            {"gateways": (GatewayStatus("gateway-1", "abc"),)},
            {"workers": (replace(WORKER, shortage="has no file descriptors"),)},
            {"queues": (replace(QUEUE, waiting=1, oldest_seconds=26.0),)},
            {"lost_writes": LostWrites(NOW, NOW, None, "w")},
            {"lost_writes": LostWrites(NOW, NOW, NOW, "w")},
        )
    )
    pause = AuditEntry(actor="mika", via="cli", action="queue.pause", subject="gpu.*", at=NOW)
    yield replace(calm, status=replace(STATUS, queues=queues), audit=(pause,))
    yield replace(calm, local_only="guests")
    yield replace(calm, dead_letters=2)
    yield replace(calm, sources={CLIENT_KEYS.name: 2})
    for reason in HoldReason:
        yield holding(calm, held_job(reason, "tiny"))
    budget = BudgetState(budget=Budget.model_construct(name="house"), window="day", ends_at=NOW, limit=5, spent=5)
    yield replace(calm, sources={BUDGETS.name: [budget]})
    yield over_budget(calm, over("house", OverCause.SPENT), 50_000_000)
    yield replace(calm, sources={CARD_STATES.name: {"rack": CardState(loads=[(NOW, 50.0)] * 5)}})
    yield replace(calm, away=(replace(away(None, Wait.PROBE), backends=()),))
    yield replace(calm, breakers=(failing(),))
    yield replace(calm, catalog=calm.catalog.model_copy(update=kept_local(calm)))


def kept_local(calm: PageSnapshot) -> dict[str, Any]:
    """A role that must stay local, and no model of its chain is."""
    roles = {"chat": calm.catalog.roles["chat"].model_copy(update={"local_only": True})}
    return {"roles": roles, "pools": {"gpu": calm.catalog.pools["gpu"].model_copy(update={"local": False})}}


def waiting_for_a_card(home: Path) -> Iterator[PageSnapshot]:
    """A model whose jobs are late, and its card: it has another model, is too small for it, could not load it."""
    file = home / "openfall.yaml"
    file.write_text(
        "redis: redis://127.0.0.1:1\npools: {gpu: {local: yes}}\n"
        "backends: {rack: {protocol: ollama, url: 'http://127.0.0.1:9', pool: gpu, vram_gb: 24}}\n"
        "models: {tiny: {upstream: t, backends: [rack], vram_gb: 6}, big: {upstream: b, backends: [rack]}}\n"
        "roles: {chat: {chain: [tiny], urgency: interactive}}\n"
    )
    status = replace(STATUS, queues=(replace(QUEUE, waiting=1, oldest_seconds=26.0),))
    late = PageSnapshot(now=NOW, catalog=load(file).catalog, catalog_digest="", status=status)
    states = (
        CardState(models={"big": ModelOnCard("rack", NOW)}),
        CardState(switch=Switch("tiny", "rack", (), NOW, "", 20.0)),
        CardState(too_large={"tiny": (6.0, 4.0)}),
        CardState(refused={"tiny": FailedLoad(NOW + 60, 60.0, "out of memory")}),
    )
    for state in states:
        yield replace(late, sources={CARD_STATES.name: {"rack": state}})


def failing() -> BreakerStatus:
    return BreakerStatus(
        target="rack/tiny", state=BreakerState.CLOSED, epoch=1, since=NOW, why="", open_count=0,
        consecutive_failures=4, until=None, forced=None, forced_until=None, cooling_until=None, slow_starting=False,
        cause="timeout",
    )  # fmt: skip


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """Each line that the page shows on top, with the section that it names."""
    calm = calm_snapshot(tmp_path_factory.mktemp("runbook"))
    on_cards = waiting_for_a_card(tmp_path_factory.mktemp("cards"))
    shown: list[Any] = [headline_section.context(each) for each in (*snapshots(calm), *on_cards)]
    stopped: Any = headline_section.context(replace(calm, redis_away_since=NOW))
    causes = [cause for each in (*shown, stopped) for cause in each["causes"]]
    return {(cause.runbook.value, cause.text) for cause in causes} | {("Redis is away", stopped["sentence"])}


def test_each_line_of_the_page_stands_in_the_section_that_it_names(lines: set[tuple[str, str]]) -> None:
    patterns = [(heading, pattern(sentence)) for heading, sentence in sentences()]
    missing = [
        (heading, line)
        for heading, line in sorted(lines)
        if not any(heading == of and each.match(line) for of, each in patterns)
    ]
    assert not missing


def test_each_sentence_of_the_runbook_is_one_of_the_page(lines: set[tuple[str, str]]) -> None:
    patterns = {sentence: pattern(sentence) for _, sentence in sentences()}
    assert len(patterns) > 20
    unknown = [sentence for sentence, each in patterns.items() if not any(each.match(line) for _, line in lines)]
    assert not unknown


@pytest.mark.parametrize("section", RunbookSection)
def test_the_runbook_has_each_section_that_a_cause_names(section: RunbookSection) -> None:
    assert "**Do**" in SECTIONS[section] or "A consequence" in SECTIONS[section]


@pytest.mark.parametrize("code", ProblemCode)
def test_each_problem_of_the_status_names_a_section(code: ProblemCode) -> None:
    for reason in HoldReason if code is ProblemCode.HELD else (None,):
        problem = FleetProblem(code=code, severity=ProblemSeverity.WARNING, subject=reason)
        assert problem.runbook in SECTIONS
