"""Answers that no caller can use: those without a token, and those that call a tool without its name. Pure.

Gemini, and gateways whose provider failed, answer with a 200, a finish reason and nothing else. A model that has
nothing to say writes at least the token that ends its answer.
"""

from __future__ import annotations

from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.jobs.pieces_from_response import pieces_of_answer
from openfall.router_core.jobs.request_body import calls_of
from openfall.router_core.vocabulary import Dialect, ErrorClass
from openfall.workers.backends.finish_reasons import read_finish_reason

EMPTY = "the answer is empty: the model wrote no token"


def refuse_unusable(outcome: Outcome, dialect: Dialect) -> Outcome:
    """The outcome; a failure in place of an answer that no caller can use. `dialect`: that of its body.

    Its provider counts the tokens: an empty answer of unknown length is an answer. If a limit ended an answer without a
    token, the prompt has filled the context.
    """
    if not isinstance(outcome, Completion):
        return outcome
    if any(not name for name, _ in calls_of(outcome.body)):
        error, detail = ErrorClass.INVALID_OUTPUT, "a tool call of the answer names no tool"
    elif outcome.text or outcome.usage.output_tokens != 0 or pieces_of_answer(outcome.body, dialect):
        return outcome
    elif read_finish_reason(outcome.finish_reason) == "length":
        error, detail = ErrorClass.CONTEXT_OVERFLOW, "the prompt left no room for an answer"
    else:
        error, detail = ErrorClass.INVALID_OUTPUT, EMPTY
    return Failure(error_class=error, detail=detail, usage=outcome.usage)
