"""The submitter of a torture run, a process of its own: it writes down each id whose receipt it has in its hands.

Jobs are spread evenly over `--seconds`. Lines added to `--asked` are the ids of extra jobs for the queue of the aimed
kills; the line `end` says that no more will come. A job that Redis did not confirm is sent again under the same id.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import click
import uvloop

from openfall.router_core.jobs.job import (
    CompletionJob,
)
from openfall.router_core.state.errors import StoreUnreachable
from openfall.router_core.state.jobs import JobStore, SubmitTerms
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import (
    Urgency,
)

MODELS = ("coder", "writer")
AIMED = "aim"
GIVE_UP = 3600.0
KEEP = 86400.0
END = "end"
AGAIN = 0.1
LOOK = 0.02
"""Seconds before a resend, and between two looks at what was asked for."""


@dataclass
class Submitter:
    """Accepts jobs and keeps the receipts."""

    intake: JobStore
    receipts: int
    resent: int = 0

    async def submit(self, job: CompletionJob, pool: str) -> None:
        """Send a job until it is confirmed, then write its id down."""
        terms = SubmitTerms(
            queue=f"{pool}.{job.chain[0]}.{job.urgency}", expires_after_seconds=GIVE_UP, keep_seconds=KEEP
        )
        while True:
            try:
                accepted = await self.intake.accept(job, terms)
                break
            except StoreUnreachable:
                self.resent += 1
                await asyncio.sleep(AGAIN)
        os.write(self.receipts, f"{accepted.id}\n".encode())


def make(job_id: str, chain: tuple[str, ...], urgency: Urgency) -> CompletionJob:
    """A small job whose words name it."""
    body = {"messages": [{"role": "user", "content": job_id}], "metadata": {"job": job_id}}
    return CompletionJob(id=job_id, producer="torture", chain=chain, body=body, urgency=urgency)


async def steady(submitter: Submitter, count: int, seconds: float) -> None:
    """Submit `count` jobs, evenly over `seconds`, in turn to every queue."""
    lanes = [(model, urgency) for urgency in Urgency for model in MODELS]
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number * seconds / count - time.monotonic()))
            model, urgency = lanes[number % len(lanes)]
            chain = (model, *(other for other in MODELS if other != model))
            group.create_task(submitter.submit(make(f"job-{number:08}", chain, urgency), "gpu"))


async def asked_for(submitter: Submitter, asked: Path) -> None:
    """Submit what is asked for besides, until the end is told."""
    async with asyncio.TaskGroup() as group:
        async for job_id in _lines(asked):
            group.create_task(submitter.submit(make(job_id, (AIMED,), Urgency.INTERACTIVE), AIMED))


async def _lines(path: Path) -> AsyncIterator[str]:
    told = 0
    while True:
        lines = path.read_text().splitlines()  # noqa: ASYNC240 - a few lines
        for line in lines[told:]:
            if line == END:
                return
            yield line
        told = len(lines)
        await asyncio.sleep(LOOK)


async def run(url: str, accepted: Path, asked: Path, pace: tuple[int, float]) -> None:
    """Submit everything; returns when every job has its receipt."""
    receipts = os.open(accepted, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        async with RedisConnection(url) as link:
            submitter = Submitter(JobStore(link), receipts)
            async with asyncio.TaskGroup() as group:
                group.create_task(steady(submitter, *pace))
                group.create_task(asked_for(submitter, asked))
            click.echo(f"resent {submitter.resent}")
    finally:
        os.close(receipts)


@click.command()
@click.option("--url", required=True)
@click.option("--accepted", required=True, type=click.Path(path_type=Path))
@click.option("--asked", required=True, type=click.Path(path_type=Path))
@click.option("--jobs", required=True, type=int)
@click.option("--seconds", required=True, type=float)
def main(url: str, accepted: Path, asked: Path, jobs: int, seconds: float) -> None:
    """Submit jobs and write down the accepted ids."""
    uvloop.run(run(url, accepted, asked, (jobs, seconds)))


if __name__ == "__main__":
    main()
