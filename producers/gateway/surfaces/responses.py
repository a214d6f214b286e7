"""OpenAI's Responses: the standard API of a durable queue.

A Response of the background is polled, streamed from any event on, cancelled and deleted by its id, at any gateway.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from openfall.producers.client_store import try_redis
from openfall.producers.gateway.answer import answer
from openfall.producers.gateway.conversation import input_items, listed_items, output_as_input, request_of
from openfall.producers.gateway.encoders.response_object import ResponseHead, echo_of
from openfall.producers.gateway.encoders.response_stream import ResponseStream
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.event_stream import EventStream
from openfall.producers.gateway.exchange import Exchange, read_flag
from openfall.producers.gateway.paging import newest_first, page_body, page_limit, read_number
from openfall.producers.gateway.receipt import receipt_of
from openfall.producers.gateway.routes import FLAG, TEXT, Endpoint, Schema, body_of, json_response
from openfall.producers.gateway.submission import Accepted, Terms, check_model, submit
from openfall.producers.job_request import new_job_id
from openfall.producers.prompt import check_input
from openfall.producers.submit_retries import UNCERTAIN
from openfall.router_core.jobs.prompt_tokens import estimate_tokens
from openfall.router_core.jobs.response_status import response_id
from openfall.router_core.jobs.unchecked_json import as_object
from openfall.router_core.state.errors import UnknownJob
from openfall.router_core.state.job_records import JobRecord
from openfall.router_core.state.stored_responses import (
    MAX_TURNS,
    StoredResponse,
    Unread,
    UnreadConversation,
    delete_response,
    fetch_input,
    fetch_response,
    store_response,
)
from openfall.router_core.vocabulary import Urgency

_PREFIX = response_id("")
_MAX_ID = 256
MAX_LISTED = 100
_WINDOWS = {"2h": "2h", "8h": "8h"}
"""The completion windows of OpenAI's background options, as deadlines."""


async def create(exchange: Exchange) -> Response:
    """Answer a request, now or in the background."""
    body = await exchange.body()
    background, stores = read_flag(body, "background"), read_flag(body, "store", default=True)
    earlier = await _earlier(exchange, body.get("previous_response_id"))
    request = request_of(body, [*earlier.items, *earlier.reply])
    head = ResponseHead(new_job_id(), "", int(time.time()), echo_of(body))
    terms: Terms = {"id": head.job_id, **_background_terms(exchange, body)} if background else {"id": head.job_id}
    if background or stores:
        await _store(exchange, head, body, earlier)
        accepted = await _submit_stored(exchange, request, terms)
    else:
        accepted = await submit(exchange, request, "responses", **terms)
    head = ResponseHead(accepted.id, accepted.asked_for, head.created_at, head.echo)
    if accepted.joined:
        head = await _stored_head(exchange, accepted.id) or head  # every gateway gives one Response alike
    if background and not accepted.streams:
        return json_response(head.response("queued"))
    del body, request, earlier  # large ones are not kept while their caller waits
    encoder = ResponseStream(head)
    return await answer(exchange, accepted, encoder, lambda result, _, receipt: head.ended(result, receipt))


async def retrieve(exchange: Exchange) -> Response:
    """Describe a Response; with `stream=true` its events behind `starting_after`."""
    head, record = await _own_response(exchange)
    query = exchange.request.query_params
    if query.get("stream", "").lower() != "true":
        return json_response(_described(head, record))
    after = read_number("starting_after", query.get("starting_after", "-1"), -1)
    accepted = Accepted(record.id, head.asked_for)
    return await EventStream(exchange, accepted, ResponseStream(head, after)).open()


async def cancel(exchange: Exchange) -> Response:
    """End a Response. One that has ended stays as it is."""
    _, record = await _own_response(exchange)
    await exchange.client.cancel(record.id)
    return json_response(_described(*await _own_response(exchange)))


async def delete(exchange: Exchange) -> Response:
    """Forget a Response. A job that runs goes on to its end."""
    head, record = await _own_response(exchange)
    await delete_response(exchange.link, record.id)
    return json_response({"id": response_id(head.job_id), "object": "response", "deleted": True})


async def list_input_items(exchange: Exchange) -> Response:
    """List the items of a request, the newest first unless `order` is `asc`."""
    _, record = await _own_response(exchange)
    query, items = exchange.request.query_params, listed_items(record.id, await _stored_input(exchange, record.id))
    limit, after = page_limit(query, 20, MAX_LISTED), query.get("after")
    items = items[::-1] if newest_first(query) else items
    places = [place for place, item in enumerate(items, 1) if item["id"] == after]
    if after and not places:
        raise Refusal("bad_request", "`after` must be the id of an item of this Response", "after")
    rest = items[places[0] :] if places else items
    return json_response(page_body(rest[:limit], has_more=len(rest) > limit))


async def input_tokens(exchange: Exchange) -> Response:
    """Estimate the tokens of a request. No model is asked."""
    body = await exchange.body()
    check_model(exchange, body)
    earlier = await _earlier(exchange, body.get("previous_response_id"))
    request = request_of(body, [*earlier.items, *earlier.reply])
    check_input(request.get("input"))
    answer = {"object": "response.input_tokens", "input_tokens": estimate_tokens(request)}
    return json_response(answer, headers={"x-openfall-estimate": "true"})


def _background_terms(exchange: Exchange, body: Mapping[str, Any]) -> Terms:
    stays: Terms = {"stays": True, "webhook": exchange.caller.webhook}
    window = as_object(body.get("background_options")).get("completion_window")
    if isinstance(window, str) and window in _WINDOWS:
        return {**stays, "urgency": Urgency.BATCH, "expires_in": _WINDOWS[window]}
    return {**stays, "urgency": Urgency.BACKGROUND}


