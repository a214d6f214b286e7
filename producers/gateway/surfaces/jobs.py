"""Our own API: the jobs of the queue over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from starlette.responses import Response, StreamingResponse

from openfall.producers.gateway.encoders import sse
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.event_stream import HEADERS, KEEPALIVE_SECONDS
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.paging import page_limit, read_number
from openfall.producers.gateway.routes import COUNT, TEXT, Endpoint, Schema, json_response
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.jobs.result import Status
from openfall.router_core.state import recent_jobs
from openfall.router_core.state.cancellation import cancel_all
from openfall.router_core.state.held_jobs import replay_held
from openfall.router_core.state.job_records import JobRecord
from openfall.router_core.state.recent_jobs import JOB_STATES, JobFilter

MAX_LISTED = 1000
KNOWN_STATES = frozenset({*JOB_STATES, *(status.value for status in Status)})


async def get_job(exchange: Exchange) -> Response:
    """Describe a job: its state, its attempts, its result."""
    return json_response(_described(await own_record(exchange)))


async def cancel_job(exchange: Exchange) -> Response:
    """End a job. A job that has ended stays as it is."""
    record = await own_record(exchange)
    changed = await exchange.client.cancel(record.id)
    return json_response({**_described(await own_record(exchange)), "changed": changed})


async def replay_job(exchange: Exchange) -> Response:
    """Put a held job back into its queue. Any other job stays as it is."""
    record = await own_record(exchange)
    await replay_held(exchange.link, record.id)
    return json_response(_described(await own_record(exchange)))


async def list_jobs(exchange: Exchange) -> Response:
    """List the newest jobs of the key."""
    query, caller = exchange.request.query_params, exchange.caller
    limit = page_limit(query, 50, MAX_LISTED)
    states = frozenset(filter(None, query.get("state", "").split(",")))
    if unknown := states - KNOWN_STATES:
        raise Refusal("bad_request", str(UnknownName("state", min(unknown), KNOWN_STATES)), "state")
    wanted = JobFilter(
        states=states,
        role=query.get("role"),
        model=query.get("model"),
        urgency=query.get("urgency"),
        group=query.get("group"),
        producer=query.get("producer"),
        only_of=None if caller.admin else caller.name,
        id_text=query.get("id"),
        since=_moment(query.get("since")),
    )
    link = exchange.link
    try:
        page = await recent_jobs.list_jobs(link, wanted, limit, before=query.get("before"))
    except ValueError as error:
        raise Refusal("bad_request", str(error), "before") from None
    more = {"has_more": page.next_cursor is not None, "next": page.next_cursor}
    return json_response({"object": "list", "data": [asdict(job) for job in page.jobs], **more})


def _moment(text: str | None) -> float | None:
    """Epoch seconds. Raises `Refusal`."""
    return None if text is None else float(read_number("since", text, 0, 10**10))


async def job_events(exchange: Exchange) -> Response:
    """Stream the events of a job, behind `Last-Event-ID` or `after`: for the EventSource of a browser."""
    record = await own_record(exchange)
    given = exchange.request.query_params.get("after") or exchange.request.headers.get("last-event-id") or "0"
    after = read_number("after", given, 0)
    return StreamingResponse(_events(exchange, record.id, after), headers=HEADERS, media_type="text/event-stream")


async def _events(exchange: Exchange, job_id: str, after: int) -> AsyncIterator[bytes]:
    """The events as server-sent events, and a comment now and then. Ids are right here: no SDK reads this stream."""
    async with aclosing(exchange.client.stream(job_id, cursor=after)) as events:
        step = asyncio.ensure_future(anext(events, None))
        try:
            while True:
                await asyncio.wait({step}, timeout=KEEPALIVE_SECONDS)
                if not step.done():
                    yield sse.comment("waiting")
                    continue
                event = step.result()
                if event is None:
                    return
                row = {**event, "result": event["result"].as_json()} if event["event"] == "done" else {**event}
                yield f"id: {event['cursor']}\n".encode() + sse.named(event["event"], row)
                step = asyncio.ensure_future(anext(events, None))
        finally:
            await cancel_all(step)


async def own_record(exchange: Exchange) -> JobRecord:
    """The record of the job in the path. A job of another key does not exist for this one. Raises `Refusal`."""
    job_id = exchange.request.path_params["id"]
    record = await exchange.client.record(job_id)
    if record.producer != exchange.caller.name and not exchange.caller.admin:
        raise Refusal("not_found", f"no job {job_id}: it was never accepted here, or its result has expired")
    exchange.job_id = record.id
    return record


def _described(record: JobRecord) -> dict[str, Any]:
    """What is known of a job, never its prompt."""
    shown = record.result or record.interim_reply
    return {
        "job_id": record.id,
        "state": record.state,
        "queue": record.queue,
        "accepted_at": record.accepted_at,
        "deadline": record.deadline,
        "deliveries": record.deliveries,
        "held_for": record.held_for,
        "attempts": [asdict(attempt) | {"cost_usd": attempt.cost_usd} for attempt in record.attempts],
        "result": None if shown is None else shown.as_json(),
    }


_EVENTS = "text/event-stream"
_FILTERS = ("state", "role", "model", "urgency", "group", "producer", "id")
_LIST: dict[str, Schema] = {"limit": COUNT, **dict.fromkeys(_FILTERS, TEXT), "since": COUNT, "before": TEXT}
ENDPOINTS = (
    Endpoint("GET", "/v1/jobs", list_jobs, "List the newest jobs.", query=_LIST),
    Endpoint(
        "GET",
        "/v1/jobs/{id}/events",
        job_events,
        "Stream the events of a job.",
        streams=True,
        query={"after": COUNT},
        media_type=_EVENTS,
    ),
    Endpoint("POST", "/v1/jobs/{id}/replay", replay_job, "Put a held job back into its queue."),
    Endpoint("GET", "/v1/jobs/{id}", get_job, "Describe a job."),
    Endpoint("POST", "/v1/jobs/{id}/cancel", cancel_job, "End a job."),
)
