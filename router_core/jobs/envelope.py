"""The shapes that cross Redis, as JSON: a job on its way out, its attempts, a result on its way back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from hashlib import blake2b
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import (
    Answer,
    Attempt,
)
from openfall.router_core.jobs.result import Result

SCHEMA = 2
"""Raised when a shape changes so that an older worker would misread it."""

_SCHEMA_KEY = "v"
_ATTEMPT = TypeAdapter(Attempt)
_ANSWER = TypeAdapter(Answer)
_ATTEMPT_DEFAULTS = {field.name: field.default for field in fields(Attempt)}


class UnreadableEnvelope(ValueError):
    """What was found in Redis is not a shape that this version of the fleet can read."""


def pack_job(job: CompletionJob) -> bytes:
    """The job as it waits in Redis: a line that says where it may go, and a line with its body.

    So whoever only moves it need not read a body of megabytes. The deadline is not in it, nor the moment at which it
    was accepted: they belong to the record, on the server's clock.
    """
    told = job.model_dump(mode="json", exclude_defaults=True, exclude={"body", "deadline", "accepted_at"})
    return to_json({_SCHEMA_KEY: SCHEMA, **told}) + b"\n" + to_json(job.body)


def unpack_job(envelope: bytes, deadline: float, accepted_at: float = 0.0) -> CompletionJob:
    """The job of an envelope, with its moments (epoch seconds, server clock); `UnreadableEnvelope` if it is none.

    Of the first line alone it is the job with an empty body.
    """
    head, _, body = envelope.partition(b"\n")
    told = _told(head)
    try:
        asked = from_json(body) if body else {}
        return CompletionJob.model_validate({**told, "body": asked, "deadline": deadline, "accepted_at": accepted_at})
    except ValidationError as error:
        raise UnreadableEnvelope(_first(error)) from error
    except ValueError as error:
        raise UnreadableEnvelope(f"its body is not JSON: {error}") from error


def digest(job: CompletionJob) -> str:
    """A fingerprint of what was asked: same words, of the same role, task or models. Two jobs under one idempotency key
    must share it. How the fleet was is not in it: neither the order of the chain, nor who was left out."""
    models = {*job.chain, *(one.model for one in job.considered)}
    whom = [job.role, job.task, [] if job.role or job.task else sorted(models)]
    asked = to_json([job.dialect, whom, sorted_deep(job.body)])
    return blake2b(asked, digest_size=12).hexdigest()


def request_key(job: CompletionJob) -> str:
    """What two jobs share that ask the same of the same, for the same group: under it the last answer is kept."""
    return f"{job.group or '-'}:{digest(job)}"


def sorted_deep(value: Any) -> Any:
    """The same JSON value with every object's keys in order, so that equal requests have equal bytes."""
    if isinstance(value, dict):
        return {key: sorted_deep(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [sorted_deep(item) for item in value]
    return value


def pack_attempt(attempt: Attempt) -> bytes:
    """One attempt as one line of JSON. What is unknown is left out."""
    return to_json(_attempt(attempt))


def _attempt(attempt: Attempt) -> dict[str, Any]:
    told = ((name, getattr(attempt, name)) for name in _ATTEMPT_DEFAULTS)
    return {name: value for name, value in told if value != _ATTEMPT_DEFAULTS[name]}


def unpack_attempts(lines: bytes) -> tuple[Attempt, ...]:
    """The attempts of a job, oldest first, from one JSON object a line."""
    try:
        return tuple(_ATTEMPT.validate_json(line) for line in lines.splitlines() if line)
    except ValidationError as error:
        raise UnreadableEnvelope(_first(error)) from error


def pack_answer(answer: Answer) -> bytes:
    """One answer of several, as it is kept with its job."""
    return to_json(answer)


def unpack_answers(rows: Iterable[bytes]) -> tuple[Answer, ...]:
    """The answers kept with a job, in the order in which they came."""
    try:
        return tuple(map(_ANSWER.validate_json, rows))
    except ValidationError as error:
        raise UnreadableEnvelope(_first(error)) from error


def pack_result(result: Result) -> bytes:
    """The result as it is kept in Redis."""
    told = {name: getattr(result, name) for name in result.model_fields_set if name != "id"}
    told["attempts"] = [_attempt(attempt) for attempt in result.attempts]
    return to_json({_SCHEMA_KEY: SCHEMA, **told})


def unpack_result(job_id: str, envelope: bytes) -> Result:
    """The result of a job; `UnreadableEnvelope` if it is none."""
    told = _told(envelope)
    try:
        return Result.model_validate({"id": job_id, **told})
    except ValidationError as error:
        raise UnreadableEnvelope(_first(error)) from error


def _told(envelope: bytes) -> dict[str, Any]:
    try:
        told = from_json(envelope)
    except ValueError as error:
        raise UnreadableEnvelope(f"not JSON: {error}") from error
    if not isinstance(told, dict) or told.get(_SCHEMA_KEY) != SCHEMA:
        schema = told.get(_SCHEMA_KEY) if isinstance(told, dict) else None
        raise UnreadableEnvelope(f"schema {schema!r}, but this openfall reads schema {SCHEMA}")
    return {key: value for key, value in told.items() if key != _SCHEMA_KEY}


def _first(error: ValidationError) -> str:
    told = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, told['loc'])) or 'envelope'}: {told['msg']}"