async def _submit_stored(exchange: Exchange, request: Mapping[str, Any], terms: Terms) -> Accepted:
    """Submit a request that was stored. Nothing stays of one that is refused, or joins the job of another."""
    link, own = exchange.link, terms["id"]
    try:
        accepted = await submit(exchange, request, "responses", **terms)
    except UNCERTAIN:  # it may have been accepted
        raise
    except Exception:
        await try_redis(delete_response(link, own))
        raise
    if accepted.id != own:
        await try_redis(delete_response(link, own))
    return accepted


async def _store(exchange: Exchange, head: ResponseHead, body: Mapping[str, Any], earlier: _Earlier) -> None:
    """Keep the input and what the Response repeats, before its job is accepted: a gateway that dies between loses
    nothing. Raises `Refusal`."""
    config = exchange.config
    stored = StoredResponse(
        producer=exchange.caller.name,
        asked_for=str(body.get("model") or ""),
        created_at=head.created_at,
        echo={**head.echo, "instructions": None},  # it is a part of the prompt
    )
    longest = max(policy.expires_after for policy in config.catalog.urgency.values())
    keep_seconds = longest + config.catalog.open_fall.hold_for + config.settings.retention.results
    items = [*earlier.reply, *input_items(body.get("input"))]
    link = exchange.link
    try:
        await store_response(link, head.job_id, stored, items, keep_seconds, previous=earlier.job_id)
    except UnreadConversation as error:
        raise _unread(exchange, error, f"response {earlier.job_id}") from None


async def _stored_head(exchange: Exchange, job_id: str) -> ResponseHead | None:
    """What the Response of an earlier request repeats. None: it was not stored."""
    stored = await fetch_response(exchange.link, job_id)
    return None if stored is None else ResponseHead(job_id, stored.asked_for, stored.created_at, stored.echo)


async def _own_response(exchange: Exchange) -> tuple[ResponseHead, JobRecord]:
    """The Response in the path, and the record of its job. One of another key does not exist. Raises `Refusal`."""
    return await _find(exchange, exchange.request.path_params["id"])


async def _find(exchange: Exchange, named: str) -> tuple[ResponseHead, JobRecord]:
    job_id = named.removeprefix(_PREFIX)
    unknown = Refusal(
        "not_found", f"no response {named[:_MAX_ID]}: it was never created here, was deleted, or has expired"
    )
    client = exchange.client
    is_id = 0 < len(job_id) <= _MAX_ID
    stored = await fetch_response(client.store.connection, job_id) if is_id else None
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


async def _stored_input(exchange: Exchange, job_id: str) -> list[Any]:
    """The items of the conversation up to the request of a Response. Raises `Refusal`."""
    try:
        max_bytes = exchange.settings.max_body
        return await fetch_input(exchange.link, job_id, max_bytes)
    except UnreadConversation as error:
        raise _unread(exchange, error, f"response {response_id(job_id)}") from None


def _unread(exchange: Exchange, error: UnreadConversation, named: str) -> Refusal:
    """Why a conversation cannot be continued, or listed."""
    if error.why is Unread.LARGE:
        limit = exchange.settings.max_body
        return Refusal("too_large", f"the conversation before it has more than the {limit:,} bytes of `max_body`")
    if error.why is Unread.LONG:
        text = f"the conversation has more than {MAX_TURNS:,} Responses: start again, with the messages themselves"
        return Refusal("bad_request", text, "previous_response_id")
    state = "cannot be read in Redis" if error.why is Unread.UNREADABLE else "are gone"
    text = f"the items of {named} {state}: send the messages themselves"
    return Refusal("no_previous_response", text, "previous_response_id")


@dataclass(frozen=True, slots=True)
class _Earlier:
    """The conversation before a request: the Response that it continues, the items up to the request of that one, and
    its reply. `job_id` None: there is none."""

    job_id: str | None = None
    items: Sequence[Any] = ()
    reply: Sequence[Any] = ()


async def _earlier(exchange: Exchange, previous: object) -> _Earlier:
    """The conversation up to the end of an earlier Response. Raises `Refusal`."""
    if previous is None or previous == "":  # an empty field of a form
        return _Earlier()
    if not isinstance(previous, str):
        raise Refusal("bad_request", "`previous_response_id` must be text", "previous_response_id")
    try:
        _, record = await _find(exchange, previous)
    except Refusal as error:
        raise Refusal("no_previous_response", error.message, "previous_response_id") from None
    if record.result is None or not record.result.answered:
        raise Refusal("bad_request", f"response {previous} has no answer to continue", "previous_response_id")
    exchange.job_id = None
    items = await _stored_input(exchange, record.id)
    return _Earlier(record.id, items, output_as_input(record.result.body or {}))


_INPUT = {"anyOf": [TEXT, {"type": "array", "items": {"type": "object"}}]}
_STREAM: dict[str, Schema] = {"stream": FLAG, "starting_after": {"type": "integer", "minimum": -1}}
BODY = body_of("input", model=TEXT, input=_INPUT, background=FLAG, stream=FLAG, store=FLAG)
ENDPOINTS = (
    Endpoint("POST", "/v1/responses", create, "Answer a request, now or in the background.", body=BODY, submits=True),
    Endpoint("POST", "/v1/responses/input_tokens", input_tokens, "Estimate the tokens of a request.", body=BODY),
    Endpoint("GET", "/v1/responses/{id}", retrieve, "Describe or stream a Response.", streams=True, query=_STREAM),
    Endpoint("DELETE", "/v1/responses/{id}", delete, "Forget a Response."),
    Endpoint("POST", "/v1/responses/{id}/cancel", cancel, "End a Response."),
    Endpoint("GET", "/v1/responses/{id}/input_items", list_input_items, "List the items of a request."),
)
