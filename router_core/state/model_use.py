"""The minutes in which people used a model, by hour of the week, in Redis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from openfall.router_core.placement.use_by_hour import HourOfUse
from openfall.router_core.state import keys
from openfall.router_core.state.redis_connection import RedisConnection, pairs
from openfall.router_core.state.unreadable_notes import note_unreadable
from openfall.router_core.state.urgent_write import urgent_command

TTL_SECONDS = 60 * 86_400
"""The use of a model is forgotten after two months without a call."""

MAX_MINUTES, MAX_WEEK = 120.0, 10**6
"""Beyond them an entry cannot be right: an hour that is used every week converges to 120 minutes."""

Use = dict[int, HourOfUse]
"""By hour of the week: at most 168."""


async def fetch_use(link: RedisConnection, models: Iterable[str]) -> dict[str, Use]:
    """The use of each model. What cannot be read counts as none."""
    uses = {}
    for model in models:
        reply = await link.command("HGETALL", keys.MODEL_USE + model)
        with link.notes.reading(keys.MODEL_USE + model):
            uses[model] = _read(pairs(reply))
    return uses


async def write_use(link: RedisConnection, model: str, hour: int, use: HourOfUse) -> None:
    """Write the use of a model in one hour of the week."""
    await urgent_command(link, "HSET", keys.MODEL_USE + model, str(hour), f"{use.minutes:.3f} {use.week}")
    await link.command("EXPIRE", keys.MODEL_USE + model, TTL_SECONDS)


def _read(fields: Mapping[str, bytes]) -> Use:
    use = {}
    for hour, text in fields.items():
        try:
            minutes, week = text.split()
            entry = HourOfUse(float(minutes), int(week))
            if 0 <= entry.minutes <= MAX_MINUTES and 0 <= entry.week <= MAX_WEEK:
                use[int(hour)] = entry
        except ValueError:
            note_unreadable("has another shape")
    return use
