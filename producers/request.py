"""From what a caller says to a job and its terms. Checks everything that can be checked before anything is put in."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Any, TypedDict

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json

from config import Loaded
from config.words import seconds_of
from producers.errors import BadRequest, PromptTooLarge
from router_core.catalog import Catalog, UnknownName
from router_core.job import CompletionJob, Urgency
from router_core.route import route
from router_core.state.intake import Terms

DEFAULT_ROLE = "chat"

Prompt = str | Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""A text, a list of messages, or a whole request body in the OpenAI dialect."""


class Options(TypedDict, total=False):
    """What may be said beside the prompt. Everything has a default.

    `role` or `model` names what is asked (else the body's `model`, else role `chat`, else the first role there is).
    `within` is how long an answer is wanted, in seconds or words (`90`, `"5m"`); `deadline` is the moment itself, epoch
    seconds or an aware datetime. The last row goes into the request body as it is.
    """

    role: str | None
    model: str | None
    urgency: Urgency | str | None
    within: float | str | None
    deadline: float | datetime | None
    idempotency_key: str | None
    stream: bool
    id: str | None

    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop: str | Sequence[str] | None
    seed: int | None
    response_format: Mapping[str, Any] | None


LAST_MOMENT = 4102444800.0
"""2100-01-01T00:00:00Z in epoch seconds: what lies behind it is a slip, such as milliseconds."""

_SAMPLING = ("max_tokens", "temperature", "top_p", "stop", "seed", "response_format")
_OURS = ("model", "stream")
"""Keys of a body that say where a job goes and how it is told. They stand in the job, not in its body."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request as its caller gave it."""

    prompt: Prompt
    options: Options = field(default_factory=Options)


def new_id() -> str:
    """A job id that nobody else has: 96 random bits."""
    return secrets.token_hex(12)


def prepare(loaded: Loaded, producer: str, ask: Ask) -> tuple[CompletionJob, Terms]:
    """The job and the terms on which it is put in.

    Raises `BadRequest`, `PromptTooLarge`, or `UnknownName` for a role, model or urgency.
    """
    options = ask.options
    body = _body(ask)
    way = route(loaded.catalog, _target(loaded.catalog, options, body), _urgency(options.get("urgency")))
    stream = bool(options.get("stream", body.get("stream", False)))
    kept = {key: value for key, value in body.items() if key not in _OURS}
    _check_size(kept, loaded.settings.max_prompt_bytes)
    try:
        job = CompletionJob(
            id=options.get("id") or new_id(),
            producer=producer,
            chain=way.chain,
            body=kept,
            role=way.role,
            urgency=way.urgency,
            reason=way.reason,
            stream=stream,
        )
    except ValidationError as error:
        raise BadRequest(_first(error)) from None
    return job, _terms(loaded, way.queue, way.urgency, options)


def duration(told: float | str) -> float:
    """Seconds of a number or of words such as `90s`, `5m`, `2h`; `BadRequest` for anything else, zero included."""
    seconds = seconds_of(told.strip()) if isinstance(told, str) else float(told)
    if seconds is None or not 0 < seconds < float("inf"):
        raise BadRequest(f"not a duration: {told!r}. Write seconds or words: 90, 500ms, 5m, 2h, 1d.")
    return seconds


def moment(told: float | str | datetime) -> float:
    """Epoch seconds of a moment: a number, an aware datetime, or ISO 8601 text (`2027-01-31T08:00:00+09:00`)."""
    if isinstance(told, int | float):
        return _within_reason(float(told), told)
    if isinstance(told, str):
        try:
            seconds = float(told)
        except ValueError:
            pass
        else:
            return _within_reason(seconds, told)
        try:
            told = datetime.fromisoformat(told)
        except ValueError:
            raise BadRequest(f"not a moment: {told!r}. Write epoch seconds or 2027-01-31T08:00:00+09:00.") from None
    if told.tzinfo is None:
        raise BadRequest("the deadline has no time zone: write one (2027-01-31T08:00:00+09:00), or an aware datetime")
    return told.timestamp()


