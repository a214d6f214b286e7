"""From one dialect into another: a request on its way out, a whole answer on its way back. Pure.

The caller's body is only translated when the backend does not speak its dialect, and then nothing is lost that the
other dialect can say. What it cannot say:
- a wish that only tunes how the answer is found (a seed, a penalty) is left out;
- one that changes what the caller gets (several answers, sound) is `CannotSay`: another model of the chain may.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from openfall.router_core.jobs.outcome import (
    Failure,
    Outcome,
)
from openfall.router_core.vocabulary import (
    Dialect,
    ErrorClass,
)
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
    """From a caller's dialect into a backend's. `answer` takes the backend's answer and the body that asked for it.

    `request` raises `CannotSay` for what the backend's dialect has no word for, and `Unreadable` for what is not the
    caller's dialect at all. `answer` is given what the backend's adapter took for an answer; `Unreadable` when it holds
    something that the caller's dialect cannot carry.
    """

    request: Callable[[Body], dict[str, Any]]
    answer: Callable[[Body, Body], dict[str, Any]]
    finish: Callable[[Body], str]
    """The finish reason of a translated answer, in the caller's word for it."""


TRANSLATORS: Mapping[tuple[Dialect, Dialect], Translator] = {
    ("openai", "anthropic"): Translator(
        request=request_for_anthropic.request,
        answer=response_from_anthropic.answer,
        finish=response_from_anthropic.finish,
    ),
    ("anthropic", "openai"): Translator(
        request=request_for_openai.request, answer=response_from_openai.answer, finish=response_from_openai.finish
    ),
    ("openai", "ollama"): Translator(
        request=openai_to_ollama.request, answer=openai_to_ollama.answer, finish=openai_to_ollama.finish
    ),
    ("ollama", "openai"): Translator(
        request=ollama_to_openai.request, answer=ollama_to_openai.answer, finish=ollama_to_openai.finish
    ),
    ("anthropic", "ollama"): Translator(
        request=ollama_and_anthropic.request_for_ollama,
        answer=ollama_and_anthropic.answer_for_anthropic,
        finish=response_from_openai.finish,
    ),
    ("ollama", "anthropic"): Translator(
        request=ollama_and_anthropic.request_from_ollama,
        answer=ollama_and_anthropic.answer_for_ollama,
        finish=ollama_to_openai.finish,
    ),
}
"""By the caller's dialect and the backend's."""


def translate_request(request: Request, dialect: Dialect) -> Body | Failure:
    """The caller's body as a backend of that dialect is to be asked: itself, if it is in that dialect."""
    if request.dialect == dialect:
        return request.body
    try:
        return TRANSLATORS[request.dialect, dialect].request(request.body)
    except Untranslatable as error:
        return Failure(error_class=ErrorClass.UNSUPPORTED, detail=f"{error} cannot be asked for at this model")
    except Unreadable as error:
        return Failure(error_class=ErrorClass.BAD_REQUEST, detail=str(error))


def translate_response(outcome: Outcome, request: Request, dialect: Dialect) -> Outcome:
    """The outcome with its body and finish reason as the caller's dialect has them."""
    if isinstance(outcome, Failure) or request.dialect == dialect:
        return outcome
    translator = TRANSLATORS[request.dialect, dialect]
    try:
        body = translator.answer(outcome.body, request.body)
    except Unreadable as error:
        return Failure(error_class=ErrorClass.MALFORMED, detail=str(error))
    return replace(outcome, body=body, finish_reason=translator.finish(body))
