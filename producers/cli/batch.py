"""`openfall batch`: answers a file of requests into an output file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from openfall.producers.amount_text import format_cost, plural
from openfall.producers.cli.batch_status import cancel_batch, list_batches, retry_batch, show_status
from openfall.producers.cli.event_loop import run_async
from openfall.producers.cli.exit_codes import INTERRUPTED, LINES_FAILED
from openfall.producers.cli.options import common_options, config_path, open_client, route_options
from openfall.producers.cli.progress import Progress
from openfall.producers.cli.terminal import print_line, show_json, wants_json
from openfall.producers.client import AsyncOpenfall
from openfall.producers.local_batches.batch_file_lines import check_regular, count_requests
from openfall.producers.local_batches.batch_plan import BatchPlan, BatchTally
from openfall.producers.local_batches.batch_run import BatchRun
from openfall.producers.local_batches.journal_reopening import reopen
from openfall.producers.local_batches.output_journal import Journal, JournalState, read_journal
from openfall.producers.local_batches.saved_plans import save_plan
from openfall.producers.shell_command import shell_command

MAX_NOTICES = 20
"""Invalid lines that are printed. The output file has those with a `custom_id`, `--json` all of them."""


@click.group()
def batch() -> None:
    """Run a file of requests (OpenAI Batch JSONL). The jobs continue in Redis after this command ends."""


for command in (list_batches, show_status, cancel_batch, retry_batch):
    batch.add_command(command)


@batch.command("run", short_help="Answer every request of a file.")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "out",
    metavar="OUT",
    required=True,
    type=click.Path(path_type=Path),
    help="File of the answers. The same command continues from it.",
)
@route_options("role", "task", "group", "local_only")
@click.option("-u", "--urgency", help="interactive, background or batch. Default: batch.")
@click.option(
    "--name", help="Name of the batch. Default: OUT without its extension. The same name joins existing jobs."
)
@click.option("--limit", type=click.IntRange(min=1), help="Run only the first N lines.")
@click.option("--retry-failed", is_flag=True, help="Run failed lines again.")
@click.option("--retry-edited", is_flag=True, help="Run lines again whose prompt has changed since they were answered.")
@click.option("--dry-run", is_flag=True, help="Check every line, submit nothing.")
@common_options
def run_(source: Path, out: Path, dry_run: bool, **options: Any) -> None:
    """Answer every request of IN. Each answer is one line in OUT.

    \b
    IN has one request in each line:
      {"custom_id": "panel-140", "body": {"model": "tags", "messages": [{"role": "user", "content": "..."}]}}

    `model` is a role, task or model of the configuration. Each custom_id is used once.

    Run the same command again to continue: it skips the answers in OUT and joins running jobs. The options for role,
    task, group and urgency hold for all lines. Without -u a line is batch, or has its own "urgency" beside "body". The
    service_tier values priority, default and flex mean interactive, background and batch.
    """
    plan = BatchPlan(source=source, name=options.pop("name") or out.stem, **options)
    lines = _check_files(source, out)
    if dry_run:
        code = run_async(_dry_run(plan, out))
        raise click.exceptions.Exit(code)
    run = _Run(plan, out, min(lines, plan.limit or lines))
    try:
        tally = run_async(run.run())
    except KeyboardInterrupt:
        run.describe_rest()
        raise click.exceptions.Exit(INTERRUPTED) from None
    except Exception:
        if run.batch_run is not None:
            run.describe_rest()
        raise
    raise click.exceptions.Exit(_report(tally, source, out))


def _check_files(source: Path, out: Path) -> int:
    """The number of lines to run."""
    if str(out) == "-":
        raise click.UsageError(
            "OUT cannot be standard output, because a resumed run reads it again: name a file (-o out.jsonl)"
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


async def _dry_run(plan: BatchPlan, out: Path) -> int:
    """Check the lines against the configuration, without Redis."""
    batch_run = BatchRun(AsyncOpenfall("redis://nowhere", config=config_path()), plan, read_journal(out))
    batch_run.on_notice = _notice_printer()
    batch_run.check_options()
    tally = batch_run.check()
    if wants_json():
        show_json(_tally_json(tally))
    new = tally.total - tally.settled
    print_line(
        f"{plural(tally.total, 'line')}: {new:,} to run, {tally.answered_before:,} answered before, "
        f"{tally.failed:,} invalid or failed"
    )
    return 0 if tally.all_answered else LINES_FAILED


@dataclass(slots=True)
class _Run:
    """A run of a batch of `lines` lines, and what is known of it when it is interrupted."""

    plan: BatchPlan
    out: Path
    lines: int
    batch_run: BatchRun | None = None

    async def run(self) -> BatchTally:
        """Answer the lines."""
        async with open_client() as llm:
            BatchRun(llm, self.plan, JournalState()).check_options()  # before OUT is made or changed
            with Journal(self.out) as journal:
                self.batch_run = BatchRun(llm, self.plan, reopen(journal, self.plan))
                if why := save_plan(llm.config.settings.data_dir, self.plan, self.out):
                    print_line(f"warning: {why}")
                with Progress("done", self.lines) as progress:
                    _connect(self.batch_run, progress)
                    return await self.batch_run.run(journal)

    def describe_rest(self) -> None:
        """Print what an interrupted run has submitted and what not, and how to continue."""
        if self.batch_run is None:
            print_line("\nno line was submitted")
            return
        waiting, tally = self.batch_run.in_queue, self.batch_run.tally
        rest = self.lines - waiting - tally.settled
        text = (
            f"\n{waiting:,} of {plural(self.lines, 'line')} are submitted and have no result yet: their jobs continue"
        )
        text += f"; {rest:,} not submitted" if rest > 0 else "; no line is left to submit"
        print_line(f"{text}. {self.out} has {tally.answered_before + tally.answered:,} answers.")
        todo = "submits the rest and collects the answers" if rest > 0 else "collects the answers"
        print_line(f"Run the same command again to continue: it {todo}.")
        print_line(f"To end the jobs: {shell_command('openfall batch cancel', str(self.out))}")


def _connect(batch_run: BatchRun, progress: Progress) -> None:
    """Show the progress of a run, and its first notices."""
    started = time.monotonic()

    def on_progress() -> None:
        tally = batch_run.tally
        rate = (tally.answered + tally.failed) / max(0.001, time.monotonic() - started)
        waiting = "".join(f", {text}" for text in (tally.wait_reason, tally.blockage) if text)
        progress.update(tally.settled, f"{rate:.1f}/s, {tally.failed:,} failed{waiting}")

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
            write("... and more: further notices are not printed. --json lists every such line (`bad_lines`, `edited`)")

    return on_notice


def _report(tally: BatchTally, source: Path, out: Path) -> int:
    if wants_json():
        show_json(_tally_json(tally))
    print_line(f"{tally.outcome}: {out}")
    if tally.answered:
        fallbacks = f", {tally.fallbacks} by a fallback model" if tally.fallbacks else ""
        print_line(f"this run: {format_cost(tally.usd, tally.unpriced)}{fallbacks}")
    if tally.lost:
        jobs = plural(tally.lost, "job")
        print_line(f"Redis no longer knows {jobs}: run the same command again to submit the lines again")
    if tally.edited:
        lines = plural(len(tally.edited), "line")
        print_line(
            f"{lines} answered with another prompt than now: --retry-edited removes the answers and runs them again"
        )
    if tally.invalid:
        lines = plural(len(tally.invalid), "line")
        print_line(f"{lines} invalid: correct them in {source}, then run the same command again")
    if tally.errors:
        print_line(f"failed now: {', '.join(f'{count:,} {code}' for code, count in tally.errors.most_common())}")
    if tally.failed > len(tally.invalid):
        print_line("to run the failed lines again, use the same command with --retry-failed")
    return 0 if tally.all_answered else LINES_FAILED


def _tally_json(tally: BatchTally) -> dict[str, Any]:
    names = ("total", "answered_before", "answered", "failed", "lost", "fallbacks", "usd", "unpriced")
    options = {name: getattr(tally, name) for name in names}
    bad_lines = [{"line": bad.number, "reason": bad.reason} for bad in tally.invalid]
    edited = [{"line": line.number, "custom_id": line.custom_id} for line in tally.edited]
    return {**options, "bad_lines": bad_lines, "edited": edited}
