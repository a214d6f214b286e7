"""`openfall batch`: answers a file of requests into an output file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openfall.producers.cli.options import common_options, open_client, route_options, with_client
from openfall.producers.cli.progress import Progress
from openfall.producers.cli.render import format_cost, plural
from openfall.producers.cli.terminal import echo, pad_all, print_line, show_json

if TYPE_CHECKING:
    from openfall.producers.batch.journal import JournalState
    from openfall.producers.batch.run import BatchPlan, BatchRun, BatchTally
    from openfall.producers.client import AsyncOpenfall

MAX_NOTICES = 20
"""Invalid lines that are printed. The output file has all of them."""


@click.group()
def batch() -> None:
    """Run a file of requests (OpenAI Batch JSONL). The jobs continue in Redis after this command ends."""


@batch.command("run", short_help="Answer every request of a file.")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.option("-o", "--output", "out", metavar="OUT", required=True, type=click.Path(path_type=Path))
@route_options("role", "task", "group", "local_only", "urgency")
@click.option(
    "--name", help="Name of the batch. Default: OUT without its extension. The same name joins existing jobs."
)
@click.option("--limit", type=click.IntRange(min=1), help="Run only the first N lines.")
@click.option("--retry-failed", is_flag=True, help="Run failed lines again.")
@click.option("--dry-run", is_flag=True, help="Check every line, submit nothing.")
@common_options
def run_(source: Path, out: Path, config_path: Path | None, as_json: bool, dry_run: bool, **options: Any) -> None:
    """Answer every request of IN. Each answer is one line in OUT.

    Run the same command again to continue: it skips the answers in OUT and joins running jobs. The options for role,
    task, group and urgency hold for all lines. Without -u a line may have its own "urgency" beside "body". The
    service_tier values priority, default and flex mean interactive, background and batch.
    """
    from openfall.producers.batch.run import BatchPlan

    plan = BatchPlan(source=source, name=options.pop("name") or out.stem, **options)
    lines = _check_files(source, out)
    if dry_run:
        code = asyncio.run(_dry_run(plan, out, config_path, as_json))
        raise click.exceptions.Exit(code)
    try:
        tally = asyncio.run(_run(plan, lines, out, config_path))
    except KeyboardInterrupt:
        print_line(f"\nthe jobs continue, and {out} keeps its rows. Run the same command again to continue.")
        raise click.exceptions.Exit(130) from None
    raise click.exceptions.Exit(_report(tally, out, as_json))


def _check_files(source: Path, out: Path) -> int:
    """The number of lines to run."""
    from openfall.producers.batch.files import check_regular, count_requests

    if str(out) == "-":
        raise click.UsageError(
            "OUT cannot be standard output, for it is read again to go on: name a file (-o out.jsonl)"
        )
    check_regular(source, "IN")
    check_regular(out, "OUT")
    try:
        lines = count_requests(source)
    except OSError as error:
        raise click.UsageError(f"{source} cannot be read: {error.strerror}") from None
    if out.exists() and out.samefile(source):
        raise click.UsageError(f"{out} is the input: name another file with -o")
    if not lines:
        print_line(f"warning: {source} is empty: there is no request to run")
    return lines


async def _dry_run(plan: BatchPlan, out: Path, config_path: Path | None, as_json: bool) -> int:
    """Check the lines against the configuration, without Redis."""
    from openfall.producers.batch.journal import read_journal
    from openfall.producers.batch.run import BatchRun
    from openfall.producers.client import AsyncOpenfall

    batch_run = BatchRun(AsyncOpenfall("redis://nowhere", config=config_path), plan, read_journal(out))
    batch_run.on_notice = _notice_printer()
    batch_run.check_options()
    tally = batch_run.check()
    if as_json:
        show_json(_tally_json(tally))
    new = tally.total - tally.settled
    print_line(
        f"{plural(tally.total, 'line')}: {new} to run, {tally.answered_before} answered before, "
        f"{tally.failed} invalid or failed"
    )
    return 0 if tally.all_answered else 5


async def _run(plan: BatchPlan, lines: int, out: Path, config_path: Path | None) -> BatchTally:
    from openfall.producers.batch.journal import Journal, JournalState
    from openfall.producers.batch.run import BatchRun

    async with open_client(config_path) as llm:
        BatchRun(llm, plan, JournalState()).check_options()  # before OUT is made or changed
        with Journal(out) as journal:
            journal_state = journal.state
            if plan.retry_failed:
                journal.remove_failures()
            _save_plan(llm.config.settings.data_dir, plan, out)
            batch_run = BatchRun(llm, plan, journal_state)
            with Progress("done", min(lines, plan.limit or lines)) as progress:
                _connect(batch_run, progress)
                return await batch_run.run(journal)


def _connect(batch_run: BatchRun, progress: Progress) -> None:
    """Show the progress of a run, and its first notices."""
    started = time.monotonic()

    def on_progress() -> None:
        tally = batch_run.tally
        rate = (tally.answered + tally.failed) / max(0.001, time.monotonic() - started)
        waiting = "".join(f", {text}" for text in (tally.wait_reason, tally.outage) if text)
        progress.update(tally.settled, f"{rate:.1f}/s, {tally.failed} failed{waiting}")

    batch_run.on_progress = on_progress
    batch_run.on_notice = _notice_printer(progress.print)


def _notice_printer(write: Callable[[str], None] = print_line) -> Callable[[str], None]:
    count = 0

    def on_notice(text: str) -> None:
        nonlocal count
        count += 1
        if count <= MAX_NOTICES:
            write(text)
        elif count == MAX_NOTICES + 1:
            write("... and more: further notices are not printed, the output file has every error")

    return on_notice


def _report(tally: BatchTally, out: Path, as_json: bool) -> int:
    if as_json:
        show_json(_tally_json(tally))
    before = f" ({tally.answered_before} of them earlier)" if tally.answered_before else ""
    print_line(
        f"{tally.answered + tally.answered_before} of {tally.total} answered{before}, {tally.failed} failed: {out}"
    )
    if tally.answered:
        fallbacks = f", {tally.fallbacks} by a fallback model" if tally.fallbacks else ""
        print_line(f"this run: {format_cost(tally.usd, tally.unpriced)}{fallbacks}")
    if tally.lost:
        jobs = plural(tally.lost, "job")
        print_line(f"Redis no longer knows {jobs}: run the same command again to submit the lines again")
    if tally.failed:
        print_line("to run the failed lines again, use the same command with --retry-failed")
    return 0 if tally.all_answered else 5


def _tally_json(tally: BatchTally) -> dict[str, Any]:
    names = ("total", "answered_before", "answered", "failed", "lost", "fallbacks", "usd", "unpriced")
    options = {name: getattr(tally, name) for name in names}
    return {**options, "bad_lines": [{"line": bad.number, "reason": bad.reason} for bad in tally.invalid]}


def _plan_path(data_dir: Path, name: str) -> Path:
    return data_dir / "batches" / f"{name}.json"


def _save_plan(data_dir: Path, plan: BatchPlan, out: Path) -> None:
    """Save what `batch status NAME` needs. If the directory is not writable, only that command fails."""
    from pydantic_core import to_json

    saved = {"source": plan.source.resolve(), "out": out.resolve(), **plan.options}
    path = _plan_path(data_dir, plan.name)
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(to_json({**saved, "limit": plan.limit}))


@batch.command("status", short_help="Show the progress of a batch.")
@click.argument("name", metavar="OUT|NAME")
@common_options
def status_(name: str, config_path: Path | None, as_json: bool) -> None:
    """Show the progress of a batch. OUT is its output file, NAME its name."""
    values = _status(name, config_path)
    if as_json:
        show_json(values)
        return
    for key, value in zip(pad_all(values), values.values(), strict=True):
        echo(f"{key}  {value}")


def _status(name: str, config_path: Path | None) -> dict[str, Any]:
    from openfall.config import load
    from openfall.producers.batch.journal import read_journal
    from openfall.producers.batch.run import BatchRun

    out, plan = _load_plan(Path(name), load(config_path).settings.data_dir)
    journal_state = read_journal(out)
    if plan is None:
        return {"output": str(out), **_journal_json(journal_state)}

    async def fetch_states(llm: AsyncOpenfall) -> tuple[dict[str | None, int], int, str]:
        batch_run = BatchRun(llm, plan, journal_state)
        states = await batch_run.count_states()
        return states, batch_run.tally.total, await batch_run.describe_outage() if states else ""

    states, total, outage = with_client(config_path, fetch_states)
    waiting = {state or "not submitted": number for state, number in states.items()}
    values = {"output": str(out), "lines": total, **_journal_json(journal_state), **waiting}
    return {**values, "outage": outage} if outage else values


def _load_plan(name: Path, data_dir: Path) -> tuple[Path, BatchPlan | None]:
    """The output file of a batch, and its plan if this configuration has one."""
    from pydantic_core import from_json

    from openfall.producers.batch.run import BatchPlan

    path = _plan_path(data_dir, name.stem if name.is_file() else str(name))
    saved = from_json(path.read_bytes()) if path.is_file() else None
    if name.is_file() and (saved is None or Path(saved["out"]) != name.resolve()):
        return name, None
    if saved is None:
        raise click.UsageError(f"no batch {str(name)!r}: name its output file, or the name it was run under")
    saved_out, saved_source = Path(saved.pop("out")), Path(saved.pop("source"))
    return saved_out, BatchPlan(name=path.stem, source=saved_source, **saved)


def _journal_json(journal_state: JournalState) -> dict[str, Any]:
    error_codes = sorted(code for _, code in journal_state.failed.values())
    return {
        "answered": len(journal_state.answered),
        "failed": len(error_codes),
        **{code: error_codes.count(code) for code in set(error_codes)},
    }
