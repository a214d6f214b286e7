"""The page that asks one question, and shows what becomes of it: a stream, a hand-off, a fall, a replay."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, NamedTuple
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from openfall.producers.client_store import fetch_fleet
from openfall.producers.gateway.encoders import sse
from openfall.producers.gateway.error_table import Refusal, refusal_of_error
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import Endpoint
from openfall.producers.gateway.submission import check_model, submit
from openfall.producers.job_event_text import describe_event, is_news
from openfall.producers.page.page_access import Visitor, check_form, check_right, may_still_read
from openfall.producers.page.page_handler import for_people, html_page, read_form, redirect
from openfall.producers.page.question_form import MAX_QUESTION, MORE_OPTIONS, QuestionForm
from openfall.producers.page.sections.job_section import job_rows
from openfall.producers.resolution_table import describe_route, resolution_table
from openfall.producers.resolve import Resolution, resolve
from openfall.producers.stream_event import StreamEvent
from openfall.router_core.state.job_records import JobRecord
from openfall.router_core.state.recent_jobs import fetch_jobs
from openfall.router_core.vocabulary import Urgency

STREAM_HEADERS = {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}


class ResolvedQuestion(NamedTuple):
    """Which model a question would get, and the command that says the same."""

    resolution: Resolution
    command: str


async def _show_form(exchange: Exchange, visitor: Visitor) -> Response:
    """Show the form."""
    return _form_page(exchange, visitor, {}, "")


def _form_page(
    exchange: Exchange,
    visitor: Visitor,
    typed: dict[str, str],
    problem: str,
    route: ResolvedQuestion | None = None,
) -> Response:
    catalog, names = exchange.catalog, exchange.caller.names
    targets = [name for name in (*catalog.roles, *catalog.tasks, *catalog.models) if not names or name in names]
    return html_page(
        exchange,
        visitor,
        "try.html",
        status=400 if problem else 200,
        targets=["auto", *dict.fromkeys(targets)],
        urgencies=[urgency.value for urgency in Urgency],
        typed=typed,
        problem=problem,
        max_question=MAX_QUESTION,
        opened=any(typed.get(name) for name in MORE_OPTIONS),
        resolution=route.resolution if route else None,
        summary=describe_route(route.resolution) if route else "",
        table=resolution_table(catalog, route.resolution) if route else None,
        command=route.command if route else "",
    )


async def _show_route(exchange: Exchange, visitor: Visitor) -> Response:
    """Show which model a question would get, and why. Nothing is submitted."""
    form = await read_form(exchange)
    check_form(exchange, visitor, form)
    try:
        question = QuestionForm.read(form)
        resolution = await _resolve(exchange, question)
    except Exception as error:
        refusal = refusal_of_error(error)
        if refusal is None:
            raise
        return _refused_form(exchange, visitor, form, refusal)
    command = question.resolve_command(resolution.route, exchange.caller)
    return _form_page(exchange, visitor, form, "", ResolvedQuestion(resolution, command))


async def _resolve(exchange: Exchange, question: QuestionForm) -> Resolution:
    """Raises `NoModel`, and what `submit` raises for a name that is unknown or not allowed."""
    catalog = exchange.catalog
    _, target, _ = check_model(exchange, question.body)
    request = question.route_request(target, exchange.caller)
    fleet = await fetch_fleet(exchange.client.store.connection, catalog)
    return resolve(catalog, request, fleet, exclude=question.exclude)


async def _ask_question(exchange: Exchange, visitor: Visitor) -> Response:
    """Submit a question, as the gateway submits any other."""
    form = await read_form(exchange)
    check_form(exchange, visitor, form)
    check_right(exchange, visitor)
    try:
        question = QuestionForm.read(form)
        if not 0 < len(question.question) <= MAX_QUESTION:
            return _form_page(exchange, visitor, form, f"A question has 1 to {MAX_QUESTION:,} characters.")
        with exchange.gateway.limits.admitted(exchange.caller):
            accepted = await submit(exchange, question.body, "openai", **question.terms)
    except Exception as error:
        refusal = refusal_of_error(error)
        if refusal is None:
            raise
        return _refused_form(exchange, visitor, form, refusal)
    exchange.gateway.callers.answer(accepted.id)
    page = "job" if form.get("then") == "enqueue" else "try"
    return redirect(exchange, f"/{page}/{quote(accepted.id, safe='')}")


def _refused_form(exchange: Exchange, visitor: Visitor, form: dict[str, str], refusal: Refusal) -> Response:
    """The form again, with what is wrong."""
    exchange.refused = refusal.cause
    return _form_page(exchange, visitor, form, refusal.message)


async def _own_record(exchange: Exchange, visitor: Visitor) -> JobRecord:
    """The record of a question of this visitor. Raises `Refusal`: only the visitor that asked may read the answer."""
    check_right(exchange, visitor)
    record = await exchange.client.record(exchange.request.path_params["id"])
    if record.producer != exchange.caller.name:
        raise Refusal("not_allowed", "this job is not of yours: its page is /job/ID, without its answer")
    return record


async def _show_answer(exchange: Exchange, visitor: Visitor) -> Response:
    """Show what becomes of a question."""
    record = await _own_record(exchange, visitor)
    shown = record.result or record.interim_reply
    jobs = await fetch_jobs(exchange.link, [record.id])
    return html_page(
        exchange,
        visitor,
        "try_answer.html",
        record=record,
        row=job_rows(jobs)[0] if jobs else None,
        answer=shown.text if shown else "",
        is_done=record.result is not None,
    )


async def stream_answer(exchange: Exchange) -> Response:
    """Stream what happens to a question, and the text of its answer."""
    return await _stream(exchange)


async def _stream_answer(exchange: Exchange, visitor: Visitor) -> Response:
    record = await _own_record(exchange, visitor)
    return StreamingResponse(
        _events(exchange, visitor, record.id), headers=STREAM_HEADERS, media_type="text/event-stream"
    )


_stream = for_people(_stream_answer)


async def _events(exchange: Exchange, visitor: Visitor, job_id: str) -> AsyncIterator[bytes]:
    yield b"retry: 2000\n\n"
    async with aclosing(exchange.client.stream(job_id)) as events:
        async for event in events:
            if not await may_still_read(exchange, visitor):
                return
            yield sse.named(*_shown(event))


def _shown(event: StreamEvent) -> tuple[str, dict[str, Any]]:
    """An event as the script of the page takes it."""
    match event["event"]:
        case "delta":
            return "text", {"text": event["text"]}
        case "reset":
            return "reset", {"line": "the text so far is discarded: the answer starts again"}
        case "done":
            result = event["result"]
            return "end", {"text": result.text, "line": ": ".join(filter(None, (result.status, result.detail)))}
        case _:
            return "line", {"line": describe_event(event), "news": is_news(event)}


_HTML = "text/html"
ENDPOINTS = (
    Endpoint("GET", "/try", for_people(_show_form), "The page that asks one question.", public=True, media_type=_HTML),
    Endpoint("POST", "/try", for_people(_ask_question), "Ask a question at the page.", public=True, media_type=_HTML),
    Endpoint(
        "POST", "/try/route", for_people(_show_route), "Show which model a question would get, and why.",
        public=True, media_type=_HTML,
    ),
    Endpoint("GET", "/try/{id}", for_people(_show_answer), "The answer to a question.", public=True, media_type=_HTML),
    Endpoint(
        "GET", "/try/{id}/events", stream_answer, "Stream what happens to a question.",
        public=True, streams=True, media_type="text/event-stream",
    ),
)  # fmt: skip
