"""What a night came to: two tables, a page a person would read, and the answers as OpenAI Batch lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median

from pydantic_core import to_json
from rich.table import Table

from examples.falling import Falling
from examples.night import Line, Night
from openfall.producers.batch.files import answer_row
from openfall.router_core.jobs.result import Result

URGENCIES = ("interactive", "background", "batch")
KINDS: Mapping[str, str] = {
    "dialogue": "Dialogue",
    "scene": "Scenes",
    "sheets": "Character sheets",
    "tags": "Tags",
    "translate": "Subtitles",
}


def by_urgency(night: Night) -> Table:
    """Jobs and waits, the most urgent first."""
    table = Table(title="waits, by urgency", title_justify="left", title_style="bold")
    table.add_column("urgency")
    for name in ("accepted", "answered", "wait p50", "wait max"):
        table.add_column(name, justify="right")
    for urgency in URGENCIES:
        results = [result for line, result in _answers(night) if line.urgency == urgency]
        accepted = sum(line.urgency == urgency for line in night.lines if line.custom_id in night.accepted)
        waits = [result.waited for result in results if result.answered]
        shown = (f"{median(waits):.1f} s", f"{max(waits):.1f} s") if waits else ("-", "-")
        table.add_row(urgency, str(accepted), str(len(waits)), *shown)
    return table


def by_model(night: Night) -> Table:
    """Who answered, and how fast: tokens over the whole night, so that what both wrote adds up."""
    table = Table(title="answers, by model", title_justify="left", title_style="bold")
    table.add_column("model@backend")
    for name in ("answered", "tokens", "tokens/s"):
        table.add_column(name, justify="right")
    seconds = night.ended - night.begun
    answered = [result for _, result in _answers(night) if result.answered]
    served = sorted({f"{result.model}@{result.backend}" for result in answered})
    for name in served:
        mine = [result for result in answered if f"{result.model}@{result.backend}" == name]
        table.add_row(name, str(len(mine)), str(_tokens(mine)), f"{_tokens(mine) / seconds:.0f}")
    table.add_section()
    table.add_row("all", str(len(answered)), str(_tokens(answered)), f"{_tokens(answered) / seconds:.0f}")
    return table


def summary(night: Night) -> str:
    """The last line: what was promised and what was kept."""
    answered = len(night.results) - len(night.unanswered)
    slowest = f" (in at most {max(night.taken_over.values()):.1f} s)" if night.taken_over else ""
    lost = len(night.lost)
    broken = night.breaking
    healed = f", a broken engine passed over and back after {broken.closed:.0f} s" if broken and broken.closed else ""
    return (
        f"{len(night.accepted)} accepted, {answered} answered in {night.ended - night.begun:.0f} s, "
        f"{len(night.taken_over)} taken over from the killed worker{slowest}{healed}, "
        f"[bold {'red' if lost else 'green'}]{lost} lost[/]"
    )


def account(night: Night) -> Table:
    """Every job that was accepted, those that were asked while both engines were away too, is in one of the columns."""
    table = Table(title="where every job is", title_justify="left", title_style="bold")
    table.add_column("")
    for name in ("accepted", "answered", "replayed", "held", "lost"):
        table.add_column(name, justify="right")
    falling = night.falling or Falling()
    asked, lost = len(falling.accepted), len(falling.lost)
    rows = {
        "the night": (len(night.accepted), len(night.results) - len(night.unanswered), 0, 0, len(night.lost)),
        "engines away": (asked, falling.answered - falling.replayed, falling.replayed, falling.still_held, lost),
    }
    for name, counts in rows.items():
        table.add_row(name, *map(str, counts))
    table.add_section()
    table.add_row("all", *(str(sum(column)) for column in zip(*rows.values(), strict=True)))
    return table


def fall_summary(night: Night) -> str:
    """The line on what was asked while both engines were away."""
    falling = night.falling
    if falling is None or falling.back is None or falling.told is None or falling.ended is None:
        return "[red]both engines away: it did not come to its end[/]"
    lost = len(falling.lost)
    return (
        f"both engines away for {falling.back:.0f} s: {len(falling.accepted)} accepted meanwhile, who waited was told "
        f"degraded after {falling.told:.2f} s, {len(falling.held)} held, {falling.replayed} replayed and answered "
        f"{falling.ended - falling.back:.0f} s later, [bold {'red' if lost else 'green'}]{lost} lost[/]"
    )


def write_page(night: Night, path: Path) -> None:
    """Prompts and answers as Markdown, grouped by kind."""
    parts = [
        "# Episode 7, the night run\n",
        "Written by a toy model of 135 million parameters: sentences, not sense.\n",
    ]
    for role, title in KINDS.items():
        mine = [(line, result) for line, result in _answers(night) if line.role == role]
        if mine:
            parts.append(f"## {title}\n")
            parts += [_entry(line, result) for line, result in mine]
    path.write_text("\n".join(parts), encoding="utf-8")


def write_rows(night: Night, path: Path) -> None:
    """One OpenAI Batch line a job, in the order of the input."""
    rows = [answer_row(result.id, line.custom_id, result) for line, result in _answers(night)]
    path.write_bytes(b"".join(to_json(row) + b"\n" for row in rows))


def _answers(night: Night) -> Iterable[tuple[Line, Result]]:
    return [(line, night.results[line.custom_id]) for line in night.lines if line.custom_id in night.results]


def _tokens(results: Iterable[Result]) -> int:
    return sum(result.output_tokens or 0 for result in results)


def _entry(line: Line, result: Result) -> str:
    answer = result.text.strip() if result.answered else f"(no answer: {result.error}: {result.detail})"
    told = "\n".join(f"> {row}".rstrip() for row in answer.splitlines())
    return f"**{line.prompt}**  \n`{line.custom_id}` {result.model}, {result.output_tokens} tokens\n\n{told}\n"
