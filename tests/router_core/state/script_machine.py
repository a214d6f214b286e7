"""A Hypothesis state machine on a real server: its event loop, its connections, and the test that runs it."""

from __future__ import annotations

import asyncio
from contextlib import closing

import redis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.worker_queue import WorkerQueue


class ScriptMachine(RuleBasedStateMachine):
    """Every rule acts on the server and on the model, and compares their replies."""

    url: str
    store: redis.Redis
    """The connection of all runs: to open one takes ten times as long as to empty the server."""
    loop: asyncio.AbstractEventLoop
    """The event loop of all runs."""

    def __init__(self) -> None:
        super().__init__()
        self.store.flushall()
        self.link = RedisConnection(self.url, clock=self.server_time)
        self.workers: dict[str, WorkerQueue] = {}

    def server_time(self) -> float:
        """The time of the scripts in epoch seconds: that of the model."""
        raise NotImplementedError

    def do(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def teardown(self) -> None:
        self.do(self.link.close())


def run_machine(machine: type[ScriptMachine], url: str, *, steps: int, total_steps: int) -> None:
    """Run `machine` on a server, `steps` steps at a time."""
    with closing(asyncio.new_event_loop()) as loop, redis.Redis.from_url(url) as store:
        run_state_machine_as_test(
            type(machine.__name__, (machine,), {"url": url, "store": store, "loop": loop}),
            settings=settings(
                max_examples=total_steps // steps, stateful_step_count=steps, suppress_health_check=list(HealthCheck)
            ),
        )
