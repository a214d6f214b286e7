"""Formats values, tables and receipts, and shows a wait indicator."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from openfall.producers.amount_text import format_usd
from openfall.producers.cli.terminal import console, plain, print_line, status_line
from openfall.router_core.jobs.answer_reason import why_this_model
from openfall.router_core.jobs.result import Result

if TYPE_CHECKING:
    from rich.status import Status


SHOWN_ID_LETTERS = 8
_OWN_ID = re.compile("[0-9a-f]{24}(?:[0-9a-f]{8})?")
"""The id of a job, and that of a line of a batch."""

PRINT_INTERVAL_SECONDS = 10.0
"""Between two lines about a wait if there is no terminal."""


def short_id(job_id: str) -> str:
    """An id as a receipt shows it: its first letters, enough for the commands that take one. Of 100,000 jobs hardly two
    share them. An id that a caller chose is shown whole."""
    return job_id[:SHOWN_ID_LETTERS] if _OWN_ID.fullmatch(job_id) else job_id


def receipt(result: Result) -> str:
    """`[8f21c6d0 generated using coder-32b@tower (local) in 2.9s, 41+38 tok, $0.0004 · 1st in role worker, loaded]`"""
    parts = [f"{short_id(result.id)} {_who(result)}in {result.took:.1f}s"]
    if result.output_tokens is not None:
        parts.append(f"{'?' if result.input_tokens is None else result.input_tokens}+{result.output_tokens} tok")
    if result.finish_reason == "length":
        parts.append("cut off at its limit of tokens")
    if result.attempts:
        parts.append(format_usd(result.cost_usd))
    if result.models_tried > 1:
        parts.append(f"{result.models_tried} models tried")
    why = why_this_model(result)
    return f"[{', '.join(parts)}{' · ' + why if why else ''}]"


def _who(result: Result) -> str:
    """Who answered, where, and in place of which model. Empty: no model did."""
    if not result.model:
        return ""
    place = f" ({result.served_by})" if result.served_by else ""
    source = f"{result.model}@{result.backend}{place}"
    if result.fallback_used:
        return f"used {source} instead of {result.first_choice or result.attempts[0].model} "
    return f"generated using {source} "


def describe_failure(result: Result) -> str:
    """Explain why a job has no answer."""
    cause = f" ({result.error})" if result.error and str(result.error) != str(result.status) else ""
    return f"job {result.id} {result.status}{cause}: {result.detail or 'no detail'}"


class WaitIndicator:
    """Shows what a command waits for: a status line in a terminal, else a line when it changes."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._status: Status | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._printed = ""

    async def __aenter__(self) -> WaitIndicator:
        if sys.stderr.isatty():
            self._status = status_line(plain(self._text), console(err=True))
            self._status.start()
        else:
            self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        if self._ticking is not None:
            self._ticking.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticking

    def update(self, text: str) -> None:
        self._text = text
        if self._status is not None:
            self._status.update(plain(text))

    def announce(self, text: str) -> None:
        """Update the text, and print it now if there is no terminal."""
        if self._status is None and text != self._text:
            print_line(text)
            self._printed = text
        self.update(text)

    def stop(self) -> None:
        """Remove the status line before an answer is printed."""
        if self._status is not None:
            self._status.stop()
        if self._ticking is not None:
            self._ticking.cancel()

    async def _tick(self) -> None:
        """Print the text when it has changed. The same text is printed again after 20 s, 40 s ... more."""
        ticks, next_tick = 0, 2
        while True:
            await asyncio.sleep(PRINT_INTERVAL_SECONDS)
            ticks += 1
            if self._text != self._printed:
                self._printed, ticks, next_tick = self._text, 0, 2
            elif ticks < next_tick:
                continue
            else:
                ticks, next_tick = 0, 2 * next_tick
            print_line(self._printed)
