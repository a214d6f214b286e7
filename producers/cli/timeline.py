"""`openfall job why`: why a job went where it went: its candidates with their reasons, then what happened, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openfall.producers.cli.render import money, reply_words

if TYPE_CHECKING:
    from openfall.router_core.jobs.job import ConsideredModel
    from openfall.router_core.jobs.outcome import Attempt
    from openfall.router_core.jobs.result import Result
    from openfall.router_core.state.jobs import JobRecord

_ACCEPTED, _CALL, _MOVE, _END = range(4)
"""In which order what happened at the same moment is told."""
_BEHIND = 0.0005
"""Seconds by which a call is told after its claim: that may be of the same millisecond as the move before it."""
_SAME = 0.01
"""Seconds by which a worker's clock may be behind: a call that seems to begin so long before a claim came of it."""
_UNTOLD = frozenset({"delta", "done", "started"})
"""Events that an attempt or the end tells better; a claim without an attempt is told by `_claim`."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened, `at` seconds after the job was accepted."""

    at: float
    order: int
    what: str
    why: str = ""


def reasons(record: JobRecord) -> tuple[str, tuple[ConsideredModel, ...]]:
    """Why this chain, and every model that was considered; of a job that is done its result tells."""
    told = record.result or record.job
    return (told.reason, told.considered) if told else ("", ())


def moments(record: JobRecord, events: list[dict[str, Any]]) -> list[Moment]:
    """Everything that happened to a job, in order: its events, its attempts, its end."""
    began = record.accepted_at
    found = [*_events(record, events, began), *_attempts(record, events, began)]
    if not events:  # the story of a job to which nothing happened is in its result
        found.append(Moment(0.0, _ACCEPTED, f"put in by {record.producer}"))
    if record.result is not None:
        result = record.result
        cost = f", {money(result.cost_usd)} in all" if record.attempts else ""
        why = result.detail or (result.picked_why if result.picked else "")
        end = max([result.took, *(one.at for one in found)])
        found.append(Moment(end, _END, f"{result.status}{cost}", why))
    return sorted(found, key=lambda one: (one.at, one.order))  # what came at the same moment stays in its order


def _events(record: JobRecord, events: list[dict[str, Any]], began: float) -> Iterator[Moment]:
    first = True
    for event in events:
        at = event["at"] / 1000 - began if "at" in event else 0.0
        name = event["event"]
        if name == "started" and record.state == "started" and event is _last(events, "started"):
            yield Moment(at, _CALL, f"claimed, {event['backend']} is being asked")
        if name in _UNTOLD:
            continue
        yield Moment(at, _ACCEPTED if first else _MOVE, _what(event, record, first), str(event.get("why") or ""))
        first = False


def _last(events: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(event for event in reversed(events) if event["event"] == name)


def _what(event: Mapping[str, Any], record: JobRecord, first: bool) -> str:
    match event["event"]:
        case "queued" if first:
            return f"put in by {record.producer}, number {event['position']} in {event['queue']}"
        case "queued":
            return f"put into {event['queue']}, number {event['position']}"
        case "scheduled":
            wait = (event["due"] - event["at"]) / 1000
            return f"put back for {event['queue']}, due in {wait:.1f}s"
        case "fallen" | "degraded" | "held":
            return _fallen(event)
        case "reset":
            return "begun anew: what was streamed is taken back"
        case other:
            return str(other)


def _fallen(event: Mapping[str, Any]) -> str:
    """One of the things that happen to a job which nothing can serve."""
    name, by = event["event"], event.get("by")
    if name == "degraded" and by == "default_fallback":
        return f"handed to a stand-in: {event['detail']}"
    words = {
        "fallen": "fell",
        "held": "held",
        "degraded": f"its caller was told, {f'with a {by}' if by else 'no reply'}",
    }
    return f"{words[name]} ({event['reason']}): {event['detail']}"


def _attempts(record: JobRecord, events: list[dict[str, Any]], began: float) -> Iterator[Moment]:
    """Each call, no sooner than its claim: events have the server's time, attempts the worker's word for it, which is
    off by a few ms, and a call would seem to come before the move that led to it."""
    claims = [(event["backend"], event["at"] / 1000 - began) for event in events if _is_claim(event)]
    found = []
    for attempt in reversed(record.attempts):  # a claim has one call, or none: a job may fall before it
        at = attempt.started_at - began
        fitting = [n for n, (backend, when) in enumerate(claims) if backend == attempt.backend and when <= at + _SAME]
        if fitting:
            at = max(at, claims[fitting[-1]][1] + _BEHIND)
            del claims[fitting[-1] :]
        found.append(_attempt(attempt, max(0.0, at)))
    return reversed(found)


def _is_claim(event: Mapping[str, Any]) -> bool:
    return event["event"] == "started" and "at" in event


def _attempt(attempt: Attempt, at: float) -> Moment:
    took = attempt.ended_at - attempt.started_at
    came = f"{attempt.error}" if attempt.error else "answered"
    tokens = "" if attempt.output_tokens is None else f", {_known(attempt.input_tokens)}+{attempt.output_tokens} tok"
    detail = f" ({attempt.detail})" if attempt.detail else ""
    what = f"{attempt.model}@{attempt.backend}: {came} after {took:.1f}s{detail}{tokens}, {money(attempt.cost_usd)}"
    return Moment(at, _CALL, what, attempt.why)


def _known(tokens: int | None) -> str:
    return "?" if tokens is None else str(tokens)


def told(record: JobRecord, events: list[dict[str, Any]], hindrance: str = "") -> Iterator[str]:
    """The lines that a person reads. `hindrance` is what keeps everybody from its queue now."""
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
        width = max(len(one.model) for one in considered)
        places = iter(range(1, len(considered) + 1))
        for one in considered:
            yield f"  {next(places) if one.chosen else '-'}  {one.model:<{width}}  {one.reason}"
    yield ""
    for moment in moments(record, events):
        yield f"  {moment.at:>+9.2f}s  {moment.what}" + (f"  · {moment.why}" if moment.why else "")
    if record.result is None:
        yield f"  {'':>9}   {_next(record)}" + (f": {hindrance}" if hindrance else "")


def _by(result: Result) -> str:
    if result.degraded:
        return f": {reply_words(result)}"
    return f" by {result.model}@{result.backend}" if result.answered else ""


def _next(record: JobRecord) -> str:
    """What the job waits for."""
    match record.state:
        case "queued":
            return f"waits in {record.queue}"
        case "scheduled":
            return f"waits for its time, then in {record.queue}"
        case "started":
            return f"{record.backend} is writing, for {record.worker}"
        case _:
            return "goes on"


def as_json(record: JobRecord, events: list[dict[str, Any]], hindrance: str = "") -> dict[str, Any]:
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
        "attempts": [asdict(one) for one in record.attempts],
        "moments": [{"at": one.at, "what": one.what, "why": one.why} for one in moments(record, events)],
        "held_for": record.held_for,
        "held_why": record.hold_detail,
        "falls": record.falls,
        "stand_in": record.stand_in,
        "released_by": record.released_by,
        "waits_for": hindrance or None,
        "model_used": result.model if result and result.answered else None,
        "fallback_used": bool(result and result.fallback_used),
        "cost_usd": None if result is None else result.cost_usd,
    }
