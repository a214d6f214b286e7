"""Act 5, the card: two models of which only one fits. A batch makes the card load the first; then a caller waits for
the second. The batch is put back, the card switches, the caller is answered, and the batch continues.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from examples.demo_fleet import poll
from openfall import AsyncOpenfall
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.job_events import read_events

BATCH = ("Describe frame 1 of the parade, with every lantern.", "Describe frame 2 of the parade, with every mask.")
INTERACTIVE = "Where does the camera stand?"
TIMEOUT_S = 180.0
"""Three loads and three answers, on a busy machine. It takes about 8 s."""


@dataclass(slots=True)
class ModelSwitch:
    """What happened. Times are seconds; None: not reached."""

    loaded_after: float | None = None
    """From the submission of the batch to its first call."""
    answered_after: float | None = None
    """From the submission of the interactive job to its answer."""
    put_back: int = 0
    results: list[Result] = field(default_factory=list)

    @property
    def shown(self) -> bool:
        """The caller was answered by the other model while the batch waited, and the batch was answered too."""
        complete = len(self.results) == len(BATCH) + 1 and all(result.answered for result in self.results)
        return complete and self.answered_after is not None and self.put_back > 0


async def switch_models(client: AsyncOpenfall, show_line: Callable[[str], None]) -> ModelSwitch:
    """Submit the batch, then the interactive job as soon as the batch runs, and await all of them."""
    act, began = ModelSwitch(), time.monotonic()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            batch = [await client.submit(prompt, role="frame-notes") for prompt in BATCH]
            await poll(lambda: _has(client, batch[0].id, "started"))
            act.loaded_after = time.monotonic() - began
            show_line(f"the card has loaded [bold]frames[/] for a batch, after {act.loaded_after:.1f} s")
            submitted = time.monotonic()
            urgent = await client.submit(INTERACTIVE, role="camera")
            act.results.append(await client.wait(urgent, accept_interim=False))
            act.answered_after = time.monotonic() - submitted
            for job in batch:
                act.put_back += await _has(client, job.id, "put_back") or 0
            show_line(
                f"a caller wants [bold]storyboard[/]: {act.put_back} calls of the batch [bold yellow]put back[/], the "
                f"card switched, [bold green]answered[/] after {act.answered_after:.1f} s"
            )
            act.results += [await client.wait(job, accept_interim=False) for job in batch]
            show_line("the card switched back: the batch is [bold green]answered[/] too")
    except TimeoutError:
        show_line("[red]the card did not answer in time[/]")
    return act


async def _has(client: AsyncOpenfall, job: str, event: str) -> int | None:
    """How many of these events a job has; None: none."""
    events = await read_events(client.store.connection, job)
    return sum(entry["event"] == event for entry in events) or None
