"""Our own API: the jobs of the queue over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.json_response import json_response
from openfall.producers.gateway.routes import Endpoint
from openfall.router_core.state.job_records import JobRecord


async def get_job(exchange: Exchange) -> Response:
    """Describe a job: its state, its attempts, its result."""
    return json_response(_described(await own_record(exchange)))


async def cancel_job(exchange: Exchange) -> Response:
    """End a job. A job that has ended stays as it is."""
    record = await own_record(exchange)
    changed = await exchange.gateway.client.cancel(record.id)
    return json_response({**_described(await own_record(exchange)), "changed": changed})


async def own_record(exchange: Exchange) -> JobRecord:
    """The record of the job in the path. A job of another key does not exist for this one. Raises `Refusal`."""
    job_id = exchange.request.path_params["id"]
    record = await exchange.gateway.client.record(job_id)
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
        "attempts": [asdict(attempt) for attempt in record.attempts],
        "result": None if shown is None else shown.as_json(),
    }


ENDPOINTS = (
    Endpoint("GET", "/v1/jobs/{id}", get_job, "Describe a job."),
    Endpoint("POST", "/v1/jobs/{id}/cancel", cancel_job, "End a job."),
)
