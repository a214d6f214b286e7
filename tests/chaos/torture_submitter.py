"""The submitter of a torture run, a process of its own: it records each job whose receipt it has.

Jobs are spread evenly over `--seconds`. Lines added to `requested` are the ids of extra jobs for the aimed kills; the
line `end` is the last one. A job that Redis did not confirm is sent again under the same id.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import click
import uvloop

from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.state.errors import StoreUnreachable
from openfall.router_core.state.jobs import JobStore, SubmitTerms
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import Urgency
from tests.chaos.environment import write_line

MODELS = ("coder", "writer")
AIMED = "aim"
EXPIRES_AFTER_SECONDS = 3600.0
KEEP_SECONDS = 86400.0
END = "end"
RETRY_INTERVAL_S = 0.1
POLL_INTERVAL_S = 0.02


@dataclass
class Submitter:
    """Submits jobs and records the receipts."""

    store: JobStore
    accepted: Path
    resent: int = 0

    async def submit(self, job: CompletionJob, pool: str) -> None:
        """Send a job until it is confirmed, then record its id."""
        terms = SubmitTerms(
            queue=f"{pool}.{job.chain[0]}.{job.urgency}",
            expires_after_seconds=EXPIRES_AFTER_SECONDS,
            keep_seconds=KEEP_SECONDS,
        )
        while True:
            try:
                accepted = await self.store.accept(job, terms)
                break
            except StoreUnreachable:
                self.resent += 1
                await asyncio.sleep(RETRY_INTERVAL_S)
        write_line(self.accepted, {"id": accepted.id})


def make_job(job_id: str, chain: tuple[str, ...], urgency: Urgency) -> CompletionJob:
    """A small job whose prompt is its id."""
    body = {"messages": [{"role": "user", "content": job_id}], "metadata": {"job": job_id}}
    return CompletionJob(id=job_id, producer="torture", chain=chain, body=body, urgency=urgency)


async def submit_steadily(submitter: Submitter, count: int, seconds: float) -> None:
    """Submit `count` jobs, evenly over `seconds`, in turn to every queue."""
    lanes = [(model, urgency) for urgency in Urgency for model in MODELS]
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number * seconds / count - time.monotonic()))
            model, urgency = lanes[number % len(lanes)]
            chain = (model, *(other for other in MODELS if other != model))
            group.create_task(submitter.submit(make_job(f"job-{number:08}", chain, urgency), "gpu"))


async def submit_requested(submitter: Submitter, requested: Path) -> None:
    """Submit the requested extra jobs, until the end."""
    async with asyncio.TaskGroup() as group:
        async for job_id in _lines(requested):
            group.create_task(submitter.submit(make_job(job_id, (AIMED,), Urgency.INTERACTIVE), AIMED))


async def _lines(path: Path) -> AsyncIterator[str]:
    count = 0
    while True:
        lines = [json.loads(line) for line in path.read_text().splitlines()]  # noqa: ASYNC240 - a few lines
        for line in lines[count:]:
            if line == END:
                return
            yield line
        count = len(lines)
        await asyncio.sleep(POLL_INTERVAL_S)


async def run(url: str, directory: Path, pace: tuple[int, float]) -> None:
    """Submit everything; returns when every job has its receipt."""
    async with RedisConnection(url) as link:
        submitter = Submitter(JobStore(link), directory / "accepted.jsonl")
        async with asyncio.TaskGroup() as group:
            group.create_task(submit_steadily(submitter, *pace))
            group.create_task(submit_requested(submitter, directory / "requested"))
        click.echo(f"resent {submitter.resent}")


@click.command()
@click.option("--url", required=True)
@click.option("--directory", required=True, type=click.Path(path_type=Path))
@click.option("--jobs", required=True, type=int)
@click.option("--seconds", required=True, type=float)
def main(url: str, directory: Path, jobs: int, seconds: float) -> None:
    """Submit jobs and record the accepted ids."""
    uvloop.run(run(url, directory, (jobs, seconds)))


if __name__ == "__main__":
    main()