def _terms(loaded: Loaded, queue: str, urgency: Urgency, options: Options) -> Terms:
    within, deadline = options.get("within"), options.get("deadline")
    if within is not None and deadline is not None:
        raise BadRequest(
            "say `within` or `deadline`, not both: each sets the moment after which nobody wants an answer"
        )
    return Terms(
        queue=queue,
        give_up=loaded.catalog.urgency[urgency].give_up if within is None else duration(within),
        keep=max(1.0, loaded.settings.keep_results),
        deadline=None if deadline is None else moment(deadline),
        idempotency_key=_key(options.get("idempotency_key")),
    )


def _key(told: str | None) -> str:
    if told is not None and not 0 < len(told) <= 256:
        raise BadRequest(f"an idempotency key has 1 to 256 characters, not {len(told)}")
    return told or ""


def _target(catalog: Catalog, options: Options, body: Mapping[str, Any]) -> str:
    role, model = options.get("role"), options.get("model")
    if role is not None and model is not None:
        raise BadRequest("say a role or a model, not both")
    if role is not None and role not in catalog.roles:
        raise UnknownName("role", role, catalog.roles)
    if model is not None and model not in catalog.models:
        raise UnknownName("model", model, catalog.models)
    told = role or model or body.get("model")
    if told is not None and not isinstance(told, str):
        raise BadRequest("`model` must be text: the name of a role or model")
    if told:
        return told
    if DEFAULT_ROLE in catalog.roles:
        return DEFAULT_ROLE
    for name in (*catalog.roles, *catalog.models):
        return name
    raise BadRequest("the configuration has no roles and no models: there is nothing to ask")


def _urgency(told: Urgency | str | None) -> Urgency | None:
    if told is None:
        return None
    try:
        return Urgency(told)
    except ValueError:
        raise UnknownName("urgency", str(told), [urgency.value for urgency in Urgency]) from None


def _body(ask: Ask) -> dict[str, Any]:
    prompt = ask.prompt
    if isinstance(prompt, str):
        if not prompt.strip():
            raise BadRequest("the prompt is empty")
        body: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]}
    elif isinstance(prompt, Mapping):
        body = dict(prompt)
    else:
        body = {"messages": list(prompt)}
    check_messages(body.get("messages"))
    given: Mapping[str, Any] = ask.options
    body.update({name: given[name] for name in _SAMPLING if given.get(name) is not None})
    _check_numbers(body)
    return body


def _within_reason(seconds: float, told: object) -> float:
    if not 0 < seconds < LAST_MOMENT:
        raise BadRequest(
            f"not a moment: {told!r}. Write epoch seconds before the year 2100, or 2027-01-31T08:00:00+09:00."
        )
    return seconds


def _check_numbers(body: Mapping[str, Any]) -> None:
    """`BadRequest` for a number that is none: JSON has no nan and no infinity."""
    for name in ("temperature", "top_p", "max_tokens", "max_completion_tokens", "seed"):
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise BadRequest(f"`{name}` must be a number, not {value!r}")
        if name.startswith("max_") and value < 1:
            raise BadRequest(f"`{name}` must be 1 or more, not {value!r}")


def check_messages(messages: object) -> None:
    """`BadRequest` unless it is a non-empty list of messages, each with a role and something in it."""
    if not isinstance(messages, list) or not messages:
        raise BadRequest("`messages` must be a non-empty list of {role, content}")
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            raise BadRequest(f"messages[{number}] must be an object {{role, content}}, not {type(message).__name__}")
        if not isinstance(message.get("role"), str) or not message["role"]:
            raise BadRequest(f'messages[{number}] has no role: write "user", "assistant" or "system"')
        content = message.get("content")
        if not isinstance(content, str | list) and not (content is None and message.get("tool_calls")):
            raise BadRequest(f"messages[{number}] has no content: write text, or a list of parts")


def _check_size(body: Mapping[str, Any], most: int) -> None:
    try:
        size = len(to_json(body))
    except (PydanticSerializationError, ValueError) as error:
        raise BadRequest(f"the request cannot be written as JSON: {error}") from None
    if size > most:
        raise PromptTooLarge(size, most)


def _first(error: ValidationError) -> str:
    told = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, told["loc"]))
    if place == "id":
        return "a job id has 8 to 64 letters, digits, `-` or `_`"
    return f"{place}: {told['msg']}"
