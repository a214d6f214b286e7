"""Anthropic's message batches: requests in one body, answered within a day, with one row of results for each."""

from __future__ import annotations

import asyncio
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.responses import FileResponse, Response

from openfall.producers.gateway.batches.batch_input import take_input, validate
from openfall.producers.gateway.batches.batch_lines import LineCheck
from openfall.producers.gateway.batches.inline_requests import write_requests
from openfall.producers.gateway.batches.line_endpoints import MESSAGES, line_urls
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.file_directory import disk_errors, new_file_id, open_private
from openfall.producers.gateway.paging import page_body
from openfall.producers.gateway.routes import COUNT, TEXT, Endpoint, Schema, body_of, json_response
from openfall.producers.gateway.surfaces.batches import batch_page, new_batch, own_batch, start_batch
from openfall.producers.gateway.surfaces.files import local_path
from openfall.producers.gateway.upload import receive_body, upload_slot
from openfall.router_core.batch_rules.batch_line_format import LineProblem, ParsedLine
from openfall.router_core.batch_rules.batch_status import ENDED, BatchStatus
from openfall.router_core.state import batches
from openfall.router_core.state.batches import Batch, BatchTerms
from openfall.router_core.state.stored_files import delete_file, fetch_file

WINDOW_SECONDS = 86400
_CUSTOM_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


async def create(exchange: Exchange) -> Response:
    """Answer many messages."""
    gateway = exchange.gateway
    with upload_slot(exchange), disk_errors():
        directory = gateway.directory
        name = new_file_id()
        body, lines = directory.part(name), directory.part(f"{name}-lines")
        try:
            await asyncio.to_thread(lambda: directory.id)
            digest = await receive_body(exchange, directory, name, exchange.settings.max_batch_file)
            await asyncio.to_thread(_write_lines, body, lines, exchange.settings.max_body)
            now = int(time.time())
            terms = BatchTerms(
                **await new_batch(exchange, {"digest": digest}, "anthropic"),
                endpoint=MESSAGES,
                created_at=now,
                deadline=now + WINDOW_SECONDS,
            )
            await asyncio.to_thread(_check, exchange, terms, lines)
            if await batches.fetch_batch(exchange.link, terms.id) is None:
                await asyncio.to_thread(take_input, directory.path, terms.id, lines)
        finally:
            for part in (body, lines):
                part.unlink(missing_ok=True)
    return json_response(message_batch(exchange, await start_batch(exchange, terms)))


async def list_batches(exchange: Exchange) -> Response:
    """List the message batches of the key, the newest first."""
    query = exchange.request.query_params
    page, has_more = await batch_page(exchange, "anthropic", query.get("after_id", ""), query.get("before_id", ""))
    return json_response(page_body([message_batch(exchange, batch) for batch in page], has_more))


async def retrieve(exchange: Exchange) -> Response:
    """Describe a message batch."""
    return json_response(message_batch(exchange, await own_batch(exchange, "anthropic")))


async def cancel(exchange: Exchange) -> Response:
    """End a message batch. What was answered stays."""
    batch = await own_batch(exchange, "anthropic")
    before = await batches.cancel_batch(exchange.link, batch.terms.id)
    if before in ENDED:
        raise Refusal("bad_request", "the batch has ended already")
    exchange.gateway.batch_runner.wake()
    return json_response(message_batch(exchange, await own_batch(exchange, "anthropic")))


async def delete(exchange: Exchange) -> Response:
    """Delete a message batch that has ended, with its results."""
    batch = await own_batch(exchange, "anthropic")
    if batch.status not in ENDED:
        raise Refusal("bad_request", "the batch has not ended: cancel it first")
    link = exchange.link
    file = await fetch_file(link, batch.output_file_id or "")
    if file is not None:
        await delete_file(link, file)
        await asyncio.to_thread(exchange.gateway.directory.remove, file.id)
    await batches.delete_batch(link, batch)
    return json_response({"id": batch.terms.id, "type": "message_batch_deleted"})


