"""From a request to a job: its name, urgency, group and terms, by header, endpoint, body, path and key."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypedDict, Unpack, cast

from openfall.producers.gateway.access import check_allowed
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import CallerLeft, Exchange, read_flag
from openfall.producers.gateway.job_headers import check_headers
from openfall.producers.gateway.requested_name import resolve_name, split_urgency
from openfall.producers.job_request import (
    JobRequest,
    PreparedJob,
    SubmitOptions,
    parse_duration,
    parse_urgency,
    prepare,
)
from openfall.producers.local_batches.batch_file_lines import tier_urgency
from openfall.producers.submit_retries import retry
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.request_body import has_tools, wants_schema
from openfall.router_core.jobs.wire_headers import pick_wire_headers
from openfall.router_core.state.caller_leases import LINGER_SECONDS, ConnectedCaller, EqualRequests
from openfall.router_core.state.jobs import LARGE_BODY_BYTES, Receipt, SubmitTerms
from openfall.router_core.vocabulary import Dialect, JobKind, Urgency

VECTORS_KEPT_SECONDS = 120.0
"""How long embeddings stay whose caller waits for them: they are large, and only a repeat of the request reads them."""

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""The W3C's Trace Context: the spans of a job belong to the trace of its caller."""

_HEADER_OPTIONS = ("role", "task", "inbox", "webhook")
_ENDPOINT_OPTIONS = ("id", "kind", "task", "expires_in", "webhook")


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job in the queue. `asked_for` is the name that the caller sent, which the response repeats.

    `connected_caller`: the job may end, or be joined by a repeat, when its caller leaves. None: it stays as it is.
    `job` has no body, and is None for one that was accepted before.
    """

    id: str
    asked_for: str
    job: CompletionJob | None = None
    connected_caller: ConnectedCaller | None = None
    joined: bool = False
    shows_reply: bool = False
    """The request could show a canned reply to a person."""
    is_undelivered: bool = False
    """The caller of a stream gets the id of a job that stays with its first events."""

    @property
    def streams(self) -> bool:
        return self.job is not None and self.job.stream


class Terms(TypedDict, total=False):
    """What an endpoint adds to a request. `stays`: the job goes on without its caller, who has its id. `webhook`: the
    URL of the key, if the request names none."""

    id: str
    kind: JobKind
    task: str
    urgency: Urgency
    group: str
    local_only: bool
    expires_in: str
    stays: bool
    webhook: str | None


async def submit(
    exchange: Exchange, body: Mapping[str, Any], dialect: Dialect, **terms_of_endpoint: Unpack[Terms]
) -> Accepted:
    """Put the request into the queue. Raises `Refusal`, and the errors of the queue that `error_table` knows."""
    gateway = exchange.gateway
    asked_for, target, of_name = check_model(exchange, body)
    options = {key: value for key, value in terms_of_endpoint.items() if key in _ENDPOINT_OPTIONS}
    options |= _options(exchange, body)
    options |= {name: chosen for name in ("group", "local_only") if (chosen := terms_of_endpoint.get(name))}
    options["urgency"] = _urgency(exchange, body, terms_of_endpoint.get("urgency"), of_name)
    options["dialect"] = dialect
    options["wire_headers"] = pick_wire_headers(exchange.request.headers, dialect)
    whole = {**body, "model": target}
    job, terms = await _prepare(
        exchange, JobRequest(whole, cast("SubmitOptions", options), max_bytes=exchange.settings.max_body)
    )
    if _TRACEPARENT.fullmatch(traceparent := exchange.request.headers.get("traceparent", "").strip()):
        job = job.model_copy(update={"traceparent": traceparent})
    stays = bool(terms_of_endpoint.get("stays"))
    connected_caller = _caller_of(gateway.callers.gateway_id, job, terms, stays=stays)
    if job.kind is JobKind.EMBEDDING and connected_caller is not None and connected_caller.ends_without_caller:
        terms = replace(terms, keep_seconds=min(terms.keep_seconds, VECTORS_KEPT_SECONDS))
    await exchange.check_caller()  # its repeat may be here already
    shows_reply = could_show_reply(job)
    terms = replace(terms, connected_caller=connected_caller, is_response=dialect == "responses")
    receipt = await _accept(exchange, job, terms)
    exchange.job_id = receipt.id
    exchange.is_replayed = receipt.joined and bool(terms.idempotency_key)
    exchange.release_body()
    job = job.model_copy(update={"body": {}})  # a large one is not kept while its caller waits
    if stays and connected_caller is not None:
        gateway.callers.add(receipt.id)
        if not job.stream:
            await _deliver(exchange, receipt.id)
        return Accepted(receipt.id, asked_for or target, job, None, receipt.joined, shows_reply, job.stream)
    return Accepted(receipt.id, asked_for or target, job, connected_caller, receipt.joined, shows_reply)


def check_model(exchange: Exchange, body: Mapping[str, Any]) -> tuple[str, str, Urgency | None]:
    """The name in the field `model`, what it means, and the urgency in it. Raises `Refusal` for a name that is unknown
    or that the key of the caller may not use, and `UnknownName`."""
    asked_for = body.get("model") or ""
    if not isinstance(asked_for, str):
        raise Refusal("bad_request", "`model` must be text: the name of a role, task or model, or auto", "model")
    name, urgency = split_urgency(asked_for)
    target = resolve_name(exchange.catalog, exchange.settings.aliases, name)
    check_allowed(exchange.caller, target)
    return asked_for, target, urgency


def could_show_reply(job: CompletionJob) -> bool:
    """Whether a request could show a text that is no answer to a person: interactive, no tools, no schema, one
    choice."""
    if job.urgency is not Urgency.INTERACTIVE:
        return False
    return not (has_tools(job.body) or wants_schema(job.body) or job.body.get("n", 1) not in (1, None))


async def _accept(exchange: Exchange, job: CompletionJob, terms: SubmitTerms) -> Receipt:
    """Accept a job, or join that of an equal request whose caller has left."""
    client = exchange.client

    async def accept(terms: SubmitTerms) -> Receipt:
        return await retry(lambda: client.store.jobs.accept(job, terms), client.retry_for)

    try:
        return await accept(terms)
    except EqualRequests as equal:
        assert terms.connected_caller is not None
        left_jobs = await exchange.gateway.callers.check(equal.jobs)
        await exchange.check_caller()
        caller = replace(terms.connected_caller, left_jobs=left_jobs, is_new=True)
        return await accept(replace(terms, connected_caller=caller))


async def _deliver(exchange: Exchange, job_id: str) -> None:
    """The caller gets the id of a job that stays. If it has left meanwhile, its repeat gets the id."""
    callers = exchange.gateway.callers
    try:
        await exchange.check_caller()
    except CallerLeft:
        await callers.let_go(job_id, LINGER_SECONDS)
    else:
        callers.answer(job_id)
        exchange.watch_response(job_id)


async def _prepare(exchange: Exchange, request: JobRequest) -> PreparedJob:
    """The job of a request. A large one is read in a thread: it takes up to a second, and other callers wait."""
    build = partial(
        prepare,
        exchange.config,
        exchange.caller.name,
        request,
        await exchange.client.store.fleet(),
        default_urgency=Urgency.INTERACTIVE,
    )
    size = exchange.request.headers.get("content-length", "")
    is_small = size.isdigit() and int(size) <= LARGE_BODY_BYTES
    return build() if is_small else await asyncio.to_thread(build)


def _caller_of(gateway_id: str, job: CompletionJob, terms: SubmitTerms, *, stays: bool) -> ConnectedCaller | None:
    """The caller who waits for a job. None: the request has a key under which it is sent again."""
    if terms.idempotency_key:
        return None
    read_later = bool(terms.inbox or terms.webhook)
    ends_without_caller = job.urgency is Urgency.INTERACTIVE and not (read_later or stays)
    return ConnectedCaller(gateway_id, ends_without_caller=ends_without_caller)


def _options(exchange: Exchange, body: Mapping[str, Any]) -> dict[str, Any]:
    check_headers(exchange.request.headers)
    options: dict[str, Any] = {name: exchange.header(name) for name in _HEADER_OPTIONS}
    options["group"] = exchange.group()
    options["local_only"] = exchange.local_only()
    within = exchange.header("within")
    options["expires_in"] = None if within is None else parse_duration(within, "X-Openfall-Within")
    options["reply_to"] = exchange.header("reply-to")
    options["idempotency_key"] = exchange.request.headers.get("idempotency-key") or None
    options["stream"] = read_flag(body, "stream")
    return {name: value for name, value in options.items() if value is not None}


def _urgency(
    exchange: Exchange, body: Mapping[str, Any], of_endpoint: Urgency | None, of_name: Urgency | None
) -> Urgency | None:
    """The first that says something: header, endpoint, service tier, name, path, key. None: the role decides, else
    interactive, since the caller holds a connection open."""
    words = (
        exchange.header("urgency"),
        of_endpoint,
        tier_urgency(body),
        of_name,
        exchange.path.urgency,
        exchange.caller.urgency,
    )
    return parse_urgency(next((word for word in words if word), None))
