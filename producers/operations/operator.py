"""Who acts on the fleet, and through what."""

from __future__ import annotations

from dataclasses import dataclass

from openfall.producers.client import AsyncOpenfall
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.audit_log import AuditEntry, write_entry
from openfall.router_core.state.redis_connection import RedisConnection


@dataclass(frozen=True, slots=True)
class Operator:
    """A person who acts. `via`: `cli`, `page` or `http`."""

    llm: AsyncOpenfall
    name: str
    via: str

    @property
    def link(self) -> RedisConnection:
        return self.llm.store.connection

    @property
    def catalog(self) -> Catalog:
        return self.llm.config.catalog

    async def note(self, action: str, subject: str, effect: str = "", why: str = "") -> None:
        """Write a line into the audit log."""
        entry = AuditEntry(actor=self.name, via=self.via, action=action, subject=subject, effect=effect, why=why)
        await write_entry(self.link, entry, self.llm.config.settings.notify.action_notifiers)
