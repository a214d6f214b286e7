"""`openfall ask`: prints the answer to standard output and its receipt to standard error."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

import click

from openfall.producers.cli.answer_text import show_answer
from openfall.producers.cli.event_loop import run_async
from openfall.producers.cli.options import common_options, job_options, open_client, read_text, submit_options
from openfall.producers.cli.render import WaitIndicator
from openfall.producers.cli.submission import Submission
from openfall.producers.cli.terminal import echo, print_line, raw_option, wants_json
from openfall.producers.cli.time_options import DURATION
from openfall.producers.cli.wait_hint import HINT_DELAY_SECONDS, explain_wait
from openfall.producers.client import AsyncOpenfall
from openfall.producers.errors import StillQueued
from openfall.producers.job_event_text import describe_event, is_news
from openfall.producers.job_request import SubmitOptions, parse_duration
from openfall.producers.job_stream import interim_reply
from openfall.producers.refused_keys import explain_refused_keys
from openfall.producers.stream_event import StreamEvent
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.errors import LostJob, StoreError
from openfall.router_core.state.jobs import Receipt
from openfall.router_core.vocabulary import RELEASED_BY_ITSELF


@dataclass(slots=True)
class _Mode:
    """How to request and print the answer of one job."""

    stream: bool
    wait: str | None
    strict: bool
    submission: Submission = field(default_factory=Submission)
    keys_named: bool = False
    written: list[str] = field(default_factory=list)


@click.command()
@click.argument("text")
@job_options
@click.option(
    "--wait", type=DURATION, help="Maximum wait. Then exits with 7; the job continues. Default: until the job ends."
)
@click.option(
    "--stream/--no-stream", default=None, help="Print the answer while it is generated. Default: in a terminal."
)
@raw_option
@click.option("--strict", is_flag=True, help="Exit with 6 unless the first model of the chain answered.")
@common_options
def ask(text: str, **options: Any) -> None:
    """Ask one question and print the answer. TEXT is the prompt, or - for standard input.

    If no model can answer an interactive job now, prints the interim reply and exits; the job continues. The same if a
    job is held until an operator replays it. Ctrl-C stops the wait, not the job.
    """
    stream = options.pop("stream")
    mode = _Mode(
        stream=(sys.stdout.isatty() if stream is None else stream) and not wants_json(),
        **{name: options.pop(name) for name in ("wait", "strict")},
    )
    submit = submit_options(options)
    submit["stream"] = mode.stream
    with mode.submission.explain_interrupt():
        result = run_async(_ask(read_text(text), submit, mode))
    code = show_answer(result, strict=mode.strict, streamed="".join(mode.written))
    raise click.exceptions.Exit(code)


async def _ask(prompt: str, options: SubmitOptions, mode: _Mode) -> Result:
    timeout = None if mode.wait is None else parse_duration(mode.wait, "--wait")
    async with open_client() as llm:
        job = await mode.submission.submit(llm, prompt, **options)
        try:
            async with asyncio.timeout(timeout), WaitIndicator("submitted") as indicator:
                try:
                    return await _follow(llm, job, mode, indicator)
                except LostJob:
                    indicator.announce(f"Redis has lost job {job.id}: submitted again")
                    await mode.submission.submit(llm, prompt, **options)
                    _write({"event": "reset", "cursor": 0}, mode, indicator)
                    return await _follow(llm, job, mode, indicator)
        except TimeoutError:
            raise StillQueued(job.id) from None


async def _follow(llm: AsyncOpenfall, job: Receipt, mode: _Mode, indicator: WaitIndicator) -> Result:
    hint = asyncio.create_task(_hint(llm, mode))
    try:
        async with aclosing(llm.stream(job, deltas=mode.stream)) as events:
            async for event in events:
                describe = indicator.announce if is_news(event) else indicator.update
                describe(describe_event(event))
                if event["event"] == "started":
                    hint.cancel()
                if event["event"] == "fallen" or (event["event"] == "done" and not event["result"].answered):
                    await _print_refused_keys(llm, mode)
                if mode.stream:
                    _write(event, mode, indicator)
                if (result := await _end(llm, mode, event)) is not None:
                    return result
    finally:
        hint.cancel()
        with suppress(asyncio.CancelledError):
            await hint
    raise RuntimeError("the event stream ended without `done`")


async def _print_refused_keys(llm: AsyncOpenfall, mode: _Mode) -> None:
    """Name the keys that kept a job from its answer, once: a wait does not help, and their owner corrects them."""
    if mode.keys_named:
        return
    with suppress(StoreError):
        for line in await explain_refused_keys(llm, mode.submission.job_id):
            mode.keys_named = True
            print_line(line)


async def _end(llm: AsyncOpenfall, mode: _Mode, event: StreamEvent) -> Result | None:
    """The result if the job has ended. The interim reply if it is held, and is interactive or waits for an operator."""
    if event["event"] == "done":
        return event["result"]
    if event["event"] != "held":
        return None
    needs_operator = event["reason"] not in RELEASED_BY_ITSELF
    return await interim_reply(llm.store.jobs, mode.submission.job_id, needs_operator)


def _write(event: StreamEvent, mode: _Mode, indicator: WaitIndicator) -> None:
    """Print a delta. After a `reset` the printed text stays on the screen, marked as interrupted."""
    if event["event"] == "delta":
        indicator.stop()
        mode.written.append(event["text"])
        echo(event["text"], nl=False)
    elif event["event"] == "reset" and mode.written:
        mode.written.clear()
        echo()
        print_line("[interrupted: the answer starts again]")


async def _hint(llm: AsyncOpenfall, mode: _Mode) -> None:
    """Print why the job waits."""
    await asyncio.sleep(HINT_DELAY_SECONDS)
    with suppress(StoreError):
        if why := await explain_wait(llm, mode.submission.job_id):
            print_line(why)
            await _print_refused_keys(llm, mode)
