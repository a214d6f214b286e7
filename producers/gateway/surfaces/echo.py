"""The API of Echo's resilient model manager: one question, one answer with its receipt, and the state of the models."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response

from openfall.producers.errors import StillQueued
from openfall.producers.gateway.error_table import Refusal, refusal_of_result
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.model_memory import administer, start_load
from openfall.producers.gateway.routes import TEXT, Endpoint, body_of, json_response
from openfall.producers.gateway.submission import submit
from openfall.producers.gateway.surfaces.jobs import own_record
from openfall.producers.job_request import parse_duration, parse_urgency
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.jobs.result import Result
from openfall.router_core.state import operator_switches
from openfall.router_core.state.breakers import BreakerStatus, list_breakers
from openfall.router_core.state.fleet_status import fetch_status
from openfall.router_core.state.model_status import ModelStatus, fetch_model_status
from openfall.router_core.vocabulary import BreakerState, LoadState, Remedy, Urgency

PATH = "/api/echo/resilient"

WAIT_SECONDS = {Urgency.BACKGROUND: 30.0, Urgency.BATCH: 0.0}
"""How long a query of an urgency is held open. An interactive one is held until it is answered or falls."""
_STATES = {
    LoadState.NOT_LOADED: "unloaded",
    LoadState.LOADING: "loading",
    LoadState.READY: "loaded",
    LoadState.IN_USE: "loaded",
    LoadState.CLOSING: "loaded",
    LoadState.ERROR: "error",
    LoadState.UNKNOWN: "unloaded",
}
"""The four words of Echo's own manager."""


async def query(exchange: Exchange) -> Response:
    """Answer one question."""
    body = await exchange.body()
    text = body.get("query")
    if not isinstance(text, str) or not text.strip():
        raise Refusal("bad_request", "`query` must be text: the question", "query")
    system = [{"role": "system", "content": body["system"]}] if isinstance(body.get("system"), str) else []
    chat: dict[str, Any] = {"messages": [*system, {"role": "user", "content": text}]}
    if body.get("model") is not None:
        chat["model"] = body["model"]
    urgency = parse_urgency(body.get("urgency")) or Urgency.INTERACTIVE
    accepted = await submit(exchange, chat, "openai", urgency=urgency, stays=True, **_task(body))
    limit = WAIT_SECONDS.get(urgency, exchange.settings.wait_at_most)
    seconds = parse_duration(body["wait"], "wait") if body.get("wait") else limit
    job_urgency = accepted.job.urgency if accepted.job is not None else urgency
    try:
        if seconds <= 0:
            raise StillQueued(accepted.id)
        result = await exchange.client.wait(accepted.id, seconds)
    except StillQueued:
        where = f"{exchange.settings.root_path}{PATH}/jobs/{accepted.id}"
        waiting = {"job_id": accepted.id, "status": "queued", "poll": where, "urgency": str(job_urgency)}
        return json_response(waiting, 202, {"location": where})
    task = accepted.job.task if accepted.job is not None else None
    return json_response(answer(result, task, str(job_urgency)))


def _task(body: dict[str, Any]) -> dict[str, Any]:
    task = body.get("task_type")
    return {"task": task} if isinstance(task, str) and task else {}


def answer(result: Result, task: str | None, urgency: str) -> dict[str, Any]:
    """A result in the form of Echo. `response` is null without a text. A canned reply is a text and no success."""
    success = result.answered and result.degraded_by is not Remedy.CANNED_REPLY
    refusal = {} if success else {"error": refusal_of_result(result).message}
    return {
        "response": result.text if result.answered else None,
        "success": success,
        "model_used": result.model if success else None,
        "fallback_used": result.fallback_used,
        "attempts": result.models_tried,
        "latency_ms": result.latency_ms,
        "selection_reason": result.selection_reason,
        "task_type": task,
        "urgency": urgency,
        "degraded": result.degraded,
        "final": result.final,
        "held_for": None if result.held_for is None else str(result.held_for),
        "job_id": result.id,
        "tokens": {"input": result.input_tokens, "output": result.output_tokens},
        "cost_usd": result.cost_usd,
        **refusal,
    }


async def job(exchange: Exchange) -> Response:
    """Describe a job: its answer, or that it waits."""
    record = await own_record(exchange)
    urgency = record.queue.rpartition(".")[2]
    shown = record.result or record.interim_reply
    if shown is not None:
        return json_response({**answer(shown, None, urgency), "status": str(shown.status)})
    return json_response({"job_id": record.id, "status": record.state, "poll": f"{PATH}/jobs/{record.id}"}, 202)


