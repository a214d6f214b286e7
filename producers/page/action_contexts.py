"""What a person considers before an action of the page."""

from __future__ import annotations

import asyncio
import time

from openfall.producers.duration_text import format_age
from openfall.producers.operations.operator import Operator
from openfall.producers.operator_note import READ_ENTRIES, describe_switch, find_switch
from openfall.producers.page.sections.budget_causes import budget_causes
from openfall.producers.page.sections.cause import Cause
from openfall.producers.page.snapshot_reader import SnapshotReader
from openfall.producers.page.sources import BUDGETS
from openfall.router_core.state.audit_log import read_entries
from openfall.router_core.state.operator_switches import local_only


async def who_keeps_jobs_local(operator: Operator, _subject: str) -> str:
    """Who switched local only on, when and why: the person to ask first."""
    reason, entries = await asyncio.gather(local_only(operator.link), read_entries(operator.link, READ_ENTRIES))
    if reason is None:
        return "It is off already."
    note = describe_switch(reason, entries, time.time())
    entry = find_switch(entries)
    return f"It is on ({note}).{f' Ask {entry.actor} first.' if entry else ''}"


async def what_a_budget_lacks(operator: Operator, name: str) -> str:
    """What is left of a budget, and how much frees the jobs that wait for it. Empty: nothing waits for it."""
    snapshot = await SnapshotReader(operator.link, operator.llm.config.catalog).read((BUDGETS,))
    causes = [cause for cause in budget_causes({}, snapshot) if cause.subject == name]
    return " ".join(f"{cause.text}. {cause.advice}{_until(cause, snapshot.now)}." for cause in causes)


def _until(cause: Cause, now: float) -> str:
    return "" if cause.until is None else f" {cause.until_text} {format_age(cause.until - now)}"
