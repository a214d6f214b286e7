"""The batches of the HTTP gateway, for `openfall batch list`, `status` and `cancel`."""

from __future__ import annotations

from typing import Any

from openfall.producers.client import AsyncOpenfall
from openfall.producers.errors import BatchFileError
from openfall.producers.gateway_batch_status import explain_batch, explain_missing_runner, newest_gateway_batches
from openfall.producers.operations.batch_cancel import cancel_gateway_batch
from openfall.producers.operations.operator import Operator
from openfall.router_core.state.batches import Batch, fetch_batch

MAX_LISTED = 100


async def list_gateway_batches(llm: AsyncOpenfall) -> list[dict[str, Any]]:
    """The newest batches of every key, as rows of `batch list`."""
    return [_row(batch, why) for batch, why in await newest_gateway_batches(llm.store.connection, MAX_LISTED)]


async def gateway_batch_values(llm: AsyncOpenfall, batch_id: str) -> dict[str, Any]:
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
        "why": await explain_batch(llm.store.connection, batch),
    }
    return {name: value for name, value in values.items() if value not in (None, "")}


async def cancel_at_gateway(operator: Operator, batch_id: str) -> dict[str, Any]:
    """Cancel a batch. Returns its status before and now, and why no runner ends it."""
    await _fetch(operator.llm, batch_id)
    before = await cancel_gateway_batch(operator, batch_id)
    batch = await _fetch(operator.llm, batch_id)
    why = await explain_missing_runner(operator.link, batch)
    values = {"batch": batch_id, "before": before, "status": str(batch.status), "why": why}
    return {name: value for name, value in values.items() if value}


async def _fetch(llm: AsyncOpenfall, batch_id: str) -> Batch:
    """Raises `BatchFileError`."""
    batch = await fetch_batch(llm.store.connection, batch_id)
    if batch is None:
        raise BatchFileError(f"no batch {batch_id}: it was never created at the gateway, was deleted, or has expired")
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
        "uncollected": 0,
        "not_submitted": max(0, batch.total - max(batch.submitted, ended)),
        "output": batch.output_file_id or f"the gateway, key {batch.terms.producer}",
        "why": ": ".join(filter(None, (str(batch.status), why))),
    }
