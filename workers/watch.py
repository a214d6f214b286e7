"""What was last seen of the fleet, kept fresh beside the calls: decisions read it and wait for nothing."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from router_core.catalog import Catalog
from router_core.fleet import Fleet
from router_core.job import Urgency
from router_core.state.errors import StoreUnreachable
from router_core.state.link import Link
from router_core.state.survey import Survey, survey


@dataclass(slots=True)
class Watch:
    """The last survey. Before the first one everything is taken to work; `claim` knows better in any case."""

    link: Link
    catalog: Catalog
    last: Survey | None = None
    troubled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a breaker has opened: what waits for that model should be looked at now."""

    async def since(self, moment: float) -> None:
        """See to it that the last survey is no older than a moment (epoch seconds, server clock), if Redis answers."""
        if self.last is None or self.last.now < moment:
            with suppress(StoreUnreachable):
                await self.look()

    async def look(self) -> Survey:
        self.last = await survey(self.link, self.catalog)
        return self.last

    def fleet(self, urgency: Urgency) -> Fleet:
        return self.last.fleet(urgency) if self.last is not None else Fleet()
