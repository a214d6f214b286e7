"""Checks arguments, so that a mistake is an error that names the argument, its type and what is expected."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import orjson

from openfall.config import LoadedConfig
from openfall.producers.errors import BadRequest, RequestTooComplex
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.jobs.json_bounds import (
    MAX_DEPTH,
    JsonTooLarge,
    check_depth,
    check_parts,
    check_values,
    deep_place,
    shorten_place,
    wide_place,
)

REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
MAX_NAME = 256
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_STRICT = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


@dataclass(frozen=True, slots=True)
class Kind:
    """What an argument must be: a test, and words for it."""

    matches: Callable[[Any], object]
    expected: str


def _is_text(value: object) -> bool:
    """Whether this is text without half a character, which UTF-8 has no form for."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_seconds(value: Any) -> bool:
    return _is_real(value) and 0 <= value < 1e300


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and _is_seconds(value) and value < 2**53


def _is_list_of_text(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes) and all(map(_is_text, value))


TEXT = Kind(_is_text, "text")
NAME = Kind(lambda value: _is_text(value) and len(value) <= MAX_NAME, f"text of at most {MAX_NAME} characters")
GROUP = Kind(
    lambda value: NAME.matches(value) and not _CONTROL.search(value),
    f"text of at most {MAX_NAME} characters without control characters",
)
FLAG = Kind(lambda value: isinstance(value, bool), "True or False")
COUNT = Kind(_is_count, "a whole number, 0 or more")
SECONDS = Kind(_is_seconds, "a number of seconds, 0 or more")
WAIT = Kind(lambda value: _is_seconds(value) or value == math.inf, "a number of seconds, 0 or more")
DURATION = Kind(lambda value: NAME.matches(value) or _is_real(value), "seconds or text such as 90, 500ms, 5m, 2h, 1d")
MOMENT = Kind(
    lambda value: NAME.matches(value) or _is_real(value) or isinstance(value, datetime),
    "epoch seconds, an aware datetime, or text such as 2027-01-31T08:00:00+09:00",
)
LIST_OF_TEXT = Kind(_is_list_of_text, "a list of text")
TEXT_OR_LIST = Kind(lambda value: _is_text(value) or _is_list_of_text(value), "text or a list of text")
OBJECT = Kind(lambda value: isinstance(value, Mapping), "an object")
ANY = Kind(lambda value: True, "any value")
PRODUCER = Kind(
    lambda value: _is_text(value) and value.isprintable() and 0 < len(value) <= 128, "text of 1 to 128 characters"
)
CONFIG = Kind(
    lambda value: (
        isinstance(value, Path | LoadedConfig) or (_is_text(value) and value.isprintable() and 0 < len(value) <= 4096)
    ),
    "the path of a file, or a loaded configuration",
)


def _is_redis(value: object) -> bool:
    url = isinstance(value, str) and _is_text(value) and value.isprintable()
    return isinstance(value, RedisServer) or value == "" or (url and str(value).startswith(REDIS_SCHEMES))


REDIS_URL = Kind(
    _is_redis,
    "an address such as redis://127.0.0.1:6379/0, rediss://... or unix://...",
)

SUBMIT_OPTIONS: Mapping[str, Kind] = {
    **dict.fromkeys(("kind", "role", "task", "model", "dialect", "urgency"), NAME),
    "group": GROUP,
    **dict.fromkeys(("idempotency_key", "id"), TEXT),
    **dict.fromkeys(("local_only", "stream"), FLAG),
    "expires_in": DURATION,
    "deadline": MOMENT,
    **dict.fromkeys(("inbox", "webhook", "reply_to"), ANY),  # `callbacks` checks them
    **dict.fromkeys(("max_tokens", "temperature", "top_p", "seed"), ANY),  # `prompt` checks them
    "stop": TEXT_OR_LIST,
    "response_format": OBJECT,
    "wire_headers": OBJECT,
}
RESOLVE_OPTIONS: Mapping[str, Kind] = {
    **dict.fromkeys(("target", "task", "model", "urgency"), NAME),
    "group": GROUP,
    "text": TEXT,
    "local_only": FLAG,
    "exclude": LIST_OF_TEXT,
    "prompt_tokens": COUNT,
}
_BODY_FIELDS = frozenset({
    "tools", "tool_choice", "parallel_tool_calls", "functions", "n", "top_k", "min_p", "presence_penalty",
    "frequency_penalty", "repetition_penalty", "logit_bias", "logprobs", "top_logprobs", "reasoning_effort",
    "reasoning", "thinking", "max_completion_tokens", "max_output_tokens", "num_predict", "num_ctx", "stop_sequences",
    "prediction", "service_tier", "metadata", "user", "verbosity", "modalities", "images", "format", "keep_alive",
})  # fmt: skip
"""Fields of a request that are no options of a job."""
OUTCOMES: Mapping[str, Kind] = {
    "error": Kind(lambda value: isinstance(value, str | BaseException), "an error class, other text, or an exception"),
    "status": COUNT,
    **dict.fromkeys(("latency_seconds", "retry_after"), SECONDS),
    **dict.fromkeys(("input_tokens", "output_tokens"), COUNT),
}


