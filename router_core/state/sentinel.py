"""Where the primary of a Sentinel service is, and the moment at which it is another one.

Several Sentinels answer, and the one with the highest configuration epoch is right: another may be cut off. Two
failovers in quick succession can leave Sentinels with different answers of the same epoch: then the majority is right.
A Sentinel announces a new primary (`+switch-master`). The announcement can be lost, so the Sentinels are also asked
every `WATCH_SECONDS`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import redis.asyncio as aioredis
from redis import exceptions as redis_errors
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.state.cancellation import cancel_all, start_background
from openfall.router_core.state.errors import SentinelTrouble

ASK_SECONDS = 1.0
"""Limit for one Sentinel. A frozen one delays nothing while a majority answers."""
WATCH_SECONDS = 2.0
"""A new primary is noticed within this time, if its announcement is lost."""
RETRY_SECONDS = 0.5

Address = tuple[str, int]


class _Answer(NamedTuple):
    epoch: int
    address: Address


class Sentinels:
    """The Sentinels of a server. `on_switch` is called when the primary is another one."""

    def __init__(self, server: RedisServer, transport: dict[str, Any], on_switch: Callable[[], None]) -> None:
        self._service, self._on_switch = server.service or "", on_switch
        self._names = ", ".join(server.sentinels)
        password = server.sentinel_password.get_secret_value() if server.sentinel_password else None
        self._clients = [
            aioredis.Redis(
                host=name.rpartition(":")[0].strip("[]"),
                port=int(name.rpartition(":")[2]),
                username=server.sentinel_username,
                password=password,
                protocol=2,
                socket_timeout=ASK_SECONDS,
                socket_connect_timeout=ASK_SECONDS,
                retry=Retry(NoBackoff(), 0),
                decode_responses=True,
                **transport,
            )
            for name in server.sentinels
        ]
        self._newest: _Answer | None = None
        self._rejected: Address | None = None
        self._watch: asyncio.Task[None] | None = None

    async def address(self) -> Address:
        """The address of the primary. Raises `SentinelTrouble`."""
        answer = await self._ask(enough=len(self._clients) // 2 + 1)
        if self._watch is None:
            self._watch = start_background(self._watch_for_switches(), "sentinel")
        return answer.address

    def reject(self, address: Address) -> None:
        """This address cannot be used: trust the next answers, whatever their epoch, and another address before it."""
        self._newest, self._rejected = None, address

    async def close(self) -> None:
        await cancel_all(self._watch)
        self._watch = None
        await asyncio.gather(*(client.aclose() for client in self._clients), return_exceptions=True)

    async def _watch_for_switches(self) -> None:
        for client in cycle(self._clients):
            try:
                async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe("+switch-master")
                    while True:
                        await pubsub.get_message(timeout=WATCH_SECONDS)
                        await self._notice_switch()
            except (redis_errors.RedisError, OSError):
                await asyncio.sleep(RETRY_SECONDS)

    async def _notice_switch(self) -> None:
        before = self._newest
        answer = await self._ask(enough=len(self._clients))
        if before is not None and answer.address != before.address:
            self._on_switch()

    async def _ask(self, enough: int) -> _Answer:
        """The newest of `enough` answers, or of all that there are. Where they contradict each other, all are read."""
        pending = {asyncio.create_task(self._ask_one(client)) for client in self._clients}
        answers: list[_Answer] = []
        errors: list[Exception] = []
        try:
            while pending and (len(answers) < enough or len(_newest(answers)) > 1):
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    try:
                        answers.append(task.result())
                    except (redis_errors.RedisError, OSError) as error:
                        errors.append(error)
        finally:
            await cancel_all(*pending)
        if not answers:
            raise self._trouble(errors)
        counts = _newest(answers)
        newest = max(counts, key=lambda answer: (answer.address != self._rejected, counts[answer]))
        if self._newest is None or self._newest.epoch <= newest.epoch:
            self._newest = newest
        return self._newest

    async def _ask_one(self, client: aioredis.Redis) -> _Answer:
        view: Any = await client.sentinel_master(self._service)
        # In this order: during a failover the epoch of `SENTINEL MASTER` is new before its address is.
        address: Any = await client.sentinel_get_master_addr_by_name(self._service)
        return _Answer(view["config-epoch"], tuple(address))

    def _trouble(self, errors: Sequence[Exception]) -> SentinelTrouble:
        """What the Sentinels say, if they say something; else that they do not answer."""
        texts = [str(error) for error in errors]
        where = f"the Sentinels ({self._names})"
        if any("No such master" in text for text in texts):
            remedy = f"they do not monitor {self._service!r}: `redis: {{service: ...}}` is the NAME of their"
            return SentinelTrouble(f"{where} answer, but {remedy} `sentinel monitor NAME ...`", refused=True)
        if any(isinstance(error, redis_errors.AuthenticationError) or "NOAUTH" in str(error) for error in errors):
            remedy = "set `redis: {sentinel_username: ..., sentinel_password: ...}`"
            return SentinelTrouble(f"{where} refuse the user or the password: {remedy}", refused=True)
        if any("NOPERM" in text or "has no permissions" in text for text in texts):
            remedy = "allow it `sentinel|master`, `sentinel|get-master-addr-by-name` and `subscribe`"
            return SentinelTrouble(f"{where} do not allow their user to ask for the primary: {remedy}", refused=True)
        if any("unknown command" in text for text in texts):
            return SentinelTrouble(f"{where} are no Sentinels: is that the port of Redis itself?", refused=True)
        return SentinelTrouble(f"none of {where} answers: do they run? ({texts[0] if texts else ''})", refused=False)


def _newest(answers: Sequence[_Answer]) -> Counter[_Answer]:
    """The different answers of the highest epoch, each with how many Sentinels give it."""
    epoch = max(answer.epoch for answer in answers)
    return Counter(answer for answer in answers if answer.epoch == epoch)
