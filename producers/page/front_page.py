"""What the live pages show, from the top."""

from __future__ import annotations

from openfall.producers.page.section import Section
from openfall.producers.page.sections import (
    audit_section,
    batch_section,
    breaker_section,
    card_section,
    cost_section,
    headline_section,
    job_section,
    local_only_section,
    open_fall_section,
    outbox_section,
    queue_section,
    refused_section,
    worker_section,
)
from openfall.producers.page.sources import (
    BATCHES,
    BUDGETS,
    CARD_STATES,
    CARDS,
    LEDGER_TODAY,
    OUTBOX,
    PLANS,
    RECENT_JOBS,
    REFUSED,
)

SECTIONS: tuple[Section, ...] = (
    Section("health", headline_section.context, headline_section.SOURCES),
    Section("queues", queue_section.context, (queue_section.HISTORY,)),
    Section("breakers", breaker_section.context),
    Section("cards", card_section.context, (CARDS,), wide=False),
    Section("cost", cost_section.context, (BUDGETS, PLANS, LEDGER_TODAY), wide=False),
    Section("open-fall", open_fall_section.context, (CARD_STATES,)),
    Section("batches", batch_section.context, (BATCHES,)),
    Section("jobs", job_section.context, (RECENT_JOBS,)),
    Section("switch", local_only_section.context, wide=False),
    Section("audit", audit_section.context, wide=False),
    Section("refused", refused_section.context, (REFUSED,)),
    Section("workers", worker_section.context),
)
"""The front page."""

OUTBOX_SECTIONS: tuple[Section, ...] = (
    Section("outbox-waiting", outbox_section.waiting_context, (OUTBOX,)),
    Section("outbox-failed", outbox_section.failed_context, (OUTBOX,)),
)
"""The page of the outbox."""

ALL_SECTIONS = (*SECTIONS, *OUTBOX_SECTIONS)
