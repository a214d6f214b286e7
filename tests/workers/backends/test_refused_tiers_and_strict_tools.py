"""A service tier, or a strict tool, that a server refuses is left out: the answer is one to the same request."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.backend_entry import Protocol
from openfall.router_core.jobs.outcome import Completion
from tests.faults import COMPLETION, answer
from tests.workers.backends.test_refused_options import HI, MESSAGE, Json, called, refusal


@pytest.mark.parametrize(
    ("words", "own"),
    [
        ("Flex is not available for this model.", {}),
        ("service_tier: Extra inputs are not permitted", {}),
        ("Invalid service_tier argument", {"service_tier": "priority"}),
    ],
)
def test_a_service_tier_that_a_model_does_not_have_is_not_asked_for_again(words: str, own: Json) -> None:
    more = {} if own else {"service_tier": "flex"}
    outcomes, bodies = called("openai", {"messages": [HI], **own}, refusal(words), answer(COMPLETION), calls=2, **more)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    assert ["service_tier" in body for body in bodies] == [True, False, False]


CLOSED = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
STRICT = {"name": "f", "parameters": CLOSED, "strict": True}
OF_ANTHROPIC = {"name": "f", "input_schema": CLOSED, "strict": True}


@pytest.mark.parametrize(
    ("protocol", "tool"), [("anthropic", {"type": "function", "function": STRICT}), ("openai", OF_ANTHROPIC)]
)
def test_a_translated_tool_is_not_strict_where_that_is_refused(protocol: Protocol, tool: Json) -> None:
    dialect = "anthropic" if protocol == "openai" else "openai"
    body = {"messages": [HI], "tools": [tool], "max_tokens": 9}
    whole = MESSAGE if protocol == "anthropic" else COMPLETION
    words = "tools.0.custom.strict: Extra inputs are not permitted"
    outcomes, bodies = called(protocol, body, refusal(words), answer(whole), calls=2, dialect=dialect)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    sent = [body["tools"][0].get("function", body["tools"][0]) for body in bodies]
    assert ["strict" in each for each in sent] == [True, False, False]
    assert sent[0] == sent[1] | {"strict": True}
    _, own = called("openai", {"messages": [HI], "tools": [{"type": "function", "function": STRICT}]}, refusal(words))
    assert len(own) == 1
