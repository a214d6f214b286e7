"""The job that a command submits. Ctrl-C says whether it was accepted, and how to see and cancel it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Unpack

import click

from openfall.producers.cli.exit_codes import INTERRUPTED
from openfall.producers.cli.terminal import print_line
from openfall.producers.client import AsyncOpenfall
from openfall.producers.job_request import SubmitOptions, new_job_id
from openfall.producers.prompt import Prompt
from openfall.producers.shell_command import shell_command
from openfall.router_core.state.jobs import Receipt


@dataclass(slots=True)
class Submission:
    """One job. It has its id before Redis has it, so that the id is known however the command ends."""

    job_id: str = field(default_factory=new_job_id)
    is_sent: bool = False
    """Redis may have the job."""
    is_accepted: bool = False

    async def submit(self, llm: AsyncOpenfall, prompt: Prompt, **options: Unpack[SubmitOptions]) -> Receipt:
        """Submit it, or submit it again: Redis takes an id once. Raises as `AsyncOpenfall.submit` does."""
        self.is_sent = True
        options["id"] = self.job_id
        receipt = await llm.submit(prompt, **options)
        self.job_id, self.is_accepted = receipt.id, True  # another id: it joined a job by its idempotency key
        return receipt

    @contextmanager
    def explain_interrupt(self) -> Iterator[None]:
        """On Ctrl-C say what became of the job, and exit with 130."""
        try:
            yield
        except KeyboardInterrupt:
            print_line(f"\n{self._describe()}")
            raise click.exceptions.Exit(INTERRUPTED) from None

    def _describe(self) -> str:
        if self.is_accepted:
            return describe_continuing(self.job_id)
        if self.is_sent:
            show = shell_command("openfall job show", self.job_id)
            return f"Redis has not confirmed job {self.job_id}. Whether it was accepted: {show}\n{_cancel(self.job_id)}"
        return "nothing was submitted"


def describe_continuing(job_id: str) -> str:
    """How to get the answer of a job that continues without this command, and how to cancel the job."""
    wait = shell_command("openfall job wait", job_id)
    return f"job {job_id} continues. Its answer: {wait}\n{_cancel(job_id)}"


def _cancel(job_id: str) -> str:
    return f"To cancel it: {shell_command('openfall job cancel', job_id)}"
