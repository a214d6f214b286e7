"""Held jobs let back to the models that take calls again: slowly, so that a healed backend is not drowned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from openfall.router_core.jobs.job import Urgency
from openfall.router_core.state.redis_connection import RedisConnection


@dataclass(frozen=True, slots=True)
class ReleaseBudget:
    """A model that takes calls now: the jobs of these urgencies that it may have back, `most` of them at once."""

    model: str
    pool: str
    most: int
    urgencies: tuple[Urgency, ...]


async def release_held(link: RedisConnection, offers: Iterable[ReleaseBudget], first: int) -> list[tuple[str, str]]:
    """Let held jobs go to the models on offer: `first` at once, one more for each answered since the breaker of
    its model closed. Returns their ids and queues. Two workers that do it at once do it once."""
    told = [part for offer in offers for part in _told(offer)]
    reply = await link.script("release", first, *told)
    return [(job_id.decode(), queue.decode()) for job_id, queue in reply]


def _told(offer: ReleaseBudget) -> tuple[str | int, ...]:
    return (offer.model, offer.pool, offer.most, ",".join(offer.urgencies))
