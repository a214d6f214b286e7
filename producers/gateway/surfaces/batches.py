"""OpenAI's batches: a file of requests, answered within a window, with one row for each in a file of results."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from openfall.producers.callbacks import callback_options
from openfall.producers.errors import BadRequest
from openfall.producers.gateway.batches.batch_input import take_input
from openfall.producers.gateway.batches.line_endpoints import LINE_ENDPOINTS
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.file_directory import disk_errors
from openfall.producers.gateway.file_expiry import expiry_of_output
from openfall.producers.gateway.job_headers import check_headers
from openfall.producers.gateway.paging import page_body, page_limit
from openfall.producers.gateway.routes import PAGE, TEXT, Endpoint, body_of, json_response
from openfall.producers.gateway.surfaces.files import local_path, own_file
from openfall.producers.gateway_batch_status import explain_missing_runner
from openfall.producers.job_request import parse_urgency
from openfall.producers.request_validation import check_metadata
from openfall.producers.submit_retries import retry
from openfall.router_core.batch_rules.batch_status import ENDED, BatchStatus
from openfall.router_core.batch_rules.completion_window import window_seconds
from openfall.router_core.jobs.request_fingerprint import sorted_deep
from openfall.router_core.jobs.wire_headers import pick_wire_headers
from openfall.router_core.state import batches
from openfall.router_core.state.batches import Batch, BatchQuery, BatchTerms, Form
from openfall.router_core.state.stored_files import StoredFile

_MOMENTS = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


async def create(exchange: Exchange) -> Response:
    """Answer the requests of a file."""
    body = await exchange.body()
    url = body.get("endpoint")
    if isinstance(url, str) and f"/v1{url}" in LINE_ENDPOINTS:
        url = f"/v1{url}"  # as Azure writes it
    if not isinstance(url, str) or url not in LINE_ENDPOINTS:
        raise Refusal("bad_request", f"`endpoint` must be one of {', '.join(LINE_ENDPOINTS)}", "endpoint")
    window = body.get("completion_window") or "24h"
    seconds = window_seconds(window) if isinstance(window, str) else None
    if seconds is None:
        raise Refusal("bad_request", "`completion_window` must be 1h to 7d, for example 24h", "completion_window")
    file = await _input_file(exchange, body.get("input_file_id"))
    now = int(time.time())
    terms = BatchTerms(
        **await new_batch(exchange, body, "openai"),
        endpoint=url,
        created_at=now,
        deadline=now + seconds,
        window=window,
        input_file_id=file.id,
        output_seconds=expiry_of_output(body.get("output_expires_after")),
    )
    if await batches.fetch_batch(exchange.link, terms.id) is None:
        with disk_errors():
            directory = exchange.gateway.directory
            await asyncio.to_thread(take_input, directory.path, terms.id, directory.data(file.id))
    return json_response(batch_object(await start_batch(exchange, terms)))


async def list_batches(exchange: Exchange) -> Response:
    """List the batches of the key, the newest first."""
    page, has_more = await batch_page(exchange, "openai", exchange.request.query_params.get("after", ""))
    return json_response(page_body([batch_object(batch) for batch in page], has_more))


async def retrieve(exchange: Exchange) -> Response:
    """Describe a batch."""
    batch, link = await own_batch(exchange, "openai"), exchange.link
    described = batch_object(batch)
    described["openfall"]["why"] = batch.why or await explain_missing_runner(link, batch) or None
    return json_response(described)


async def cancel(exchange: Exchange) -> Response:
    """End a batch. What was answered stays."""
    batch = await own_batch(exchange, "openai")
    before = await batches.cancel_batch(exchange.link, batch.terms.id)
    if before in ENDED - {BatchStatus.CANCELLED} or before == BatchStatus.FINALIZING:
        raise Refusal("bad_request", f"the batch is {before} already: only one that is not can be cancelled")
    exchange.gateway.batch_runner.wake()
    return json_response(batch_object(await own_batch(exchange, "openai")))


async def new_batch(exchange: Exchange, body: Mapping[str, Any], form: Form) -> dict[str, Any]:
    """The terms that all batches have. With an `Idempotency-Key` the id follows from it.

    Raises `Refusal`, `BadRequest`, `UnknownName`."""
    check_headers(exchange.request.headers)
    caller, settings = exchange.caller, exchange.config.settings
    key = exchange.request.headers.get("idempotency-key")
    known = sha256(f"{form} {caller.name}\0{key}".encode()).hexdigest()[:16] if key else secrets.token_hex(8)
    options: dict[str, Any] = {name: exchange.header(name) for name in ("role", "task")}
    options["group"] = exchange.group()
    options["local_only"] = exchange.local_only() or None
    options["urgency"] = parse_urgency(exchange.header("urgency"))
    options["wire_headers"] = pick_wire_headers(exchange.request.headers, form) or None
    webhook = exchange.header("webhook") or caller.webhook
    if webhook is not None:
        callback_options({"webhook": webhook}, settings)
    with disk_errors():
        directory = await asyncio.to_thread(lambda: exchange.gateway.directory.id)
    return {
        "id": ("msgbatch_" if form == "anthropic" else "batch_") + known,
        "form": form,
        "producer": caller.name,
        "directory": directory,
        "metadata": _metadata(body.get("metadata")),
        "names": caller.names,
        "options": {name: value for name, value in options.items() if value is not None},
        "webhook": webhook,
        "digest": sha256(to_json(sorted_deep(dict(body)))).hexdigest()[:24],
    }


async def start_batch(exchange: Exchange, terms: BatchTerms) -> Batch:
    """Write down a batch whose input is on the disk, and wake the runner. Raises `Refusal`."""
    link = exchange.link
    known, exchange.is_replayed = await retry(lambda: batches.create_batch(link, terms), exchange.client.retry_for)
    if known.digest != terms.digest:
        exchange.is_replayed = False
        raise Refusal("idempotency_conflict", "this Idempotency-Key belongs to a batch with other parameters")
    exchange.gateway.batch_runner.wake()
    batch = await batches.fetch_batch(link, terms.id)
    if batch is None:
        raise Refusal("other", "the batch cannot be read")
    return batch


async def own_batch(exchange: Exchange, form: Form) -> Batch:
    """The batch in the path. One of another key does not exist. Raises `Refusal`."""
    batch_id, caller = exchange.request.path_params["id"], exchange.caller
    batch = await batches.fetch_batch(exchange.link, batch_id)
    if batch is None or batch.terms.form != form or (batch.terms.producer != caller.name and not caller.admin):
        raise Refusal("not_found", f"no batch {batch_id[:64]}: it was never created here, was deleted, or has expired")
    return batch


async def batch_page(exchange: Exchange, form: Form, after: str, before: str = "") -> tuple[list[Batch], bool]:
    """A page of the batches of the key, and whether there are more. Raises `Refusal`."""
    limit = page_limit(exchange.request.query_params, 20, 1000 if form == "anthropic" else 100)
    producer = "" if exchange.caller.admin else exchange.caller.name
    link = exchange.link
    page = await batches.list_batches(link, BatchQuery(form, producer, limit, after, before))
    if page is None:
        raise Refusal("bad_request", "the cursor names no batch of this key", "after")
    return page


def batch_object(batch: Batch) -> dict[str, Any]:
    """A batch in OpenAI's form."""
    terms, counts = batch.terms, batch.counts
    moments = {f"{name}_at": _seconds(batch.moments.get(name)) for name in _MOMENTS}
    failed = counts["errored"] + counts["cancelled"] + counts["expired"]
    return {
        "id": terms.id,
        "object": "batch",
        "endpoint": terms.endpoint,
        "errors": {"object": "list", "data": list(batch.errors)} if batch.errors else None,
        "input_file_id": terms.input_file_id,
        "completion_window": terms.window,
        "status": str(batch.status),
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": terms.created_at,
        "expires_at": terms.deadline,
        **moments,
        "request_counts": {"total": batch.total, "completed": counts["succeeded"], "failed": failed},
        "usage": batch.usage,
        "metadata": terms.metadata,
        "openfall": {"submitted": batch.submitted, "runner": batch.runner or None, "why": batch.why or None},
    }