async def results(exchange: Exchange) -> Response:
    """Send the results of a message batch that has ended, as JSON Lines."""
    batch = await own_batch(exchange, "anthropic")
    if batch.status not in ENDED:
        raise Refusal("not_found", "the batch has no results yet: wait until its processing_status is ended")
    file = await fetch_file(exchange.link, batch.output_file_id or "")
    if file is None:
        raise Refusal("not_found", "the results of the batch are gone: they are kept for 30 days")
    return FileResponse(await local_path(exchange, file), media_type="application/x-jsonl", filename=file.filename)


def message_batch(exchange: Exchange, batch: Batch) -> dict[str, Any]:
    """A batch in Anthropic's form: until it has ended, everything is processing."""
    terms, counts = batch.terms, batch.counts
    is_ended = batch.status in ENDED
    ended_at = next((batch.moments[status] for status in ENDED if status in batch.moments), None)
    cancelling = BatchStatus.CANCELLING in batch.moments
    status = "ended" if is_ended else "canceling" if cancelling else "in_progress"
    names = {"succeeded": "succeeded", "errored": "errored", "canceled": "cancelled", "expired": "expired"}
    return {
        "id": terms.id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": {
            "processing": 0 if is_ended else batch.total,
            **{name: counts[own] if is_ended else 0 for name, own in names.items()},
        },
        "created_at": _moment(terms.created_at),
        "expires_at": _moment(terms.deadline),
        "ended_at": _moment(ended_at),
        "cancel_initiated_at": _moment(batch.moments.get(BatchStatus.CANCELLING)),
        "archived_at": None,
        "results_url": f"{exchange.base_url}/v1/messages/batches/{terms.id}/results" if is_ended else None,
        "openfall": {"submitted": batch.submitted, "runner": batch.runner or None, "why": batch.why or None},
    }


def _write_lines(body: Path, lines: Path, max_request: int) -> None:
    with open_private(lines, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
        others = write_requests(body, file, max_request)
        os.fsync(file.fileno())
    if others:
        raise Refusal("bad_request", f"{min(others)}: Extra inputs are not permitted", min(others))


def _check(exchange: Exchange, terms: BatchTerms, lines: Path) -> None:
    """The form of the requests is checked at once, as Anthropic does. Raises `Refusal`."""
    check = LineCheck(exchange.config, terms)

    def check_line(line: ParsedLine) -> LineProblem | None:
        if not _CUSTOM_ID.fullmatch(line.custom_id):
            return LineProblem("invalid_value", "custom_id must have 1 to 64 letters, digits, `_` or `-`", "custom_id")
        return check(line)

    most = exchange.settings.max_batch_requests
    problems = validate(lines, line_urls(MESSAGES), most, check_line).problems
    if problems:
        first = problems[0]
        place = "requests" if first["line"] is None else f"requests.{first['line'] - 1}"
        raise Refusal("bad_request", f"{place}: {first['message']}", place)


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


_REQUEST = {"type": "object", "required": ["custom_id", "params"]}
BODY = body_of("requests", requests={"type": "array", "items": _REQUEST, "minItems": 1})
_PATH = "/v1/messages/batches"
_LINES = "application/x-jsonl"
_LIST: dict[str, Schema] = {"limit": COUNT, "after_id": TEXT, "before_id": TEXT}
ENDPOINTS = (
    Endpoint("POST", _PATH, create, "Answer many messages.", body=BODY),
    Endpoint("GET", _PATH, list_batches, "List the message batches of the key.", query=_LIST),
    Endpoint("GET", f"{_PATH}/{{id}}", retrieve, "Describe a message batch."),
    Endpoint("DELETE", f"{_PATH}/{{id}}", delete, "Delete a message batch that has ended."),
    Endpoint("POST", f"{_PATH}/{{id}}/cancel", cancel, "End a message batch. What was answered stays."),
    Endpoint("GET", f"{_PATH}/{{id}}/results", results, "Send the results of a message batch.", media_type=_LINES),
)
