"""The results of a night: three tables, a page to read, and the answers as OpenAI Batch lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median

from pydantic_core import to_json
from rich.table import Table

from examples.night import Line, Night
from examples.outage import Outage
from openfall.producers.local_batches.batch_file_lines import answer_row
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
        wait_texts = (f"{median(waits):.1f} s", f"{max(waits):.1f} s") if waits else ("-", "-")
        table.add_row(urgency, str(accepted), str(len(waits)), *wait_texts)
    return table


def by_model(night: Night) -> Table:
    """Answers, tokens and tokens per second of each model. The rate is over the whole night, so that rows add up."""
    table = Table(title="answers, by model", title_justify="left", title_style="bold")
    table.add_column("model@backend")
    for name in ("answered", "tokens", "tokens/s"):
        table.add_column(name, justify="right")
    seconds = night.ended - night.begun
    answered = [result for _, result in _answers(night) if result.answered]
    served_by = sorted({f"{result.model}@{result.backend}" for result in answered})
    for name in served_by:
        mine = [result for result in answered if f"{result.model}@{result.backend}" == name]
        table.add_row(name, str(len(mine)), str(_tokens(mine)), f"{_tokens(mine) / seconds:.0f}")
    table.add_section()
    table.add_row("all", str(len(answered)), str(_tokens(answered)), f"{_tokens(answered) / seconds:.0f}")
    return table


def summary(night: Night) -> str:
    """The last line about the night: what was promised and what was kept."""
    answered, lost = len(night.results) - len(night.unanswered), len(night.lost)
    slowest = f" (within {max(night.taken_over.values()):.1f} s)" if night.taken_over else ""
    failure = night.engine_failure
    recovered = f", a failed engine back after {failure.closed:.0f} s" if failure and failure.closed else ""
    return (
        f"{len(night.accepted)} accepted, {answered} answered in {night.ended - night.begun:.0f} s, "
        f"{len(night.taken_over)} taken over from the killed worker{slowest}{recovered}, "
        f"[bold {'red' if lost else 'green'}]{lost} lost[/]"
    )


def job_account(night: Night) -> Table:
    """Every accepted job is in exactly one of the columns."""
    table = Table(title="where every job is", title_justify="left", title_style="bold")
    table.add_column("")
    for name in ("accepted", "answered", "replayed", "held", "lost"):
        table.add_column(name, justify="right")
    outage = night.outage or Outage()
    accepted, lost = len(outage.accepted), len(outage.lost)
    rows = {
        "the night": (len(night.accepted), len(night.results) - len(night.unanswered), 0, 0, len(night.lost)),
        "engines away": (accepted, outage.answered - outage.replayed, outage.replayed, outage.still_held, lost),
    }
    for name, counts in rows.items():
        table.add_row(name, *map(str, counts))
    table.add_section()
    table.add_row("all", *(str(sum(column)) for column in zip(*rows.values(), strict=True)))
    return table


def outage_summary(night: Night) -> str:
    """The last line about the outage of both engines."""
    outage = night.outage
    if outage is None or outage.back is None or outage.degraded_after is None or outage.ended is None:
        return "[red]both engines away: the outage did not reach its end[/]"
    lost = len(outage.lost)
    return (
        f"both engines away for {outage.back:.0f} s: {len(outage.accepted)} accepted meanwhile, interim reply after "
        f"{outage.degraded_after:.2f} s, {len(outage.held)} held, {outage.replayed} replayed and answered "
        f"{outage.ended - outage.back:.0f} s later, [bold {'red' if lost else 'green'}]{lost} lost[/]"
    )


def gateway_summary(night: Night) -> str:
    """The last line about the kill of the gateway."""
    act = night.gateway_kill
    if act is None or not act.survived:
        return "[red]the gateway: its act did not reach its end[/]"
    return (
        f"the HTTP gateway killed: back after {act.back:.1f} s, its request in the background answered, "
        "[bold green]0 lost[/]"
    )


def switch_summary(night: Night) -> str:
    """The last line about the card."""
    act = night.model_switch
    if act is None or not act.shown:
        return "[red]the card: its act did not reach its end[/]"
    return (
        f"one card, two models: a caller was answered {act.answered_after:.1f} s after the batch was put back, "
        "[bold green]0 lost[/]"
    )


def write_page(night: Night, path: Path) -> None:
    """Write prompts and answers as Markdown, grouped by kind."""
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
    """Write one OpenAI Batch line per job, in the order of the input."""
    rows = [answer_row(result.id, line.custom_id, result) for line, result in _answers(night)]
    path.write_bytes(b"".join(to_json(row) + b"\n" for row in rows))


def _answers(night: Night) -> Iterable[tuple[Line, Result]]:
    return [(line, night.results[line.custom_id]) for line in night.lines if line.custom_id in night.results]


def _tokens(results: Iterable[Result]) -> int:
    return sum(result.output_tokens or 0 for result in results)


def _entry(line: Line, result: Result) -> str:
    answer = result.text.strip() if result.answered else f"(no answer: {result.error}: {result.detail})"
    quoted = "\n".join(f"> {row}".rstrip() for row in answer.splitlines())
    return f"**{line.prompt}**  \n`{line.custom_id}` {result.model}, {result.output_tokens} tokens\n\n{quoted}\n"
