"""The batches of the HTTP door, for `openfall batch list`, `status` and `cancel`."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openfall.producers.client import AsyncOpenfall
    from openfall.producers.operations.operator import Operator
    from openfall.router_core.state.batches import Batch

MAX_LISTED = 100
_ID = re.compile(r"(batch|msgbatch)_[0-9a-f]{16}")


def is_door_batch(name: str) -> bool:
    """Whether this is the id of a batch of the door."""
    return _ID.fullmatch(name) is not None


async def list_door_batches(llm: AsyncOpenfall) -> list[dict[str, Any]]:
    """The newest batches of every key, as rows of `batch list`."""
    from openfall.router_core.state.batches import BatchQuery, list_batches

    batches: list[Batch] = []
    for form in ("openai", "anthropic"):
        page = await list_batches(llm.store.connection, BatchQuery(form, "", MAX_LISTED))
        batches += page[0] if page is not None else []
    newest_first = sorted(batches, key=lambda batch: batch.terms.created_at, reverse=True)
    reasons = await asyncio.gather(*(_why(llm, batch) for batch in newest_first))
    return [_row(batch, why) for batch, why in zip(newest_first, reasons, strict=True)]


async def door_batch_values(llm: AsyncOpenfall, batch_id: str) -> dict[str, Any]:
    """A batch as `batch status` shows it."""
    batch = await _fetch(llm, batch_id)
    failed = {name: count for name, count in batch.counts.items() if name != "succeeded" and count}
    values = {
        "batch": batch_id,
        "status": str(batch.status),
        "key": batch.terms.producer,
        "endpoint": batch.terms.endpoint,
        "lines": batch.total,
        "submitted": batch.submitted,
        "answered": batch.counts["succeeded"],
        **failed,
        "tokens": (batch.usage or {}).get("total_tokens"),
        "output": batch.output_file_id,
        "errors": batch.error_file_id,
        "why": await _why(llm, batch),
    }
    return {name: value for name, value in values.items() if value not in (None, "")}


async def cancel_at_door(operator: Operator, batch_id: str) -> dict[str, Any]:
    """Cancel a batch. Returns its status before and now, and why no keeper ends it."""
    from openfall.producers.batch.missing_keeper import explain_missing_keeper
    from openfall.producers.operations.job_cancel import cancel_door_batch

    await _fetch(operator.llm, batch_id)
    before = await cancel_door_batch(operator, batch_id)
    batch = await _fetch(operator.llm, batch_id)
    why = await explain_missing_keeper(operator.link, batch)
    values = {"batch": batch_id, "before": before, "status": str(batch.status), "why": why}
    return {name: value for name, value in values.items() if value}


async def _fetch(llm: AsyncOpenfall, batch_id: str) -> Batch:
    """Raises `BatchFileError`."""
    from openfall.producers.errors import BatchFileError
    from openfall.router_core.state.batches import fetch_batch

    batch = await fetch_batch(llm.store.connection, batch_id)
    if batch is None:
        raise BatchFileError(f"no batch {batch_id}: it was never created at the door, was deleted, or has expired")
    return batch


def _row(batch: Batch, why: str) -> dict[str, Any]:
    ended = sum(batch.counts.values())
    return {
        "batch": batch.terms.id,
        "input": batch.terms.input_file_id,
        "lines": batch.total,
        "answered": batch.counts["succeeded"],
        "failed": ended - batch.counts["succeeded"],
        "waiting": batch.submitted and max(0, batch.submitted - ended),
        "not_submitted": max(0, batch.total - max(batch.submitted, ended)),
        "output": batch.output_file_id or f"the door, key {batch.terms.producer}",
        "why": ": ".join(filter(None, (str(batch.status), why))),
    }


async def _why(llm: AsyncOpenfall, batch: Batch) -> str:
    """What keeps a batch from going on, or why it failed."""
    from openfall.producers.batch.missing_keeper import explain_missing_keeper

    first = next(iter(batch.errors), None)
    if first is None:
        return batch.why or await explain_missing_keeper(llm.store.connection, batch)
    line = f"line {first['line']}: " if first.get("line") else ""
    more = f" and {len(batch.errors) - 1} more" if len(batch.errors) > 1 else ""
    return f"{line}{first.get('message')}{more}"
