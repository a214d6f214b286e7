"""The producers of a torture or outage run, in a process of their own: it records each receipt and each notification.

It submits the jobs of `jobs.jsonl` evenly over `--seconds`, and each job that is added to `requested.jsonl`. A job that
Redis did not confirm is sent again under the same id. `accepted.jsonl` gets a line for each receipt, `notified.jsonl`
one for each event that a caller received: while waiting, from the inbox, or by asking later, which happens at SIGTERM.
Moments are epoch milliseconds.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import click
import uvloop

from openfall.config import load
from openfall.producers.client import AsyncOpenfall
from openfall.router_core.state.errors import StoreError
from tests.chaos.environment import now_ms, write_line
from tests.chaos.judge.evidence import PlannedJob, read_lines

INBOX = "drill"
ALL_SUBMITTED = "every job has its receipt"
PRODUCERS = ("night", "night", "bot", "person")
"""A job belongs to one of these by its id: half of them to the first producer."""
RETRY_INTERVAL_S = 0.1
POLL_INTERVAL_S = 0.02


@dataclass
class Submitter:
    """Submits jobs, each with its callback."""

    clients: Sequence[AsyncOpenfall]
    directory: Path
    hook: str
    later: list[str] = field(default_factory=list)
    waits: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def client(self) -> AsyncOpenfall:
        """The client that reads what happens to the jobs of all producers."""
        return self.clients[0]

    async def submit(self, job: PlannedJob) -> None:
        """Submit a job until it is accepted, and record that."""
        prompt = {"messages": [{"role": "user", "content": job.id}], "metadata": {"job": job.id}}
        callbacks: dict[str, Any] = {
            "inbox": {"inbox": INBOX, "reply_to": [job.id]},
            "webhook": {"webhook": self.hook, "reply_to": job.id},
        }
        options = {"id": job.id, "role": job.role, "urgency": job.urgency, **callbacks.get(job.callback, {})}
        client = self.clients[crc32(job.id.encode()) % len(self.clients)]
        while True:
            try:
                await client.submit(prompt, **options)
                break
            except StoreError:
                await asyncio.sleep(RETRY_INTERVAL_S)
        write_line(self.directory / "accepted.jsonl", job)
        if job.callback == "later":
            self.later.append(job.id)
        elif job.callback == "wait":
            self.waits.append(asyncio.create_task(self.wait(job.id)))

    async def submit_steadily(self, jobs: list[PlannedJob], seconds: float) -> None:
        """Submit jobs evenly; returns when each has its receipt."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, job in enumerate(jobs):
                await asyncio.sleep(max(0.0, began + number * seconds / len(jobs) - time.monotonic()))
                group.create_task(self.submit(job))

    async def submit_requested(self) -> None:
        """Submit the requested jobs, for ever."""
        count = 0
        async with asyncio.TaskGroup() as group:
            while True:
                jobs = [PlannedJob(**row) for row in read_lines(self.directory / "requested.jsonl")]
                for job in jobs[count:]:
                    group.create_task(self.submit(job))
                count = len(jobs)
                await asyncio.sleep(POLL_INTERVAL_S)

    async def wait(self, job: str) -> None:
        """Follow a job to its end, as a chat would, with its interim replies."""
        async for event in self.client.stream(job, deltas=False):
            if event["event"] == "degraded":
                self.add_notification(job, "wait", event="degraded", decided=float(event["at"]))
            elif event["event"] == "done":
                self.add_notification(job, "wait", event="done", status=event["status"])

    async def read_inbox(self) -> None:
        """Read and acknowledge entries, for ever."""
        async for entry in self.client.inbox(INBOX):
            event = "done" if entry.final else "degraded"
            decided, status = entry.created_at * 1000, str(entry.result.status)
            self.add_notification(entry.job_id, "inbox", event=event, decided=decided, status=status)
            await entry.ack()

    async def ask_later(self) -> None:
        """Ask for the results of the jobs whose callers ask later."""
        for job in self.later:
            result = await self.client.result(job)
            if result is not None:
                self.add_notification(job, "later", event="done", status=str(result.status))

    def add_notification(self, job: str, channel: str, **fields: Any) -> None:
        """Record an event that a caller received."""
        row = {"job": job, "channel": channel, "at": now_ms(), "decided": 0.0, "status": "", **fields}
        write_line(self.directory / "notified.jsonl", row)


async def run(config: Path, seconds: float, hook: str) -> None:
    """Submit everything and wait for the jobs of waiting callers; ask for the rest at SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    jobs = [PlannedJob(**row) for row in read_lines(config.parent / "jobs.jsonl")]
    async with AsyncExitStack() as stack:
        loaded = load(config)
        clients = [await stack.enter_async_context(AsyncOpenfall(config=loaded, producer=name)) for name in PRODUCERS]
        submitter = Submitter(clients, config.parent, hook)
        click.echo("began")
        background = [asyncio.create_task(work) for work in (submitter.read_inbox(), submitter.submit_requested())]
        await submitter.submit_steadily(jobs, seconds)
        click.echo(ALL_SUBMITTED)
        await stopped.wait()
        tasks = [*background, *submitter.waits]
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        await submitter.ask_later()
        for end in ends:
            if isinstance(end, Exception):
                raise end


@click.command()
@click.option("--config", required=True, type=click.Path(path_type=Path))
@click.option("--seconds", required=True, type=float)
@click.option("--hook", required=True, help="The URL for webhooks.")
def main(config: Path, seconds: float, hook: str) -> None:
    """Submit the jobs of a run and record what happens to them."""
    uvloop.run(run(config, seconds, hook))


if __name__ == "__main__":
    main()
