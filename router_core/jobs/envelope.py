"""Jobs, attempts, answers and results as JSON, the form in which they cross Redis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from openfall.router_core.errors import OpenfallError
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.json_bounds import MAX_RESULT_VALUES, MAX_VALUES, JsonTooLarge, check_values
from openfall.router_core.jobs.outcome import Answer, Attempt
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.unknown_words import carry_word
from openfall.router_core.vocabulary import ErrorClass, HoldReason, Remedy, ServedBy

SCHEMA = 2
"""The version of the form. It rises when an older worker would misread a change. Of a result or an attempt of a newer
openfall an unknown field is left out, and an unknown word is carried. A job with an unknown field is not read: the
field may restrict it."""

_SCHEMA_KEY = "v"
_ATTEMPT = TypeAdapter(Attempt)
_ANSWER = TypeAdapter(Answer)
_ATTEMPT_DEFAULTS = {field.name: field.default for field in fields(Attempt)}


class UnreadableEnvelope(OpenfallError, ValueError):
    """The bytes in Redis have no form that this version of openfall can read."""

    remedy = "use the openfall that wrote it, or a newer one"


def pack_job(job: CompletionJob) -> bytes:
    """The job as it waits in Redis: one line with everything but its body, and one line with its body.

    So the sweep can move a job without reading a body of megabytes. The envelope has no deadline and no moment of
    acceptance: they belong to the record, on the server's clock.
    """
    head = job.model_dump(mode="json", exclude_defaults=True, exclude={"body", "deadline", "accepted_at"})
    return to_json({_SCHEMA_KEY: SCHEMA, **head}) + b"\n" + to_json(job.body)


def unpack_job(envelope: bytes, deadline: float, accepted_at: float = 0.0) -> CompletionJob:
    """The job of an envelope, with its moments (epoch seconds, server clock). Raises `UnreadableEnvelope`.

    The first line alone gives the job with an empty body.
    """
    head, _, body = envelope.partition(b"\n")
    _check_values(body, MAX_VALUES)
    job = _read_object(head) | {"deadline": deadline, "accepted_at": accepted_at}
    try:
        return CompletionJob.model_validate(job | {"body": from_json(body) if body else {}})
    except ValidationError as error:
        raise UnreadableEnvelope(_first_problem(error)) from error
    except ValueError as error:
        raise UnreadableEnvelope(f"its body is not JSON: {error}") from error


def pack_attempt(attempt: Attempt) -> bytes:
    """One attempt as one line of JSON, without unknown values."""
    return to_json(_attempt(attempt))


def _attempt(attempt: Attempt) -> dict[str, Any]:
    values = ((name, getattr(attempt, name)) for name in _ATTEMPT_DEFAULTS)
    return {name: value for name, value in values if value != _ATTEMPT_DEFAULTS[name]}


def unpack_attempts(lines: bytes) -> tuple[Attempt, ...]:
    """The attempts of a job, oldest first, from one JSON object a line."""
    try:
        return tuple(map(_unpack_attempt, filter(None, lines.splitlines())))
    except ValidationError as error:
        raise UnreadableEnvelope(_first_problem(error)) from error


def _unpack_attempt(line: bytes) -> Attempt:
    try:
        return _ATTEMPT.validate_json(line)
    except ValidationError as error:
        try:
            return _ATTEMPT.validate_python(_carry_words(from_json(line)))
        except ValueError:
            raise error from None


def pack_answer(answer: Answer) -> bytes:
    """One answer, as it is kept with its job."""
    return to_json(answer)


def unpack_answers(rows: Iterable[bytes]) -> tuple[tuple[Answer, ...], Answer | None]:
    """The answers of an ensemble that are kept with a job, oldest first, and the last refusal of a model."""
    try:
        kept = [_ANSWER.validate_json(row) for row in rows]
    except ValidationError as error:
        raise UnreadableEnvelope(_first_problem(error)) from error
    refusals = [answer for answer in kept if answer.is_refusal]
    return tuple(answer for answer in kept if not answer.is_refusal), refusals[-1] if refusals else None


def pack_result(result: Result) -> bytes:
    """The result as Redis keeps it: its body last, so that a list reads only its head."""
    values = {name: getattr(result, name) for name in result.model_fields_set if name not in ("id", "body")}
    values["attempts"] = [_attempt(attempt) for attempt in result.attempts]
    if "body" in result.model_fields_set:
        values["body"] = result.body
    return to_json({_SCHEMA_KEY: SCHEMA, **values})


def unpack_result(job_id: str, envelope: bytes) -> Result:
    """The result of a job. Raises `UnreadableEnvelope`."""
    _check_values(envelope, MAX_RESULT_VALUES)
    values = _read_object(envelope)
    return _result({"id": job_id, **values})


def unpack_result_head(job_id: str, head: bytes) -> Result:
    """A result without its answer, from the first bytes of its envelope; its body is empty, or None if it has none.

    Raises `UnreadableEnvelope`, also if the bytes end before the body.
    """
    values = _read_object(head, is_part=True)
    return _result(values | {"id": job_id, "body": None if values.get("body") is None else {}})


def _result(values: dict[str, Any]) -> Result:
    try:
        return Result.model_validate(values, extra="ignore")
    except ValidationError as error:
        try:
            return Result.model_validate(_carry_words(values), extra="ignore")
        except ValidationError:
            raise UnreadableEnvelope(_first_problem(error)) from error


_WORDS: Mapping[str, type[StrEnum]] = {
    "status": Status, "error": ErrorClass, "held_for": HoldReason, "degraded_by": Remedy, "served_by": ServedBy,
}  # fmt: skip
"""The fields of results and attempts whose words only people read."""


def _carry_words(values: Any) -> Any:
    """A result or an attempt with the words of a newer openfall as words that are carried."""
    if not isinstance(values, dict):
        return values
    carried = {
        name: carry_word(_WORDS[name], value) if name in _WORDS and isinstance(value, str) else value
        for name, value in values.items()
    }
    if isinstance(attempts := values.get("attempts"), list):
        carried["attempts"] = [_carry_words(attempt) for attempt in attempts]
    return carried


def _read_object(envelope: bytes, *, is_part: bool = False) -> dict[str, Any]:
    try:
        values = from_json(envelope, allow_partial=is_part)
    except ValueError as error:
        raise UnreadableEnvelope(f"not JSON: {error}") from error
    if not isinstance(values, dict) or values.get(_SCHEMA_KEY) != SCHEMA:
        schema = values.get(_SCHEMA_KEY) if isinstance(values, dict) else None
        raise UnreadableEnvelope(f"schema {schema!r}, but this openfall reads schema {SCHEMA}")
    return {key: value for key, value in values.items() if key != _SCHEMA_KEY}


def _check_values(envelope: bytes, limit: int) -> None:
    try:
        check_values(envelope, limit)
    except JsonTooLarge as error:
        raise UnreadableEnvelope(f"it {error}") from None


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'envelope'}: {problem['msg']}"
