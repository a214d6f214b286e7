"""The producer of an outage run, a process of its own: it records each receipt and each notification.

`accepted.jsonl` has a line for each receipt. `notified.jsonl` has one for each event that a caller received: while
waiting, from the inbox, or by asking later, which happens at SIGTERM. Moments are epoch milliseconds on the server's
clock: the difference to the local clock is measured first.
"""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import uvloop

from openfall.config import load
from openfall.producers.client import AsyncOpenfall
from openfall.router_core.state.errors import StoreError
from tests.chaos.environment import write_line
from tests.chaos.outage_plan import JobPlan, Plan

INBOX = "drill"
ALL_SUBMITTED = "every job is submitted"
RETRY_INTERVAL_S = 0.1


@dataclass
class Records:
    """The files of the submitter: a whole line at once, when it knows a thing. `ahead_ms`: the server's clock."""

    directory: Path
    ahead_ms: float = 0.0

    def add_receipt(self, job: JobPlan) -> None:
        write_line(self.directory / "accepted.jsonl", job)

    def add_notification(self, job: str, channel: str, **fields: Any) -> None:
        at = time.time() * 1000 + self.ahead_ms
        row = {"job": job, "channel": channel, "at": at, "decided": 0.0, "status": "", **fields}
        write_line(self.directory / "notified.jsonl", row)


@dataclass
class Submitter:
    """Submits the jobs of a plan, each with its callback."""

    client: AsyncOpenfall
    records: Records
    hook: str
    later: list[str] = field(default_factory=list)

    async def submit(self, job: JobPlan) -> None:
        """Submit a job until it is accepted; then wait for it if its caller does."""
        prompt = {"messages": [{"role": "user", "content": job.id}], "metadata": {"job": job.id}}
        callbacks: dict[str, Any] = {
            "inbox": {"inbox": INBOX, "reply_to": [job.id]},
            "webhook": {"webhook": self.hook, "reply_to": job.id},
        }
        options = {"id": job.id, "role": job.role, "urgency": job.urgency, **callbacks.get(job.callback, {})}
        while True:
            try:
                await self.client.submit(prompt, **options)
                break
            except StoreError:
                await asyncio.sleep(RETRY_INTERVAL_S)
        self.records.add_receipt(job)
        if job.callback == "later":
            self.later.append(job.id)
        elif job.callback == "wait":
            await self.wait(job.id)

    async def wait(self, job: str) -> None:
        """Follow a job to its end, as a chat would, with its interim replies."""
        async for event in self.client.stream(job, deltas=False):
            if event["event"] == "degraded":
                self.records.add_notification(job, "wait", event="degraded", decided=float(event["at"]))
            elif event["event"] == "done":
                self.records.add_notification(job, "wait", event="done", status=event["status"])

    async def read_inbox(self) -> None:
        """Read and acknowledge entries, for ever."""
        async for entry in self.client.inbox(INBOX):
            event = "done" if entry.final else "degraded"
            self.records.add_notification(
                entry.job_id, "inbox", event=event, decided=entry.created_at * 1000, status=str(entry.result.status)
            )
            await entry.ack()

    async def ask_later(self) -> None:
        """Ask for the results of the jobs whose callers ask later."""
        for job in self.later:
            result = await self.client.result(job)
            if result is not None:
                self.records.add_notification(job, "later", event="done", status=str(result.status))


async def clock_ahead_ms(client: AsyncOpenfall) -> float:
    """How far the server's clock is ahead of ours, by the quickest of nine round trips."""
    samples = []
    for _ in range(9):
        before = time.time()
        seconds, micros = await client.store.connection.command("TIME")
        after = time.time()
        samples.append((after - before, int(seconds) + int(micros) / 1e6 - (before + after) / 2))
    return min(samples)[1] * 1000


async def run(config: Path, plan: Plan, hook: str) -> None:
    """Submit everything, wait for the jobs of waiting callers, and ask for the rest at SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    records = Records(config.parent)
    async with AsyncOpenfall(config=load(config), producer="chaos") as client:
        records.ahead_ms = await clock_ahead_ms(client)
        submitter = Submitter(client, records, hook)
        began = time.monotonic()
        click.echo("began")
        tasks = [asyncio.create_task(submitter.read_inbox())]
        for number, job in enumerate(plan.job_plans()):
            await asyncio.sleep(max(0.0, began + number * plan.seconds / plan.jobs - time.monotonic()))
            tasks.append(asyncio.create_task(submitter.submit(job)))
        click.echo(ALL_SUBMITTED)
        await stopped.wait()
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        await submitter.ask_later()
        for end in ends:
            if isinstance(end, Exception):
                raise end


@click.command()
@click.option("--config", required=True, type=click.Path(path_type=Path))
@click.option("--hook", required=True, help="The URL for webhooks.")
@click.option("--jobs", required=True, type=int)
@click.option("--seed", required=True, type=int)
@click.option("--quick", is_flag=True)
def main(config: Path, hook: str, jobs: int, seed: int, quick: bool) -> None:
    """Submit the jobs of a plan and record what happens to them."""
    uvloop.run(run(config, Plan(jobs, seed, quick), hook))


if __name__ == "__main__":
    main()
