"""The producer of an outage drill, a process of its own: it writes down whose receipt it has, and what it is told.

`accepted.jsonl` has a line for each receipt; `heard.jsonl` one for each thing that a caller learnt: by waiting, from
the inbox, or by asking later, which is when it is told to stop (SIGTERM). Moments are epoch milliseconds on the
server's clock: the difference to ours is measured first.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import uvloop

from benchmarks.outage_drilling.plan import Plan, Wanted
from openfall.config import load
from openfall.producers.client import AsyncOpenfall
from openfall.router_core.state.errors import StoreError

INBOX = "drill"
ENDED = "all is in"
AGAIN = 0.1


@dataclass
class Files:
    """Where it writes: a whole line at once, at the moment at which it knows."""

    accepted: int
    heard: int
    ahead_ms: float = 0.0
    """The server's clock less ours."""

    def now(self) -> float:
        return time.time() * 1000 + self.ahead_ms

    def receipt(self, job: Wanted) -> None:
        os.write(self.accepted, (json.dumps(asdict(job)) + "\n").encode())

    def hear(self, job: str, by: str, **told: Any) -> None:
        line = {"job": job, "by": by, "at": self.now(), "decided": 0.0, "status": "", **told}
        os.write(self.heard, (json.dumps(line) + "\n").encode())


@dataclass
class Submitter:
    """Puts the jobs of a plan in, each with its way to learn of the end."""

    client: AsyncOpenfall
    files: Files
    hook: str
    later: list[str] = field(default_factory=list)

    async def submit(self, job: Wanted) -> None:
        """Offer a job until it is accepted; whoever waits for it then does."""
        prompt = {"messages": [{"role": "user", "content": job.id}], "metadata": {"job": job.id}}
        ways: dict[str, Any] = {
            "inbox": {"inbox": INBOX, "reply_to": [job.id]},
            "webhook": {"webhook": self.hook, "reply_to": job.id},
        }
        options = {"id": job.id, "role": job.role, "urgency": job.urgency, **ways.get(job.way, {})}
        while True:
            try:
                await self.client.submit(prompt, **options)
                break
            except StoreError:
                await asyncio.sleep(AGAIN)
        self.files.receipt(job)
        if job.way == "later":
            self.later.append(job.id)
        elif job.way == "wait":
            await self.wait(job.id)

    async def wait(self, job: str) -> None:
        """Follow a job to its end, as a chat would: what is replied meanwhile counts too."""
        async for event in self.client.stream(job, deltas=False):
            if event["event"] == "degraded":
                self.files.hear(job, "wait", event="degraded", decided=float(event["at"]))
            elif event["event"] == "done":
                self.files.hear(job, "wait", event="done", status=event["status"])

    async def read_inbox(self) -> None:
        """Take what comes, and acknowledge it, for ever."""
        async for told in self.client.inbox(INBOX):
            event = "done" if told.final else "degraded"
            self.files.hear(told.job_id, "inbox", event=event, decided=told.at * 1000, status=str(told.result.status))
            await told.ack()

    async def ask_later(self) -> None:
        """What has come of those whose callers only ask now."""
        for job in self.later:
            result = await self.client.result(job)
            if result is not None:
                self.files.hear(job, "later", event="done", status=str(result.status))


async def clock_ahead_ms(client: AsyncOpenfall) -> float:
    """How far the server's clock is ahead of ours: from the quickest of a few round trips."""
    found = []
    for _ in range(9):
        before = time.time()
        seconds, micros = await client.store.connection.command("TIME")
        after = time.time()
        found.append((after - before, int(seconds) + int(micros) / 1e6 - (before + after) / 2))
    return min(found)[1] * 1000


async def run(config: Path, plan: Plan, hook: str) -> None:
    """Put everything in, wait for what is waited for, and ask for the rest when told to stop."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = Files(os.open(config.parent / "accepted.jsonl", flags), os.open(config.parent / "heard.jsonl", flags))
    async with AsyncOpenfall(config=load(config), producer="drill") as client:
        files.ahead_ms = await clock_ahead_ms(client)
        submitter = Submitter(client, files, hook)
        reading = asyncio.create_task(submitter.read_inbox())
        began = time.monotonic()
        click.echo("began")
        tasks = []
        for number, job in enumerate(plan.wanted()):
            await asyncio.sleep(max(0.0, began + number * plan.seconds / plan.jobs - time.monotonic()))
            tasks.append(asyncio.create_task(submitter.submit(job)))
        click.echo(ENDED)
        await stopped.wait()
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        reading.cancel()
        await submitter.ask_later()
        for end in ends:
            if isinstance(end, Exception):
                raise end


@click.command()
@click.option("--config", required=True, type=click.Path(path_type=Path))
@click.option("--hook", required=True, help="Where webhooks are to go.")
@click.option("--jobs", required=True, type=int)
@click.option("--seed", required=True, type=int)
@click.option("--quick", is_flag=True)
def main(config: Path, hook: str, jobs: int, seed: int, quick: bool) -> None:
    """Submit the jobs of a plan and write down what comes of them."""
    uvloop.run(run(config, Plan(jobs, seed, quick), hook))


if __name__ == "__main__":
    main()
