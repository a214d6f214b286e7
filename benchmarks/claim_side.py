"""One of two databases that are compared: its jobs, its worker, and what each script took in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from benchmarks.claim_variants import CARD, VARIANTS, Pool, Variant
from benchmarks.paired import ThreadClock
from benchmarks.processes import BenchmarkError
from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.state import scripts
from openfall.router_core.state.breakers import BreakerOverride, force_breaker
from openfall.router_core.state.jobs import JobStore, SubmitTerms
from openfall.router_core.state.redis_connection import RedisConnection, pack_arguments
from openfall.router_core.state.unreadable_notes import UnreadableNotes
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_subscription import WorkerIdentity
from openfall.router_core.vocabulary import BreakerState


class ChangedClaims:
    """A connection whose claims run another text of the script: `changes` are parts of it and what replaces each."""

    def __init__(self, link: RedisConnection, changes: Sequence[tuple[str, str]]) -> None:
        claim = scripts.load("claim")
        text = claim.library.decode()
        for part, replacement in changes:
            if text.count(part) != 1:
                raise BenchmarkError(f"claim.lua has changed: {part!r} is not once in it")
            text = text.replace(part, replacement)
        self._link, self._function = link, f"{claim.function}_changed_{len(text)}"
        self.library = text.replace(claim.function, self._function)

    async def load(self) -> None:
        """Load the script."""
        await self._link.command("FUNCTION", "LOAD", "REPLACE", self.library)

    async def script(self, name: str, arguments: Any, *bodies: Any) -> Any:
        """Run a script."""
        if name != "claim":
            return await self._link.script(name, arguments, *bodies)
        return await self._link.command("FCALL", self._function, 0, "", pack_arguments(arguments), *bodies)


@dataclass
class Side:
    """One of two that are compared: a database, a connection to it, and what each of its calls took."""

    link: RedisConnection
    store: Redis
    clock: ThreadClock
    taken: list[float] = field(default_factory=list)
    changed: ChangedClaims | None = None

    @property
    def notes(self) -> UnreadableNotes:
        """What could not be read, as of the connection."""
        return self.link.notes

    async def script(self, name: str, arguments: Any, *bodies: Any) -> Any:
        """Run a script, as a worker does, and note the CPU time of the server."""
        link, before = self.changed or self.link, self.clock.read_us()
        reply = await link.script(name, arguments, *bodies)
        self.taken.append(self.clock.read_us() - before)
        return reply

    async def load_changed(self) -> None:
        """Load the scripts of variants that change them."""
        for variant in VARIANTS:
            if variant.changes:
                await ChangedClaims(self.link, variant.changes).load()

    async def begin(self, variant: Variant, queues: int, jobs: int) -> WorkerQueue:
        """Empty the database, open the breakers of a variant, and submit its jobs. Returns a worker for them."""
        pool, plain = variant.pool(queues), Pool(queues)
        self.store.flushdb()
        for target in plain.targets_to_open(variant.open_breakers):
            opened = BreakerOverride(BreakerState.OPEN, "a benchmark", 3600)
            await force_breaker(self.link, target, opened, BreakerPolicy())
        self.store.hset(f"of:card-admitted:{CARD}", mapping={pool.filled_model: 2, "other": 2, "third": 2})
        await self._accept(plain.filled_queue, jobs)
        await self._accept(plain.subscriptions()[-1].queue, variant.batch_jobs)
        self.changed = ChangedClaims(self.link, variant.changes) if variant.changes else None
        identity = WorkerIdentity("bench", "gpu", (), ())
        return WorkerQueue(self, identity, pool.subscriptions(), budgets=pool.budgets)  # type: ignore[arg-type]

    async def _accept(self, queue: str, count: int) -> None:
        bound = "9 9 0 1 0 0 - -"
        terms = SubmitTerms(queue=queue, expires_after_seconds=600, keep_seconds=60, bound=bound)
        body = {"messages": [{"role": "user", "content": "hello"}]}
        ids = (f"{queue.rpartition('.')[2]}-{n:08}" for n in range(count))
        jobs = (CompletionJob(id=name, producer="b", chain=("model-0",), body=body) for name in ids)
        await JobStore(self.link).accept_many((job, terms) for job in jobs)
