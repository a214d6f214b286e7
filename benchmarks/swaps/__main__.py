"""Which models a card loads and evicts: `python -m benchmarks.swaps`.

Real workers before an Ollama look-alike with a memory, thirty times as fast as life, with a card and without (about
eight minutes; `--quick` three), beside the simulated rules; with `--sim` our rule and those of llama-swap and Ollama in
a simulator alone, on longer traces, beside our rule with foresight and a proven bound. Exits with 1 when a promise is
broken.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.swaps import real_runs
from benchmarks.swaps.job_traces import TRACES
from benchmarks.swaps.simulated_runs import FLOODS, LLAMA_SWAP, OURS, RULES, Experiment, Measured, run_all
from benchmarks.swaps.swap_promises import CLOUD_TRACES, Figures, Promise, promises, real_promises
from benchmarks.table import WIDTH, readable

BOTS_SEEDS = 12
"""The ends of this trace differ by seconds in three hours: fewer seeds would not show the difference."""
QUICK_TRACES = ("night", "abab", "bots")


def experiments(traces: Sequence[str], seeds: int, azure: Path | None) -> list[Experiment]:
    """Every rule on every trace; the longest runs first."""
    names = [*traces, *(("azure",) if azure is not None and traces == list(TRACES) else ())]
    some = [(trace, rule) for trace in names for rule in RULES]
    if "studio" in traces:
        some += [(trace, OURS) for trace in (*FLOODS, *CLOUD_TRACES)]
    planned = [Experiment(trace, rule, seed, azure) for seed in range(1, seeds + 1) for trace, rule in some]
    if "bots" in traces:
        more = range(seeds + 1, BOTS_SEEDS + 1)
        planned += [Experiment("bots", rule, seed) for seed in more for rule in (LLAMA_SWAP, OURS)]
    return planned


@click.command()
@click.option("--sim", is_flag=True, help="Simulate, instead of running workers.")
@click.option("--quick", is_flag=True, help="Few traces, once.")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(min=1), help="Simulations of each trace.")
@click.option("--traces", help=f"Only these, with a comma between. Simulated: {', '.join(TRACES)}.")
@click.option("--azure", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Folder with conv.csv and code.csv of Azure's LLM inference traces.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def main(  # noqa: PLR0913 - the options of a command
    sim: bool, quick: bool, seeds: int, traces: str | None, azure: Path | None, as_json: bool
) -> None:
    """Compare what cards load by our rule and by others'."""
    known = TRACES if sim else real_runs.QUICK_TRACES if quick else real_runs.TRACES
    chosen = list(QUICK_TRACES if sim and quick else known) if traces is None else traces.split(",")
    if unknown := [name for name in chosen if name not in known]:
        raise click.BadParameter(f"unknown trace {unknown[0]!r}. Known: {', '.join(known)}", param_hint="--traces")
    if sim:
        figures = run_all(experiments(chosen, 1 if quick else seeds, azure))
        kept = promises(figures)
    else:
        figures = real_runs.run_all(chosen, Console(stderr=True), quick=quick)
        kept = real_promises(figures)
    show(figures, kept, as_json)
    sys.exit(0 if all(promise.kept for promise in kept) else 1)


def show(figures: Figures, kept: Sequence[Promise], as_json: bool) -> None:
    """Print the figures, trace by trace, and the promises."""
    if as_json:
        rows = [{"trace": trace, "rule": rule, **asdict(each)} for (trace, rule), each in figures.items()]
        checked = [{**asdict(promise), "kept": promise.kept} for promise in kept]
        click.echo(json.dumps({"runs": rows, "promises": checked}, indent=2))
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(_table(figures))
    for promise in kept:
        word = "kept  " if promise.kept else "BROKEN"
        console.print(f"{word} {promise.text}: {readable(promise.figure)} (at most {readable(promise.limit)})",
                      style="" if promise.kept else "red", highlight=False)  # fmt: skip


def _table(figures: Figures) -> Table:
    table = Table(box=None)
    columns = ("trace", "rule", "loads", "end", "x bound", "batch end", "people p50", "p95", "longest", "late",
               "backgr. p95", "too late", "put back", "left")  # fmt: skip
    for column in columns:
        table.add_column(column, justify="left" if column in ("trace", "rule") else "right")
    before = ""
    for (trace, rule), each in figures.items():
        table.add_row(trace if trace != before else "", rule, *_cells(each))
        before = trace
    return table


def _cells(each: Measured) -> list[str]:
    people, background, batch = each.waits
    bound = f"{each.end_seconds / each.bound_seconds:.3f}" if each.bound_seconds else "-"
    return [
        f"{each.loads:.0f}", f"{each.end_seconds:,.0f}", bound, f"{each.batch_end_seconds:,.0f}", f"{people.p50:,.0f}",
        f"{people.p95:,.0f}", f"{people.longest:,.0f}", f"{people.late:.0%}", f"{background.p95:,.0f}",
        f"{background.past_deadline:.0%} {batch.past_deadline:.0%}", f"{each.put_back:.0f}", f"{each.left:.0%}",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