async def status(exchange: Exchange) -> Response:
    """Describe models, breakers and queues."""
    link, catalog = exchange.link, exchange.catalog
    models, breakers, fleet, local_only = await asyncio.gather(
        fetch_model_status(link, catalog), list_breakers(link), fetch_status(link), operator_switches.local_only(link)
    )
    body = {
        "models": [_model_state(catalog, model) for model in models],
        "circuits": [_circuit(catalog, breaker) for breaker in breakers],
        "queues": {queue.name: queue.waiting for queue in fleet.queues},
        "held": fleet.held,
        "local_only": local_only is not None or catalog.local_only,
        "saved_at": fleet.now,
    }
    return json_response(body)


def _model_state(catalog: Catalog, model: ModelStatus) -> dict[str, Any]:
    spec, at = catalog.models[model.model], model.backends[0]
    return {
        "id": spec.upstream,
        "name": model.model,
        "state": _STATES[at.load_state],
        "status": str(at.load_state),
        "backend": at.backend,
        "vram_gb": spec.vram_gb,
        "why": at.why,
    }


def _circuit(catalog: Catalog, breaker: BreakerStatus) -> dict[str, Any]:
    backend, _, alias = breaker.target.partition("/")
    spec = catalog.models.get(alias)
    is_open = breaker.state is not BreakerState.CLOSED
    return {
        "id": breaker.target if spec is None else spec.upstream,
        "backend": backend,
        "available": not is_open,
        "state": str(breaker.state),
        "is_open": is_open,
        "failure_count": breaker.consecutive_failures,
        "retry_at": breaker.until,
        "why": breaker.why,
    }


async def models(exchange: Exchange) -> Response:
    """List the models, what each can do, and the chains of the tasks."""
    catalog = exchange.catalog
    states = {model.model: model for model in await fetch_model_status(exchange.link, catalog)}
    rows = [
        {
            "id": spec.upstream,
            "name": alias,
            "capabilities": [name for name, task in catalog.tasks.items() if alias in task.chain],
            "quality": dict(spec.quality),
            "size_gb": spec.vram_gb,
            "load_s": spec.load_time,
            "ctx": spec.context,
            "state": _STATES[states[alias].backends[0].load_state],
            "available": states[alias].blocked is None,
            "local": catalog.is_local(alias),
        }
        for alias, spec in catalog.models.items()
    ]
    chains = {name: [catalog.models[alias].upstream for alias in task.chain] for name, task in catalog.tasks.items()}
    return json_response({"models": rows, "chains": chains})


async def health(exchange: Exchange) -> Response:
    """Check the health of a model. It loads nothing, unless `force_check` is set."""
    body = await exchange.body()
    alias = _named_model(exchange, body)
    reports = await administer(exchange, "check", alias, force=body.get("force_check") is True)
    report = next((each for each in reports if each["ok"]), reports[0])
    row = await _status_of(exchange, alias)
    return json_response(
        {
            "model_name": body["model_name"],
            "healthy": report["ok"],
            "state": _STATES[row.backends[0].load_state],
            "latency_ms": None if report.get("latency") is None else round(report["latency"] * 1000),
            "cached": "age" in report,
            "age_s": report.get("age", 0),
            "error": None if report["ok"] else report["message"],
        }
    )


async def preload(exchange: Exchange) -> Response:
    """Load a model into memory. The response comes at once; the load goes on."""
    body = await exchange.body()
    alias = _named_model(exchange, body)
    row = await _status_of(exchange, alias)
    if any(_STATES[at.load_state] == "loaded" for at in row.backends):
        return json_response({"model_name": body["model_name"], "status": "loaded", "estimated_s": 0})
    start_load(administer(exchange, "load", alias))
    estimate = exchange.catalog.models[alias].load_time
    return json_response({"model_name": body["model_name"], "status": "loading", "estimated_s": estimate}, 202)


async def _status_of(exchange: Exchange, alias: str) -> ModelStatus:
    return next(row for row in await fetch_model_status(exchange.link, exchange.catalog) if row.model == alias)


def _named_model(exchange: Exchange, body: dict[str, Any]) -> str:
    name = body.get("model_name")
    if not isinstance(name, str) or not name:
        raise Refusal("bad_request", "`model_name` must be text: the name of a model", "model_name")
    try:
        return exchange.catalog.find_model(name)
    except UnknownName as error:
        raise Refusal("unknown_model", str(error), "model_name") from None


_NAME = body_of("model_name", model_name=TEXT)
ENDPOINTS = (
    Endpoint("POST", f"{PATH}/query", query, "Answer one question.", body=body_of("query", query=TEXT)),
    Endpoint("GET", f"{PATH}/jobs/{{id}}", job, "Describe a job."),
    Endpoint("GET", f"{PATH}/status", status, "Describe models, breakers and queues."),
    Endpoint("GET", f"{PATH}/models", models, "List the models and the chains of the tasks."),
    Endpoint("POST", f"{PATH}/health", health, "Check the health of a model.", body=_NAME),
    Endpoint("POST", f"{PATH}/preload", preload, "Load a model into memory.", body=_NAME),
)
