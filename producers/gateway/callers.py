"""The callers of one process of the gateway: which jobs they wait for, and what happens when they leave.

Gateways ask each other whether a caller still waits, on the channel of their names: so a repeat at another
process differs from a second request of the same kind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections import Counter
from collections.abc import Coroutine, Iterable
from typing import Any

from openfall.router_core.state import keys
from openfall.router_core.state.caller_leases import (
    LEASE_INTERVAL_SECONDS,
    LINGER_SECONDS,
    MAX_ANSWERED,
    PRESENCE_INTERVAL_SECONDS,
    PRESENCE_SECONDS,
    RESTART_SECONDS,
    AwaitedJob,
    let_go,
    renew_leases,
)
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.job_events import Announcement, EventHub
from openfall.router_core.state.redis_connection import RedisConnection

_ASK, _WAITS, _LEFT = b"ask", b"waits", b"left"


class Callers:
    """Renews the leases of the jobs that callers of this process wait for. While Redis does not answer, it tries again:
    a lease outlives 10 s without it."""

    def __init__(self, link: RedisConnection, hub: EventHub, catalog: str) -> None:
        """`catalog`: the digest of the catalog that this process uses."""
        self.catalog = catalog
        self.gateway_id = f"gateway-{socket.gethostname()[:32]}-{os.getpid()}-{secrets.token_hex(3)}"
        self._link, self._hub = link, hub
        self._jobs: Counter[str] = Counter()
        self._answered: dict[str, None] = {}
        """Jobs whose callers have their responses, since the last renewal."""
        self._asked: dict[str, asyncio.Future[None]] = {}
        """By job: another gateway is asked about it."""
        self._renewing: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[Any]] = set()
        """Replies to other gateways, and responses that were not read."""

    async def start(self) -> None:
        """Announce this process, and keep its leases. Raises `StoreError`."""
        await self._hub.add(self.gateway_id, self)
        await self.renew_presence()
        self._renewing = asyncio.create_task(self._renew(), name="callers")

    async def stop(self) -> None:
        """Leave the jobs of all callers to their repeats at another gateway, or at this one after its restart."""
        await cancel_all(self._renewing, *self._sending)
        with contextlib.suppress(StoreError):
            await self._renew_leases(())
            await asyncio.gather(*(let_go(self._link, self.gateway_id, job, RESTART_SECONDS) for job in self._jobs))

    async def renew_presence(self) -> None:
        """Say in Redis that this process lives, and which catalog it uses. Raises `StoreError`."""
        await self._renew_leases(())

    def add(self, job_id: str) -> None:
        """A caller waits for a job."""
        self._jobs[job_id] += 1

    def answer(self, job_id: str) -> None:
        """A caller has its response: no repeat joins the job."""
        self.remove(job_id)
        if job_id not in self._jobs:
            self._answered[job_id] = None

    def take_back(self, job_id: str) -> None:
        """A caller ended before it had read its response: a repeat joins the job, for a while."""
        if job_id not in self._jobs:
            self._answered.pop(job_id, None)
            self._start(self._let_go(job_id, LINGER_SECONDS))

    def remove(self, job_id: str) -> None:
        """A caller does not wait any more."""
        self._jobs[job_id] -= 1
        if self._jobs[job_id] <= 0:
            del self._jobs[job_id]

    async def let_go(self, job_id: str, linger_seconds: float) -> None:
        """A caller has left without its answer: see `state.caller_leases`. Redis may be away: then the lease ends."""
        self.remove(job_id)
        if job_id not in self._jobs:
            await self._let_go(job_id, linger_seconds)

    async def _let_go(self, job_id: str, linger_seconds: float) -> None:
        with contextlib.suppress(StoreError):
            await let_go(self._link, self.gateway_id, job_id, linger_seconds)

    def _start(self, sending: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(sending)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def check(self, jobs: Iterable[AwaitedJob]) -> tuple[tuple[str, str], ...]:
        """Find out for which of these jobs a caller still waits. Returns those that have none, each with its gateway:
        that of this process, or one that was killed. A gateway that lives says so in Redis; of one that is frozen the
        presence ends meanwhile."""
        pending = list(jobs)
        has_caller = await asyncio.gather(*map(self._may_have_caller, pending))
        return tuple((job.id, job.gateway_id) for job, waits in zip(pending, has_caller, strict=True) if not waits)

    async def _may_have_caller(self, job: AwaitedJob) -> bool:
        """Whether a gateway may have a caller for a job."""
        return self._has_caller(job.id) if job.gateway_id == self.gateway_id else await self._ask(job)

    def announce(self, announced: Announcement) -> None:
        """Another gateway asks about a job, or replies."""
        kind, _, rest = announced.event.partition(b" ")
        job_id, _, gateway_id = rest.decode(errors="replace").partition(" ")
        if kind == _ASK:
            self._start(self._send(gateway_id, _WAITS if self._has_caller(job_id) else _LEFT, job_id))
        elif (question := self._asked.get(job_id)) is not None and not question.done():
            question.set_result(None)

    def _has_caller(self, job_id: str) -> bool:
        return job_id in self._jobs or job_id in self._answered

    async def _ask(self, job: AwaitedJob) -> bool:
        """Return when the other gateway has replied, or is present no longer. False: it was killed."""
        reply = self._asked.setdefault(job.id, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(min(job.present_seconds, PRESENCE_SECONDS) + 0.05):
                if not await self._send(job.gateway_id, _ASK, f"{job.id} {self.gateway_id}"):
                    return False
                await asyncio.shield(reply)
        except TimeoutError:
            pass
        finally:
            if self._asked.get(job.id) is reply:
                del self._asked[job.id]
        return True

    async def _send(self, gateway_id: str, kind: bytes, text: str) -> int:
        """Send a message to another gateway. Returns how many received it: a killed one has no connection."""
        try:
            message = b"0 %b %b" % (kind, text.encode())
            return int(await self._link.command("PUBLISH", keys.JOB_CHANGED + gateway_id, message))
        except StoreError:
            return 1

    async def _renew(self) -> None:
        rounds = round(LEASE_INTERVAL_SECONDS / PRESENCE_INTERVAL_SECONDS)
        number = 0
        while True:
            await asyncio.sleep(PRESENCE_INTERVAL_SECONDS)
            number = (number + 1) % rounds
            with contextlib.suppress(StoreError):
                await self._renew_leases(() if number else tuple(self._jobs))

    async def _renew_leases(self, job_ids: Iterable[str]) -> None:
        """Renew the presence of this process and the leases of these jobs. Raises `StoreError`."""
        await renew_leases(self._link, self.gateway_id, self.catalog, job_ids)
        while self._answered:
            answered = list(self._answered)[:MAX_ANSWERED]
            await renew_leases(self._link, self.gateway_id, self.catalog, (), answered)
            for job_id in answered:
                self._answered.pop(job_id, None)
