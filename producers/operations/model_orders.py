"""Loads, unloads, pins and checks models."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from openfall.config import LoadedConfig
from openfall.router_core.state.audit_log import AuditEntry, write_entry
from openfall.router_core.state.redis_connection import RedisConnection

CHANGES = ("load", "unload", "pin", "unpin")
"""A check changes nothing, so it has no line in the audit log."""


async def order_model(  # noqa: PLR0913 - an order, and who gives it
    config: LoadedConfig,
    link: RedisConnection | None,
    verb: str,
    model: str,
    *,
    actor: str,
    via: str,
    backend: str | None = None,
    force: bool = False,
    is_audited: bool = True,
) -> AsyncIterator[dict[str, Any]]:
    """Yield one report per backend of the model, as each completes. It works without Redis too, but then leaves no line
    in the audit log. `is_audited`: a change is one of an operator, and leaves a line.

    Raises `UnknownName`."""
    from openfall.workers.admin.model_admin import ModelAdmin  # ADR 17: worker code only where a model is touched

    reports = []
    async for report in ModelAdmin(config.catalog, link, backend).run(verb, model, force=force):
        reports.append(report)
        yield report
    if link is not None and is_audited and verb in CHANGES:
        effect = "; ".join(f"{report['backend']}: {report['message']}" for report in reports)
        entry = AuditEntry(actor=actor, via=via, action=f"model.{verb}", subject=model, effect=effect)
        await write_entry(link, entry, config.settings.notify.action_notifiers)
