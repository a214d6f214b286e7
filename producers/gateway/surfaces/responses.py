"""OpenAI's Responses: the standard API of a durable queue.

A Response of the background is polled, streamed from any event on, cancelled and deleted by its id, at any door.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from openfall.producers.gateway.encoders.response_object import ResponseHead, echo_of, response_id
from openfall.producers.gateway.encoders.response_stream import ResponseStream
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.event_stream import EventStream
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.json_response import json_response
from openfall.producers.gateway.receipt import receipt_headers, receipt_of
from openfall.producers.gateway.response_request import Message, chat_request
from openfall.producers.gateway.routes import FLAG, TEXT, Endpoint, body_of
from openfall.producers.gateway.submission import Accepted, Terms, submit
from openfall.producers.gateway.token_estimate import estimate_tokens
from openfall.producers.gateway.waiting import wait_for_answer
from openfall.producers.request import new_job_id
from openfall.router_core.state.errors import UnknownJob
from openfall.router_core.state.job_records import JobRecord
from openfall.router_core.state.stored_responses import StoredResponse, delete_response, fetch_response, store_response
from openfall.router_core.vocabulary import Urgency

_PREFIX = response_id("")
_WINDOWS = {"2h": "2h", "8h": "8h"}
"""The completion windows of OpenAI's background options, as deadlines."""


async def create(exchange: Exchange) -> Response:
    """Answer a request, now or in the background."""
    body = await exchange.body()
    background = body.get("background") is True
    request = chat_request(body, await _earlier_messages(exchange, body.get("previous_response_id")))
    head = ResponseHead(new_job_id(), "", int(time.time()), echo_of(body, request.left_out))
    terms: Terms = {"id": head.job_id, **_background_terms(body)} if background else {"id": head.job_id}
    if background or body.get("store") is not False:
        await _store(exchange, head, str(body.get("model") or ""))
    accepted = await submit(exchange, request.body, "openai", **terms)
    head = ResponseHead(accepted.id, accepted.asked_for, head.created_at, head.echo)
    if accepted.joined:
        head = await _stored_head(exchange, accepted.id) or head  # every door gives one Response alike
    if accepted.streams:
        return await EventStream(exchange, accepted, ResponseStream(head)).open()
    if background:
        return json_response(head.response("queued"))
    result = await wait_for_answer(exchange, accepted)
    return json_response(
        head.ended(result, receipt_of(result)), headers=receipt_headers(result, joined=accepted.joined)
    )


async def retrieve(exchange: Exchange) -> Response:
    """Describe a Response; with `stream=true` its events behind `starting_after`."""
    head, record = await _own_response(exchange)
    query = exchange.request.query_params
    if query.get("stream", "").lower() != "true":
        return json_response(_described(head, record))
    after = query.get("starting_after", "-1")
    if not after.lstrip("-").isdigit():
        raise Refusal("bad_request", "`starting_after` must be the number of an event", "starting_after")
    accepted = Accepted(record.id, head.asked_for)
    return await EventStream(exchange, accepted, ResponseStream(head, int(after))).open()


async def cancel(exchange: Exchange) -> Response:
    """End a Response. One that has ended stays as it is."""
    _, record = await _own_response(exchange)
    await exchange.gateway.client.cancel(record.id)
    return json_response(_described(*await _own_response(exchange)))


async def delete(exchange: Exchange) -> Response:
    """Forget a Response. A job that runs goes on to its end."""
    head, record = await _own_response(exchange)
    await delete_response(exchange.gateway.client.store.connection, record.id)
    return json_response({"id": response_id(head.job_id), "object": "response", "deleted": True})


async def input_items(exchange: Exchange) -> Response:
    """List the messages of a request, where prompts are kept."""
    _, record = await _own_response(exchange)
    messages = _kept_messages(record)
    items = [
        {
            "id": f"in_{record.id}_{number}",
            "type": "message",
            "role": message.get("role"),
            "status": "completed",
            "content": [{"type": "input_text", "text": message.get("content")}],
        }
        for number, message in enumerate(messages)
        if isinstance(message.get("content"), str)
    ]
    ends = {"first_id": items[0]["id"] if items else None, "last_id": items[-1]["id"] if items else None}
    return json_response({"object": "list", "data": items, "has_more": False, **ends})


async def input_tokens(exchange: Exchange) -> Response:
    """Estimate the tokens of a request. No model is asked."""
    request = chat_request(await exchange.body())
    body = {"object": "response.input_tokens", "input_tokens": estimate_tokens(request.body)}
    return json_response(body, headers={"x-openfall-estimate": "true"})


