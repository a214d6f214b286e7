"""The screen of `openfall top`: a pure function of the same snapshot that the page shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType

from openfall.producers.amount_text import plural
from openfall.producers.cli.render import short_id
from openfall.producers.cli.tables import fits, table
from openfall.producers.cli.terminal import plain
from openfall.producers.duration_text import format_age
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections import breaker_section, cost_section, headline_section, queue_section
from openfall.producers.page.sections.card_section import describe_use
from openfall.producers.page.sections.cost_section import BudgetRow, PlanRow
from openfall.producers.page.sections.job_section import job_rows
from openfall.producers.page.sections.queue_section import Cell, GridRow
from openfall.producers.refused_table import describe_refused

STYLES = {"good": "bold green", "impaired": "bold yellow", "failing": "bold white on red"}
MAX_MODELS, MAX_BREAKERS, MAX_BUDGETS = 6, 6, 6
NARROW_JOB_COLUMNS = 4


def screen(snapshot: PageSnapshot, width: int, head: str = "") -> RenderableType:
    """Everything, the most urgent first: a terminal that is too low for it cuts the end off."""
    parts = [
        *([plain(head, "dim")] if head else []),
        *_health(snapshot),
        *_queues(snapshot, width),
        *_breakers(snapshot),
        *_cards(snapshot),
        *_held(snapshot),
        *_money(snapshot, width),
        *_refused(snapshot),
        *_jobs(snapshot, width),
    ]
    return Group(*parts)


def _title(text: str) -> RenderableType:
    return plain(f"\n{text}", "bold")


def _health(snapshot: PageSnapshot) -> Iterator[RenderableType]:
    values = headline_section.context(snapshot)
    yield plain(values["sentence"], STYLES[values["health"].value])
    for cause in values["causes"]:
        yield plain(cause.line(snapshot.now))


def _queues(snapshot: PageSnapshot, width: int) -> Iterator[RenderableType]:
    values = queue_section.context(snapshot)
    heads = [f"{urgency.value} <{format_age(target)}" for urgency, target in values["targets"].items()]
    rows = [(line.name, *(_cell(cell, snapshot.now) for cell in line.cells)) for line in _grid_lines(values["rows"])]
    if not fits(["", *heads], rows, width):
        heads = [urgency.value for urgency in values["targets"]]
    yield _title("Queues: waiting, age of the oldest, running")
    yield table(["", *heads], rows, width)


def _grid_lines(rows: Iterable[GridRow]) -> Iterator[GridRow]:
    for row in rows:
        yield row
        yield from row.models[:MAX_MODELS]


def _cell(cell: Cell, now: float) -> str:
    if not (cell.waiting or cell.started or cell.scheduled or cell.paused):
        return "."
    age = "" if cell.oldest_at is None else f" {format_age(max(0.0, now - cell.oldest_at))}"
    late = "!" if cell.lateness.value == "late" else ""
    running = f" >{cell.started}" if cell.started else ""
    later = f" +{cell.scheduled}" if cell.scheduled else ""
    return f"{cell.waiting}{age}{late}{running}{later}{' paused' if cell.paused else ''}"


def _breakers(snapshot: PageSnapshot) -> Iterator[RenderableType]:
    values = breaker_section.context(snapshot)
    cards = values["cards"][:MAX_BREAKERS]
    yield _title(
        f"Breakers: {len(cards)} of note, {len(values['closed'])} closed"
        if cards
        else f"Breakers: {len(values['closed'])} closed"
    )
    for card in cards:
        breaker = card.breaker
        rest = format_age(max(0.0, breaker.until - snapshot.now)) if breaker.until else ""
        until = f", next probe in at least {rest}" if rest else ""
        style = {"bad": "red", "warn": "yellow"}.get(card.css_class, "")
        yield plain(f"{card.title}  {card.state}  {breaker.cause or breaker.why or ''}{until}", style)


def _cards(snapshot: PageSnapshot) -> Iterator[RenderableType]:
    cards = snapshot.sources["cards"].cards
    if not cards:
        return
    yield _title("Models on cards")
    for card in cards:
        total = card.total_gb or card.vram_gb
        bar = _bar(card.used_gb / total) if card.used_gb is not None and total else ""
        models = ", ".join(f"{each.model} {each.load_state.replace('_', ' ')}" for each in card.models)
        yield plain("  ".join(filter(None, (card.card, bar, describe_use(card), models))))


def _bar(share: float) -> str:
    full = round(min(1.0, max(0.0, share)) * 10)
    return "#" * full + "-" * (10 - full)


def _held(snapshot: PageSnapshot) -> Iterator[RenderableType]:
    if snapshot.held.total:
        yield _title(f"Open Fall: {plural(snapshot.held.total, 'job')} held (openfall held list)")


def _money(snapshot: PageSnapshot, width: int) -> Iterator[RenderableType]:
    values = cost_section.context(snapshot)
    yield _title(f"Cost today {values['spent']}")
    rows = [_budget_line(row, row.ends_at, row.state.refused, snapshot.now) for row in values["budgets"][:MAX_BUDGETS]]
    rows += [_budget_line(row, row.state.resets_at, 0, snapshot.now) for row in values["plans"][:MAX_BUDGETS]]
    if rows:
        yield table(("budget or plan", "", "used", "resets"), rows, width)


def _refused(snapshot: PageSnapshot) -> Iterator[RenderableType]:
    if text := describe_refused(snapshot.sources.get("refused", ())):
        yield plain(f"\n{text} (openfall keys refused)", "yellow")


def _budget_line(row: BudgetRow | PlanRow, ends_at: float | None, refused: int, now: float) -> tuple[str, ...]:
    calls = f", {refused:,} {'call' if refused == 1 else 'calls'} refused" if refused else ""
    resets = "never" if ends_at is None else f"in {format_age(max(0.0, ends_at - now))}"
    bar = _bar(row.percent / 100) if isinstance(row, BudgetRow) or row.is_known else ""
    return row.name, bar, row.text + calls, resets


def _jobs(snapshot: PageSnapshot, width: int) -> Iterator[RenderableType]:
    jobs = snapshot.sources["jobs"].jobs
    if not jobs:
        return
    columns = ["job", "state", "for", "model", "took", "cost", "why this model"]
    rows = [
        [
            short_id(row.job.id),
            row.outcome,
            f"{row.job.role or '-'}/{row.job.urgency or '-'}",
            row.model,
            "-" if row.job.took_seconds is None else f"{row.job.took_seconds:.1f}s",
            row.cost,
            row.job.why,
        ]
        for row in job_rows(jobs)
    ]
    if not fits(columns, rows, width):
        columns, rows = columns[:NARROW_JOB_COLUMNS], [row[:NARROW_JOB_COLUMNS] for row in rows]
    yield _title("Recent jobs")
    yield table(columns, rows, width)
