"""Learns at which hours of the week people use the models of the cards, in the worker that manages them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from openfall.router_core.placement.use_by_hour import expected_minutes, hour_of_week, with_a_minute
from openfall.router_core.state.cards import CardsSnapshot
from openfall.router_core.state.errors import StoreFull
from openfall.router_core.state.model_use import Use, fetch_use, write_use
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.vocabulary import Urgency

log = logging.getLogger("openfall.cards")

MINUTE_SECONDS = 60.0


@dataclass(slots=True)
class LearnedUse:
    """The use of each model. A minute counts once, however many calls are made in it."""

    link: RedisConnection
    models: Iterable[str]
    _use: dict[str, Use] = field(default_factory=dict, init=False)
    _minutes: dict[str, int] = field(default_factory=dict, init=False)
    """The last minute that was counted."""

    async def fetch(self) -> None:
        """Read what other managers have learned."""
        self._use = await fetch_use(self.link, self.models)
        self._minutes.clear()

    async def note(self, snapshot: CardsSnapshot) -> None:
        """Count the minutes in which an interactive call began or was in flight."""
        for record in snapshot.cards:
            for (alias, urgency), moment in record.used.items():
                minute = int(moment // MINUTE_SECONDS)
                if urgency != Urgency.INTERACTIVE or minute <= self._minutes.setdefault(alias, minute - 1):
                    continue
                self._minutes[alias] = minute
                if snapshot.now - moment < MINUTE_SECONDS:
                    use = self._use.setdefault(alias, {})
                    hour = hour_of_week(moment)
                    use[hour] = with_a_minute(use, moment)
                    with contextlib.suppress(StoreFull):  # the next minute of this hour writes it too
                        await write_use(self.link, alias, hour, use[hour])

    def expected(self, alias: str, now: float) -> float:
        """How many minutes of the next hour people will use a model."""
        return expected_minutes(self._use.get(alias, {}), now)
