"""One worker process: from its first worker to the last settlement, with its signals."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from openfall.router_core.state.cancellation import cancel_all
from openfall.workers.generations import Generation, Generations, reload_when_changed
from openfall.workers.stop_signals import handle_stop_signals
from openfall.workers.worker import StopMode
from openfall.workers.worker_config import WorkerConfig

log = logging.getLogger("openfall.worker")


async def run(config: WorkerConfig) -> None:
    """Work until a signal or rq's shutdown command. Raises a `StoreError` when Redis is unreachable at the start, or
    would not keep accepted jobs.

    When the configuration changes, a new worker takes over: the old one stops claiming, its calls end by themselves,
    and no job is dropped.
    """
    first, manager = Generation(config), config.manager
    generations = Generations({first: asyncio.create_task(first.work(), name="worker")})
    _handle_signals(generations, config)
    reloads = asyncio.create_task(reload_when_changed(config, generations), name="reload")
    watchdog = asyncio.create_task(manager.stay_alive(lambda: generations.turn(manager)), name="watchdog")
    try:
        while tasks := generations.tasks:
            await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
            for generation, task in [(generation, task) for generation, task in tasks.items() if task.done()]:
                del tasks[generation]
                await task  # raises its error
    finally:
        await cancel_all(reloads, watchdog)


def _handle_signals(generations: Generations, config: WorkerConfig) -> None:
    def stop(mode: StopMode, effect: str) -> None:
        log.info("stopping: %s", effect)
        config.manager.stopping(config.settings.grace_seconds)
        generations.stop(mode)

    handle_stop_signals(
        partial(stop, StopMode.DRAIN, "calls in flight may finish"), partial(stop, StopMode.NOW, "putting jobs back")
    )
