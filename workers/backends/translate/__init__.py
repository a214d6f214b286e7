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

from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.vocabulary import Dialect, ErrorClass
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.translate import (
    ollama_and_anthropic,
    ollama_to_openai,
    openai_to_ollama,
    request_for_anthropic,
    request_for_openai,
    response_from_anthropic,
    response_from_openai,
    responses_answer,
    responses_request,
)
from openfall.workers.backends.translate.call_ids import with_unique_calls
from openfall.workers.backends.translate.json_values import Body
from openfall.workers.backends.translate.older_functions import with_newer_calls, with_older_calls
from openfall.workers.backends.translate.refusals import Unreadable, Untranslatable


@dataclass(frozen=True, slots=True)
class Translator:
    """From a caller's dialect into a backend's. `response` takes the backend's response body and the caller's request.

    `request` raises `Untranslatable` for a parameter that the backend's dialect lacks, and `Unreadable` for a body that
    is not of the caller's dialect. `response` gets only bodies that the backend's client accepted; it raises
    `Unreadable` for content that the caller's dialect cannot carry.
    """

    request: Callable[[Body], dict[str, Any]]
    response: Callable[[Body, Body], dict[str, Any]]


def _through_openai(front: Translator, back: Translator) -> Translator:
    """From a caller's dialect into OpenAI's by `front`, and on into a backend's by `back`."""
    return Translator(
        lambda body: back.request(front.request(body)),
        lambda body, request: front.response(back.response(body, request), request),
    )


def _for_functions(translator: Translator) -> Translator:
    """A translator for callers of OpenAI's dialect, who may have its older `functions`."""
    return replace(
        translator, response=lambda body, request: with_older_calls(translator.response(body, request), request)
    )


_TO_ANTHROPIC = Translator(request_for_anthropic.request, response_from_anthropic.response)
_TO_OLLAMA = Translator(openai_to_ollama.request, openai_to_ollama.response)
_FROM_ANTHROPIC = Translator(request_for_openai.request, response_from_openai.response)
_FROM_OLLAMA = Translator(ollama_to_openai.request, ollama_to_openai.response)
_FROM_RESPONSES = Translator(responses_request.request, responses_answer.response)

TRANSLATORS: Mapping[tuple[Dialect, Dialect], Translator] = {
    ("openai", "anthropic"): _for_functions(_TO_ANTHROPIC),
    ("anthropic", "openai"): _FROM_ANTHROPIC,
    ("openai", "ollama"): _for_functions(_TO_OLLAMA),
    ("ollama", "openai"): _FROM_OLLAMA,
    ("anthropic", "ollama"): replace(
        _through_openai(_FROM_ANTHROPIC, _TO_OLLAMA), request=ollama_and_anthropic.request_for_ollama
    ),
    ("ollama", "anthropic"): replace(
        _through_openai(_FROM_OLLAMA, _TO_ANTHROPIC), request=ollama_and_anthropic.request_from_ollama
    ),
    ("responses", "openai"): _FROM_RESPONSES,
    ("responses", "anthropic"): _through_openai(_FROM_RESPONSES, _TO_ANTHROPIC),
    ("responses", "ollama"): _through_openai(_FROM_RESPONSES, _TO_OLLAMA),
}
"""By the caller's dialect and the backend's. Only a request of Responses is ever sent to an API of Responses."""


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
    """The outcome with its body and finish reason in the caller's dialect. Servers repeat the ids of tool calls, or
    send none: they become unique, also for a caller of the same dialect."""
    if dialect == "openai" and isinstance(outcome, Completion):
        newer = with_newer_calls(outcome.body, request.body)
        if newer is not outcome.body:
            outcome = replace(outcome, body=newer, finish_reason=finish_reason(newer, dialect))
    if request.dialect == dialect:
        if isinstance(outcome, Failure):
            return outcome
        return replace(outcome, body=with_unique_calls(outcome.body, request.body, dialect))
    if isinstance(outcome, Failure):
        if outcome.refusal is None:
            return outcome
        refusal = translate_response(outcome.refusal, request, dialect)
        return replace(outcome, refusal=refusal if isinstance(refusal, Completion) else None)
    try:
        body = TRANSLATORS[request.dialect, dialect].response(outcome.body, request.body)
    except Unreadable as error:
        return Failure(error_class=ErrorClass.INVALID_OUTPUT, detail=str(error), usage=outcome.usage)
    return replace(outcome, body=body, finish_reason=finish_reason(body, request.dialect))


def finish_reason(body: Body, dialect: Dialect) -> str:
    """The finish reason of a translated response, in its dialect."""
    match dialect:
        case "openai":
            return str(body["choices"][0]["finish_reason"])
        case "anthropic":
            return str(body["stop_reason"])
        case "ollama":
            return str(body["done_reason"])
        case "responses":
            return response_finish(body)


def response_finish(body: Body) -> str:
    """How a Response ended: its status, or why it is incomplete."""
    details = body.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, Mapping) else None
    return str(reason or body.get("status") or "completed")
