"""The text of `openfall job why`: the candidates with their reasons, then every event in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from openfall.producers.cli.terminal import pad_all
from openfall.producers.job_story import moments, next_step, reasons
from openfall.router_core.jobs.answer_reason import describe_reply
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.job_records import JobRecord


def timeline_lines(record: JobRecord, events: list[dict[str, Any]], block_reason: str = "") -> Iterator[str]:
    """The lines for a terminal. `block_reason` is what blocks the queue of the job now."""
    why, considered = reasons(record)
    state = str(record.result.status) if record.result else record.state
    by = _by(record.result) if record.result else ""
    yield f"{record.id}  {state}{by}"
    if record.held_for:
        yield f"held ({record.held_for}): {record.hold_detail}"
    if why:
        yield f"when it was accepted: {why}"
    if considered:
        yield ""
        names = pad_all(model.model for model in considered)
        places = iter(range(1, len(considered) + 1))
        for name, model in zip(names, considered, strict=True):
            yield f"  {next(places) if model.chosen else '-'}  {name}  {model.reason}"
    yield ""
    for moment in moments(record, events):
        yield f"  {moment.at:>+9.2f}s  {moment.text}" + (f"  · {moment.why}" if moment.why else "")
    if record.result is None:
        yield f"  {'':>9}   {next_step(record)}" + (f": {block_reason}" if block_reason else "")


def _by(result: Result) -> str:
    if result.degraded:
        return f": {describe_reply(result)}"
    return f" by {result.model}@{result.backend}" if result.answered else ""


def as_json(record: JobRecord, events: list[dict[str, Any]], block_reason: str = "") -> dict[str, Any]:
    """The same as data; times in seconds after acceptance."""
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
        "moments": [{"at": moment.at, "text": moment.text, "why": moment.why} for moment in moments(record, events)],
        "held_for": record.held_for,
        "held_why": record.hold_detail,
        "falls": record.falls,
        "default_fallback": record.default_fallback,
        "released_by": record.released_by,
        "waits_for": block_reason or None,
        "model_used": result.model if result and result.answered else None,
        "fallback_used": bool(result and result.fallback_used),
        "models_tried": 0 if result is None else result.models_tried,
        "served_by": None if result is None else result.served_by,
        "cost_usd": None if result is None else result.cost_usd,
    }
