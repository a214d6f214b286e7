"""The text of `openfall job why`: the candidates with their reasons, then every event in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openfall.producers.cli.render import format_usd
from openfall.producers.cli.terminal import pad_all

if TYPE_CHECKING:
    from openfall.router_core.jobs.job import ConsideredModel
    from openfall.router_core.jobs.outcome import Attempt
    from openfall.router_core.jobs.result import Result
    from openfall.router_core.state.job_records import JobRecord

_ACCEPTED, _CALL, _MOVE, _END = range(4)
"""Tie-break order for events with the same timestamp."""
_AFTER_CLAIM_SECONDS = 0.0005
"""A call is placed this long after its claim, which may share its millisecond with the event before it."""
_CLOCK_SKEW_SECONDS = 0.01
"""A worker's clock may be behind by this much: a call that starts so long before a claim belongs to it."""
_SKIPPED_EVENTS = frozenset({"delta", "done", "started"})
"""Events that an attempt or the result describes better."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened, `at` seconds after the job was accepted."""

    at: float
    order: int
    what: str
    why: str = ""


def reasons(record: JobRecord) -> tuple[str, tuple[ConsideredModel, ...]]:
    """The reason of the chain and every model considered, from the result if the job is done."""
    source = record.result or record.job
    return (source.reason, source.considered) if source else ("", ())


def moments(record: JobRecord, events: list[dict[str, Any]]) -> list[Moment]:
    """Everything that happened to a job, in order: its events, its attempts, its end."""
    started_at = record.accepted_at
    moments_ = [*_events(record, events, started_at), *_attempts(record, events, started_at)]
    if not events:  # a job without a listener keeps no events once it has ended
        moments_.append(Moment(0.0, _ACCEPTED, f"submitted by {record.producer}"))
    if record.result is not None:
        result = record.result
        cost = f", {format_usd(result.cost_usd)} in all" if record.attempts else ""
        why = result.detail or (result.picked_why if result.picked else "")
        end = max([result.took, *(moment.at for moment in moments_)])
        moments_.append(Moment(end, _END, f"{result.status}{cost}", why))
    return sorted(moments_, key=lambda moment: (moment.at, moment.order))  # events of the same moment keep their order


def _events(record: JobRecord, events: list[dict[str, Any]], started_at: float) -> Iterator[Moment]:
    first = True
    for event in events:
        at = event["at"] / 1000 - started_at if "at" in event else 0.0
        name = event["event"]
        if name == "started" and record.state == "started" and event is _last(events, "started"):
            yield Moment(at, _CALL, f"claimed, {event['backend']} is being called")
        if name in _SKIPPED_EVENTS:
            continue
        yield Moment(at, _ACCEPTED if first else _MOVE, _what(event, record, first), str(event.get("why") or ""))
        first = False


def _last(events: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(event for event in reversed(events) if event["event"] == name)


def _what(event: Mapping[str, Any], record: JobRecord, first: bool) -> str:
    match event["event"]:
        case "queued" if first:
            return f"submitted by {record.producer}, number {event['position']} in {event['queue']}"
        case "queued":
            return f"put into {event['queue']}, number {event['position']}"
        case "scheduled":
            wait = (event["due"] - event["at"]) / 1000
            return f"scheduled for {event['queue']}, due in {wait:.1f}s"
        case "fallen" | "degraded" | "held":
            return _fallen(event)
        case "reset":
            return "restarted: the streamed text is discarded"
        case other:
            return str(other)


def _fallen(event: Mapping[str, Any]) -> str:
    """One of the things that happen to a job which nothing can serve."""
    name, by = event["event"], event.get("by")
    if name == "degraded" and by == "default_fallback":
        return f"handed to a fallback model: {event['detail']}"
    texts = {
        "fallen": "fell",
        "held": "held",
        "degraded": f"interim reply: {str(by).replace('_', ' ')}" if by else "no interim reply",
    }
    return f"{texts[name]} ({event['reason']}): {event['detail']}"


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


def _is_claim(event: Mapping[str, Any]) -> bool:
    return event["event"] == "started" and "at" in event


def _attempt(attempt: Attempt, at: float) -> Moment:
    took = attempt.ended_at - attempt.started_at
    outcome = f"{attempt.error}" if attempt.error else "answered"
    tokens = "" if attempt.output_tokens is None else f", {_known(attempt.input_tokens)}+{attempt.output_tokens} tok"
    detail = f" ({attempt.detail})" if attempt.detail else ""
    what = f"{attempt.model}@{attempt.backend}: {outcome} after {took:.1f}s{detail}{tokens}"
    what += f", {format_usd(attempt.cost_usd)}"
    return Moment(at, _CALL, what, attempt.why)


def _known(tokens: int | None) -> str:
    return "?" if tokens is None else str(tokens)


def timeline_lines(record: JobRecord, events: list[dict[str, Any]], block_reason: str = "") -> Iterator[str]:
    """The lines for a terminal. `block_reason` is what blocks the queue of the job now."""
    why, considered = reasons(record)
    state = str(record.result.status) if record.result else record.state
    by = _by(record.result) if record.result else ""
    yield f"{record.id}  {state}{by}"
    if record.held_for:
        yield f"held ({record.held_for}): {record.hold_detail}"
    if why:
        yield why
    if considered:
        yield ""
        names = pad_all(model.model for model in considered)
        places = iter(range(1, len(considered) + 1))
        for name, model in zip(names, considered, strict=True):
            yield f"  {next(places) if model.chosen else '-'}  {name}  {model.reason}"
    yield ""
    for moment in moments(record, events):
        yield f"  {moment.at:>+9.2f}s  {moment.what}" + (f"  · {moment.why}" if moment.why else "")
    if record.result is None:
        yield f"  {'':>9}   {_next(record)}" + (f": {block_reason}" if block_reason else "")


def _by(result: Result) -> str:
    from openfall.router_core.jobs.answer_reason import describe_reply

    if result.degraded:
        return f": {describe_reply(result)}"
    return f" by {result.model}@{result.backend}" if result.answered else ""


def _next(record: JobRecord) -> str:
    """What the job waits for or does now."""
    match record.state:
        case "queued":
            return f"waits in {record.queue}"
        case "scheduled":
            return f"waits for its time, then in {record.queue}"
        case "started":
            return f"{record.worker} has called {record.backend}, no answer so far"
        case _:
            return "continues"


def as_json(record: JobRecord, events: list[dict[str, Any]], block_reason: str = "") -> dict[str, Any]:
    """The same as data; times in seconds after acceptance."""
    from dataclasses import asdict

    why, considered = reasons(record)
    result = record.result
    return {
        "id": record.id,
        "state": record.state,
        "status": None if result is None else result.status,
        "queue": record.queue,
        "accepted_at": record.accepted_at,
        "deadline": record.deadline,
        "reason": why,
        "considered": considered,
        "attempts": [asdict(moment) for moment in record.attempts],
        "moments": [{"at": moment.at, "what": moment.what, "why": moment.why} for moment in moments(record, events)],
        "held_for": record.held_for,
        "held_why": record.hold_detail,
        "falls": record.falls,
        "stand_in": record.stand_in,
        "released_by": record.released_by,
        "waits_for": block_reason or None,
        "model_used": result.model if result and result.answered else None,
        "fallback_used": bool(result and result.fallback_used),
        "models_tried": 0 if result is None else result.models_tried,
        "served_by": None if result is None else result.served_by,
        "cost_usd": None if result is None else result.cost_usd,
    }
