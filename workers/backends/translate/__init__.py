"""Translates requests, and whole responses back, between dialects. Pure.

A body is translated only if the backend does not serve its dialect. Everything that the other dialect can express is
kept. For the rest:
- a parameter that only tunes the generation (a seed, a penalty) is omitted;
- one that changes the result (several answers, audio) is `Untranslatable`: another model of the chain may serve it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from openfall.router_core.jobs.outcome import Failure, Outcome
from openfall.router_core.vocabulary import Dialect, ErrorClass
from openfall.workers.backends.base import Request
from openfall.workers.backends.translate import (
    ollama_and_anthropic,
    ollama_to_openai,
    openai_to_ollama,
    request_for_anthropic,
    request_for_openai,
    response_from_anthropic,
    response_from_openai,
)
from openfall.workers.backends.translate.refusals import Unreadable, Untranslatable

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Translator:
    """From a caller's dialect into a backend's. `response` takes the backend's response body and the caller's request.

    `request` raises `Untranslatable` for a parameter that the backend's dialect lacks, and `Unreadable` for a body that
    is not of the caller's dialect. `response` gets only bodies that the backend's client accepted; it raises
    `Unreadable` for content that the caller's dialect cannot carry.
    """

    request: Callable[[Body], dict[str, Any]]
    response: Callable[[Body, Body], dict[str, Any]]
    finish: Callable[[Body], str]
    """The finish reason of a translated response, in the caller's dialect."""


TRANSLATORS: Mapping[tuple[Dialect, Dialect], Translator] = {
    ("openai", "anthropic"): Translator(
        request=request_for_anthropic.request,
        response=response_from_anthropic.response,
        finish=response_from_anthropic.finish,
    ),
    ("anthropic", "openai"): Translator(
        request=request_for_openai.request, response=response_from_openai.response, finish=response_from_openai.finish
    ),
    ("openai", "ollama"): Translator(
        request=openai_to_ollama.request, response=openai_to_ollama.response, finish=openai_to_ollama.finish
    ),
    ("ollama", "openai"): Translator(
        request=ollama_to_openai.request, response=ollama_to_openai.response, finish=ollama_to_openai.finish
    ),
    ("anthropic", "ollama"): Translator(
        request=ollama_and_anthropic.request_for_ollama,
        response=ollama_and_anthropic.response_for_anthropic,
        finish=response_from_openai.finish,
    ),
    ("ollama", "anthropic"): Translator(
        request=ollama_and_anthropic.request_from_ollama,
        response=ollama_and_anthropic.response_for_ollama,
        finish=ollama_to_openai.finish,
    ),
}
"""By the caller's dialect and the backend's."""


def translate_request(request: Request, dialect: Dialect) -> Body | Failure:
    """The caller's body in a backend's dialect. It stays as it is if the dialects are the same."""
    if request.dialect == dialect:
        return request.body
    try:
        return TRANSLATORS[request.dialect, dialect].request(request.body)
    except Untranslatable as error:
        return Failure(error_class=ErrorClass.UNSUPPORTED, detail=f"this model does not support {error}")
    except Unreadable as error:
        return Failure(error_class=ErrorClass.BAD_REQUEST, detail=str(error))


def translate_response(outcome: Outcome, request: Request, dialect: Dialect) -> Outcome:
    """The outcome with its body and finish reason in the caller's dialect."""
    if isinstance(outcome, Failure) or request.dialect == dialect:
        return outcome
    translator = TRANSLATORS[request.dialect, dialect]
    try:
        body = translator.response(outcome.body, request.body)
    except Unreadable as error:
        return Failure(error_class=ErrorClass.MALFORMED, detail=str(error))
    return replace(outcome, body=body, finish_reason=translator.finish(body))
