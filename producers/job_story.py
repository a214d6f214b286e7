"""What happened to a job, in order: for `openfall job why`, and for its page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from openfall.producers.amount_text import format_usd
from openfall.producers.client import AsyncOpenfall
from openfall.producers.held_release_text import describe_release, fetch_blocks
from openfall.producers.job_event_text import describe_event
from openfall.producers.resolve import explain_queue_block
from openfall.producers.worker_log_text import describe_log
from openfall.router_core.jobs.job import ConsideredModel
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.routing.rank import ordinal
from openfall.router_core.state.held_jobs import fetch_held
from openfall.router_core.state.job_events import read_events
from openfall.router_core.state.job_records import JobRecord
from openfall.router_core.vocabulary import RELEASED_BY_ITSELF, HoldReason

_ACCEPTED, _CALL, _MOVE, _END = range(4)
"""Tie-break order for events with the same timestamp."""
_AFTER_CLAIM_SECONDS = 0.0005
"""A call is placed this long after its claim, which may share its millisecond with the event before it."""
_CLOCK_SKEW_SECONDS = 0.01
"""A worker's clock may be behind by this much: a call that starts less than this before a claim belongs to it."""
WORKER_DIED = "its worker died"
"""Why `reap.lua` queues a job again whose worker no longer beats."""
_SKIPPED_EVENTS = frozenset({"delta", "done", "started"})
"""Events that an attempt or the result describes better."""
_PROGRESS = frozenset({"loading", "writing", "waiting"})
"""Events of a call in flight. The line of a call that has ended has more."""
_FALLS = frozenset({"fallen", "degraded", "held"})
_END_TONES = {"answered": "good", "degraded": "warn"}


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened, `at` seconds after the job was accepted."""

    at: float
    order: int
    text: str
    why: str = ""
    tone: str = ""
    """`good`, `warn` or `bad`, if it is a success, a warning or a failure."""


async def fetch_story(llm: AsyncOpenfall, job_id: str) -> tuple[JobRecord, list[dict[str, Any]], str]:
    """A job, its events, and what it waits for: what blocks its queue, or what releases it. Raises `UnknownJob`."""
    record, events = await llm.record(job_id), await read_events(llm.store.connection, job_id)
    return record, events, await _block_reason(llm, record)


async def _block_reason(llm: AsyncOpenfall, record: JobRecord) -> str:
    if record.state in ("queued", "scheduled"):
        return await explain_queue_block(llm.store.connection, llm.config.catalog, record.queue)
    link = llm.store.connection
    jobs = await fetch_held(link, [record.id]) if record.state == "held" else []
    if not jobs:
        return ""
    blocks = await fetch_blocks(link, llm.config.catalog)
    return describe_release(jobs[0], await llm.store.server_time(), llm.config.catalog, blocks)


def reasons(record: JobRecord) -> tuple[str, tuple[ConsideredModel, ...]]:
    """The reason of the chain and every model considered, from the result if the job is done."""
    source = record.result or record.job
    return (source.reason, source.considered) if source else ("", ())


def moments(record: JobRecord, events: list[dict[str, Any]]) -> list[Moment]:
    """Everything that happened to a job, in order: its events, its attempts, its end."""
    started_at = record.accepted_at
    moments_ = [
        *_events(record, events, started_at),
        *_attempts(record, events, started_at),
        *_lost_calls(events, started_at),
    ]
    if not events:  # a job without a listener keeps no events once it has ended
        moments_.append(Moment(0.0, _ACCEPTED, f"submitted by {record.producer}"))
    if record.result is not None:
        result = record.result
        cost = f", {format_usd(result.cost_usd)} in all" if record.attempts else ""
        why = result.detail or (result.picked_why if result.picked else "")
        took = result.took or record.ended_at - started_at  # a cancel measures no time
        end = max([took, *(moment.at for moment in moments_)])
        moments_.append(Moment(end, _END, f"{result.status}{cost}", why, _END_TONES.get(result.status, "bad")))
    return sorted(moments_, key=lambda moment: (moment.at, moment.order))  # events of the same moment keep their order


def _events(record: JobRecord, events: list[dict[str, Any]], started_at: float) -> Iterator[Moment]:
    first, fall = True, ""
    for event in events:
        at = event["at"] / 1000 - started_at if "at" in event else 0.0
        name = event["event"]
        if name == "started" and record.state == "started" and event is _last(events, "started"):
            yield Moment(at, _CALL, f"claimed for a call of {event['backend']}")
        in_flight = record.state == "started" and event is events[-1]
        if name in _SKIPPED_EVENTS or (name in _PROGRESS and not in_flight):
            continue
        tone = "warn" if name in _FALLS else ""
        yield Moment(at, _ACCEPTED if first else _MOVE, _describe(event, record, first, fall), _why(event), tone)
        first, fall = False, event["detail"] if name in _FALLS else ""


def _why(event: Mapping[str, Any]) -> str:
    """Why a job has moved; after the death of its worker also which of its deaths it is, and where the log is."""
    why, log, host = str(event.get("why") or ""), str(event.get("log") or ""), str(event.get("host") or "")
    if not log and not host:
        return why
    place = f", its log: {describe_log(log)}" if log else ""
    number = f" ({ordinal(crashes)} crash)" if (crashes := event.get("crashes")) else ""
    return f"{why}{number}: {event.get('worker')}{f' on {host}' if host else ''}{place}"


def _last(events: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(event for event in reversed(events) if event["event"] == name)


def _describe(event: Mapping[str, Any], record: JobRecord, first: bool, fall: str) -> str:
    """What happened. `fall`: why the job fell, as the event before this one says."""
    match event["event"]:
        case "queued" if first:
            return f"submitted by {record.producer}, number {event['position']} in {event['queue']}"
        case "queued":
            return f"put into {event['queue']}, number {event['position']}"
        case "scheduled":
            wait = (event["due"] - event["at"]) / 1000
            return f"scheduled for {event['queue']}, due in {wait:.1f}s"
        case "fallen" | "degraded" | "held":
            return _fallen(event, fall)
        case "reset":
            return "restarted: the streamed text is discarded"
        case name if name in _PROGRESS:
            return describe_event(event)
        case other:
            return str(other)


def _fallen(event: Mapping[str, Any], fall: str) -> str:
    """A step of Open Fall for a job that no model can serve. Its reason is not repeated."""
    name, by = event["event"], event.get("by")
    if name == "degraded" and by == "default_fallback":
        return f"handed to a fallback model: {event['detail']}"
    texts = {
        "fallen": "fell",
        "held": "held",
        "degraded": f"interim reply: {str(by).replace('_', ' ')}" if by else "no interim reply",
    }
    return texts[name] if event["detail"] == fall else f"{texts[name]} ({event['reason']}): {event['detail']}"


def _attempts(record: JobRecord, events: list[dict[str, Any]], started_at: float) -> Iterator[Moment]:
    """Each call, no sooner than its claim. Events have the server's time, attempts the worker's, which is off by a few
    ms: without this a call would be shown before the event that led to it."""
    claims = [(event["backend"], event["at"] / 1000 - started_at) for event in events if _is_claim(event)]
    moments_ = []
    for attempt in reversed(record.attempts):  # a claim has one call, or none: a job may fall before it
        at = attempt.started_at - started_at
        matching = [
            n
            for n, (backend, claimed_at) in enumerate(claims)
            if backend == attempt.backend and claimed_at <= at + _CLOCK_SKEW_SECONDS
        ]
        if matching:
            at = max(at, claims[matching[-1]][1] + _AFTER_CLAIM_SECONDS)
            del claims[matching[-1] :]
        moments_.append(_attempt(attempt, max(0.0, at)))
    return reversed(moments_)


def _lost_calls(events: list[dict[str, Any]], started_at: float) -> Iterator[Moment]:
    """The calls whose worker died: it could report none of them."""
    claim: dict[str, Any] | None = None
    for event in events:
        if _is_claim(event):
            claim = event
        elif claim is not None and (event.get("why") == WORKER_DIED or event.get("reason") == HoldReason.POISONED):
            at = claim["at"] / 1000 - started_at
            took = (event["at"] - claim["at"]) / 1000
            text = f"a call of {claim['backend']}: no outcome, its worker died within {took:.1f}s"
            yield Moment(at + _AFTER_CLAIM_SECONDS, _CALL, text, tone="bad")
            claim = None


def _is_claim(event: Mapping[str, Any]) -> bool:
    return event["event"] == "started" and "at" in event


def _attempt(attempt: Attempt, at: float) -> Moment:
    took = attempt.ended_at - attempt.started_at
    outcome = f"{attempt.error}" if attempt.error else "answered"
    tokens = "" if attempt.output_tokens is None else f", {_known(attempt.input_tokens)}+{attempt.output_tokens} tok"
    detail = f" ({attempt.detail})" if attempt.detail else ""
    text = f"{attempt.model}@{attempt.backend}: {outcome} after {took:.1f}s{detail}{tokens}"
    text += f", {format_usd(attempt.cost_usd)}"
    return Moment(at, _CALL, text, attempt.why, "bad" if attempt.error else "good")


def _known(tokens: int | None) -> str:
    return "?" if tokens is None else str(tokens)


def next_step(record: JobRecord) -> str:
    """What the job waits for or does now."""
    match record.state:
        case "queued":
            return f"waits in {record.queue}"
        case "scheduled":
            return f"waits for its time, then in {record.queue}"
        case "started":
            return f"{record.worker} claimed it for {record.backend}, no answer so far"
        case "held" if record.held_for not in RELEASED_BY_ITSELF:
            return "needs an operator"
        case _:
            return "continues"