async def _input_file(exchange: Exchange, file_id: object) -> StoredFile:
    if not isinstance(file_id, str) or not file_id:
        raise Refusal("bad_request", "`input_file_id` is missing: upload the file first", "input_file_id")
    try:
        file = await own_file(exchange, file_id)
    except Refusal as refusal:
        raise Refusal("bad_request", refusal.message, "input_file_id") from None
    if file.purpose != "batch":
        raise Refusal("bad_request", f"the file has the purpose {file.purpose}, not batch", "input_file_id")
    most = exchange.settings.max_batch_file
    if file.bytes > most:
        text = f"the file has {file.bytes:,} bytes, over the {most:,} of `gateway: {{max_batch_file: ...}}`"
        raise Refusal("bad_request", text, "input_file_id")
    await local_path(exchange, file)
    return file


def _metadata(metadata: object) -> dict[str, str] | None:
    """Raises `Refusal`."""
    try:
        check_metadata(metadata)
    except BadRequest as error:
        raise Refusal("bad_request", str(error), "metadata") from None
    return dict(metadata) if isinstance(metadata, dict) else None


def _seconds(moment: float | None) -> int | None:
    return None if moment is None else int(moment)


BODY = body_of("input_file_id", "endpoint", input_file_id=TEXT, endpoint={**TEXT, "enum": list(LINE_ENDPOINTS)})
ENDPOINTS = (
    Endpoint("POST", "/v1/batches", create, "Answer the requests of a file.", body=BODY),
    Endpoint("GET", "/v1/batches", list_batches, "List the batches of the key.", query=PAGE),
    Endpoint("GET", "/v1/batches/{id}", retrieve, "Describe a batch."),
    Endpoint("POST", "/v1/batches/{id}/cancel", cancel, "End a batch. What was answered stays."),
)