def _background_terms(body: Mapping[str, Any]) -> Terms:
    options = body.get("background_options")
    window = options.get("completion_window") if isinstance(options, Mapping) else None
    if window in _WINDOWS:
        return {"stays": True, "urgency": Urgency.BATCH, "expires_in": _WINDOWS[window]}
    return {"stays": True, "urgency": Urgency.BACKGROUND}


async def _store(exchange: Exchange, head: ResponseHead, asked_for: str) -> None:
    """Keep what the Response repeats, before its job is accepted: a door that dies between loses nothing."""
    config = exchange.gateway.config
    stored = StoredResponse(
        producer=exchange.caller.name,
        asked_for=asked_for,
        created_at=head.created_at,
        echo={**head.echo, "instructions": None},  # it is a part of the prompt
    )
    longest = max(policy.expires_after for policy in config.catalog.urgency.values())
    keep_seconds = longest + config.catalog.open_fall.hold_for + config.settings.retention.results
    await store_response(exchange.gateway.client.store.connection, head.job_id, stored, keep_seconds)


async def _stored_head(exchange: Exchange, job_id: str) -> ResponseHead | None:
    """What the Response of an earlier request repeats. None: it was not stored."""
    stored = await fetch_response(exchange.gateway.client.store.connection, job_id)
    return None if stored is None else ResponseHead(job_id, stored.asked_for, stored.created_at, stored.echo)


async def _own_response(exchange: Exchange) -> tuple[ResponseHead, JobRecord]:
    """The Response in the path, and the record of its job. One of another key does not exist. Raises `Refusal`."""
    return await _find(exchange, exchange.request.path_params["id"])


async def _find(exchange: Exchange, named: str) -> tuple[ResponseHead, JobRecord]:
    job_id = named.removeprefix(_PREFIX)
    unknown = Refusal("not_found", f"no response {named}: it was never created here, was deleted, or has expired")
    client = exchange.gateway.client
    stored = await fetch_response(client.store.connection, job_id) if job_id else None
    if stored is None or (stored.producer != exchange.caller.name and not exchange.caller.admin):
        raise unknown
    try:
        record = await client.record(job_id)
    except UnknownJob:
        raise unknown from None
    exchange.job_id = job_id
    return ResponseHead(job_id, stored.asked_for, stored.created_at, stored.echo), record


def _described(head: ResponseHead, record: JobRecord) -> dict[str, Any]:
    if record.result is not None:
        return head.ended(record.result, receipt_of(record.result))
    if record.state == "started":
        return head.response("in_progress")
    waiting = {"state": record.state, "held_for": record.held_for, "why": record.hold_detail or None}
    return head.response("queued", openfall=waiting)


def _kept_messages(record: JobRecord) -> list[Message]:
    """The messages of a job whose prompt is kept. Raises `Refusal`."""
    messages = record.job.body.get("messages") if record.job is not None else None
    if not isinstance(messages, list):
        raise Refusal(
            "bad_request", "its prompt is not kept: set `privacy: {keep_prompts: yes}`, or send the messages again"
        )
    return [message for message in messages if isinstance(message, dict)]


async def _earlier_messages(exchange: Exchange, previous: object) -> list[Message]:
    """The conversation up to the end of an earlier Response. Raises `Refusal`."""
    if previous is None:
        return []
    if not isinstance(previous, str):
        raise Refusal("bad_request", "`previous_response_id` must be text", "previous_response_id")
    _, record = await _find(exchange, previous)
    if record.result is None or not record.result.answered:
        raise Refusal("bad_request", f"response {previous} has no answer to continue", "previous_response_id")
    choices = (record.result.body or {}).get("choices") or [{}]
    answer = {key: value for key, value in (choices[0].get("message") or {}).items() if key != "reasoning_content"}
    return [message for message in _kept_messages(record) if message.get("role") != "system"] + [answer]


BODY = body_of("input", model=TEXT, input=TEXT, background=FLAG, stream=FLAG, store=FLAG)
ENDPOINTS = (
    Endpoint("POST", "/v1/responses", create, "Answer a request, now or in the background.", body=BODY),
    Endpoint("POST", "/v1/responses/input_tokens", input_tokens, "Estimate the tokens of a request.", body=BODY),
    Endpoint("GET", "/v1/responses/{id}", retrieve, "Describe or stream a Response.", streams=True),
    Endpoint("DELETE", "/v1/responses/{id}", delete, "Forget a Response."),
    Endpoint("POST", "/v1/responses/{id}/cancel", cancel, "End a Response."),
    Endpoint("GET", "/v1/responses/{id}/input_items", input_items, "List the messages of a request."),
)