def check(name: str, value: object, kind: Kind, *, required: bool = False) -> None:
    """Raises `BadRequest` unless the value is of its kind. None passes unless the value is required."""
    if (required or value is not None) and not kind.matches(value):
        wrong = _describe_address(value) if kind is REDIS_URL and isinstance(value, str) else describe(value)
        raise BadRequest(f"`{name}` must be {kind.expected}, not {wrong}")


def _describe_address(text: str) -> str:
    """What is wrong with a text as the address of a Redis, without the text: it may have a password."""
    is_gateway = text.startswith(("http://", "https://"))
    return "that of a gateway, which the SDKs of OpenAI and Anthropic take" if is_gateway else "text of another form"


def check_options(options: object, kinds: Mapping[str, Kind], what: str = "option") -> None:
    """Check named options. Raises `BadRequest`, and `UnknownName` for one that is not in `kinds`."""
    if not isinstance(options, Mapping):
        raise BadRequest(f"the {what}s must be an object of names and values, not {describe(options)}")
    for name, value in options.items():
        if name not in kinds:
            meant = _meant(str(name)) if kinds is SUBMIT_OPTIONS else ""
            raise UnknownName(what, str(name), kinds, meant)  # a misspelled `local_only` must not pass silently
        check(name, value, kinds[name])


def _meant(name: str) -> str:
    """Where a request says what callers of other clients write as an option of this name. Empty: nowhere."""
    if name in ("messages", "prompt", "input", "contents"):
        return "the first argument: text, or a list of messages"
    if name in ("system", "system_prompt", "instructions"):
        return 'a message, as in [{"role": "system", "content": ...}, {"role": "user", "content": ...}]'
    return f'a field of the whole request, as in {{"messages": [...], "{name}": ...}}' if name in _BODY_FIELDS else ""


def check_job_id(value: object) -> str:
    """The id, if it may be one. Raises `BadRequest`."""
    if not isinstance(value, str):
        raise BadRequest(f"a job is the receipt of `submit`, or its id as text, not {describe(value)}")
    if not value:
        raise BadRequest("the job id is empty")
    if not _JOB_ID.fullmatch(value):
        raise BadRequest(
            "not a job id: it has up to 64 letters, digits, `-` or `_`. `submit` takes a prompt, its receipt has an id"
        )
    return value


def check_many(requests: object) -> None:
    """Raises `BadRequest` unless this is a collection of requests. A text would give one job for each letter."""
    if isinstance(requests, str | bytes | bytearray | Mapping) or not hasattr(requests, "__iter__"):
        raise BadRequest(
            f"`requests` must be a list of prompts or of JobRequest, not {describe(requests)}. For one: `submit`"
        )


def describe(value: object) -> str:
    """The type of a value; of a number, the value."""
    if isinstance(value, bool | float) or (_is_real(value) and -1e15 < value < 1e15):  # type: ignore[operator]
        return repr(value)
    if isinstance(value, str):
        if not _is_text(value):
            return "text with half a character (a lone surrogate)"
        return f"text of {len(value):,} characters" if len(value) > MAX_NAME else "text"
    return type(value).__name__


def check_json(body: Mapping[str, Any], packed: bytes) -> None:
    """Raises `BadRequest` if a body has a value that JSON cannot hold. `packed` is the body as pydantic writes it,
    which takes a set for a list and bytes for text."""
    try:
        orjson.dumps(body, option=_STRICT)
        strict = True
    except TypeError:  # also an integer of more than 64 bits, which JSON can hold
        strict = False
    if strict and b"NaN" not in packed and b"Infinity" not in packed:
        return
    refuse_foreign(body)


def refuse_foreign(body: Mapping[str, Any]) -> None:
    """Raises `BadRequest` for the first value that JSON cannot hold, and `RequestTooComplex`."""
    for path, value in foreign_values(body):
        raise BadRequest(f"the request cannot be written as JSON: `{path}` is {describe(value)}")


def check_bounds(body: Mapping[str, Any], packed: bytes) -> None:
    """Raises `RequestTooComplex` if a body that is JSON has too many values, or is nested too deeply."""
    try:
        check_values(packed)
        check_parts(packed)
    except JsonTooLarge as error:
        raise RequestTooComplex(str(error), wide_place(body)) from None
    try:
        check_depth(packed, body)
    except JsonTooLarge as error:
        raise RequestTooComplex(str(error), deep_place(body)) from None


def foreign_values(body: Mapping[Any, Any]) -> Iterator[tuple[str, object]]:
    """The values within a body that JSON cannot hold, each with its path."""
    pending: list[tuple[str, object, int]] = [(str(name), value, 2) for name, value in body.items()]
    while pending:
        path, value, depth = pending.pop()
        if depth > MAX_DEPTH and isinstance(value, dict | list | tuple):
            raise RequestTooComplex(f"is nested more than {MAX_DEPTH} levels deep", shorten_place(path))
        if isinstance(value, dict):
            pending += [(f"{path}.{name}", below, depth + 1) for name, below in value.items()]
        elif isinstance(value, list | tuple):
            pending += [(f"{path}[{number}]", below, depth + 1) for number, below in enumerate(value)]
        elif not (value is None or isinstance(value, bool | int) or _is_text(value) or _is_finite(value)):
            yield path, value


def _is_finite(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)
