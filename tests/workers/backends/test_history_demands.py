"""What a server demands of the messages of a history is added once its refusal has named it."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.router_core.jobs.outcome import Completion, Failure
from openfall.router_core.vocabulary import Dialect
from tests.faults import COMPLETION, answer
from tests.workers.backends.test_refused_options import HI, called, refusal

CALL = {"id": "call_1", "type": "function", "function": {"name": "list_recurring_transactions", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "none"}
ASKED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
THOUGHT = [
    {"type": "thinking", "thinking": "I must look.", "signature": "c2ln"},
    {"type": "tool_use", "id": "call_1", "name": "look", "input": {}},
]
FOUND = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "none"}]}

NO_REASONING = (
    "The `reasoning_content` in the thinking mode must be passed back to the API.",
    "thinking is enabled but reasoning_content is missing in assistant tool call message at index 1",
)
NO_SIGNATURE = (
    "Function call is missing a thought_signature in functionCall parts. Additional data, function call "
    "`default_api:list_recurring_transactions` , position 2.",
    "Unable to submit request because function call list_recurring_transactions in the 4. content block is missing a "
    "thought_signature.",
)


@pytest.mark.parametrize("words", NO_REASONING)
@pytest.mark.parametrize(
    ("dialect", "history", "sent"),
    [
        ("openai", [HI, ASKED, RESULT], " "),
        ("openai", [HI, ASKED | {"reasoning_content": "I look."}, RESULT], "I look."),
        ("openai", [HI, ASKED | {"reasoning": "I look."}, RESULT], "I look."),
        ("anthropic", [HI, {"role": "assistant", "content": THOUGHT}, FOUND], "I must look."),
        ("anthropic", [HI, {"role": "assistant", "content": THOUGHT[1:]}, FOUND], " "),
        ("ollama", [HI, {"role": "assistant", "content": "A", "thinking": "Hm."}, HI], "Hm."),
    ],
)
def test_the_reasoning_of_earlier_answers_is_sent_back(
    words: str, dialect: Dialect, history: list[dict[str, Any]], sent: str
) -> None:
    body = {"messages": history, "max_tokens": 5}
    outcomes, bodies = called("openai", body, refusal(words), answer(COMPLETION), calls=2, dialect=dialect)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    assert [body["messages"][1].get("reasoning_content") for body in bodies[1:]] == [sent, sent]


@pytest.mark.parametrize("words", NO_SIGNATURE)
def test_a_call_without_a_signature_gets_the_one_that_gemini_documents(words: str) -> None:
    own = {**CALL, "id": "call_2", "extra_content": {"google": {"thought_signature": "c2ln"}}}
    history = [HI, {**ASKED, "tool_calls": [CALL, own]}, RESULT, {**RESULT, "tool_call_id": "call_2"}]
    outcomes, bodies = called("openai", {"messages": history}, refusal(words), answer(COMPLETION), calls=2)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    calls = [body["messages"][1]["tool_calls"] for body in bodies]
    assert calls[0] == [CALL, own]
    assert (
        calls[1]
        == calls[2]
        == [
            {**CALL, "extra_content": {"google": {"thought_signature": "skip_thought_signature_validator"}}},
            own,
        ]
    )


def test_a_demand_that_is_fulfilled_and_refused_again_is_the_outcome() -> None:
    outcomes, bodies = called("openai", {"messages": [HI, ASKED, RESULT]}, *[refusal(NO_REASONING[0])] * 2)
    assert isinstance(outcomes[0], Failure)
    assert len(bodies) == 2


@pytest.mark.parametrize(
    "words",
    [
        "developer is not one of ['system', 'assistant', 'user', 'tool', 'function'] - 'messages.0.role'",
        "unknown variant `developer`, expected one of `system`, `user`, `assistant`, `tool`",
        "body.messages.0.role: Input should be 'user', 'assistant' or 'system'",
        "Unexpected message role.",
        "The role developer is not supported by this model",
    ],
)
def test_a_server_without_the_role_developer_gets_the_instructions_of_the_system(words: str) -> None:
    history = [{"role": "developer", "content": "Be brief."}, HI]
    outcomes, bodies = called("openai", {"messages": history}, refusal(words), answer(COMPLETION), calls=2)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    assert [body["messages"][0]["role"] for body in bodies] == ["developer", "system", "system"]


def test_pages_for_developers_are_no_role() -> None:
    history = [{"role": "developer", "content": "Be brief."}, HI]
    _, bodies = called("openai", {"messages": history}, refusal("Invalid stop, see the developer documentation"))
    assert len(bodies) == 1


def test_the_refusal_of_another_role_is_not_repeated() -> None:
    outcomes, bodies = called("openai", {"messages": [HI]}, refusal("Unexpected message role."))
    assert isinstance(outcomes[0], Failure)
    assert len(bodies) == 1


INDEXED = {"role": "assistant", "content": None, "tool_calls": [{**CALL, "index": 0}]}
NAMED = {**RESULT, "name": "list_recurring_transactions"}


@pytest.mark.parametrize(
    ("words", "place", "kept"),
    [
        ("messages.1.tool_calls.0.index: Extra inputs are not permitted", 1, ASKED),
        ("'messages.1.tool_calls.0' : property 'index' is unsupported", 1, ASKED),
        ("Invalid JSON payload received. Unknown name \"index\" at 'messages[1].tool_calls[0]'", 1, ASKED),
        ("body.messages.2.tool.name: Extra inputs are not permitted", 2, RESULT),
        ("'messages.2' : property 'name' is unsupported", 2, RESULT),
    ],
)
def test_a_label_that_a_strict_server_refuses_is_left_out(words: str, place: int, kept: dict[str, Any]) -> None:
    history = [HI, INDEXED, NAMED]
    outcomes, bodies = called("openai", {"messages": history}, refusal(words), answer(COMPLETION), calls=2)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    assert [body["messages"] for body in bodies] == [history, *[[*history[:place], kept, *history[place + 1 :]]] * 2]


@pytest.mark.parametrize("words", ["tool_calls[0].index must be 0", "Unknown tool name", "unknown field `name`"])
def test_other_words_of_a_name_or_an_index_change_no_history(words: str) -> None:
    _, bodies = called("openai", {"messages": [{**HI, "name": "ann"}, INDEXED, RESULT]}, refusal(words))
    assert len(bodies) == 1


NO_ANSWER_BETWEEN = "Unexpected role 'user' after role 'tool'"


@pytest.mark.parametrize(
    ("dialect", "history"),
    [
        ("openai", [HI, ASKED, RESULT, HI]),
        ("anthropic", [HI, {"role": "assistant", "content": THOUGHT[1:]}, FOUND, HI]),
    ],
)
def test_an_answer_stands_between_the_result_of_a_tool_and_the_user(
    dialect: Dialect, history: list[dict[str, Any]]
) -> None:
    body = {"messages": history, "max_tokens": 5}
    outcomes, bodies = called("openai", body, refusal(NO_ANSWER_BETWEEN), answer(COMPLETION), calls=2, dialect=dialect)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    sent = [[message["role"] for message in body["messages"]] for body in bodies]
    assert sent[0] == ["user", "assistant", "tool", "user"]
    assert sent[1] == sent[2] == ["user", "assistant", "tool", "assistant", "user"]


def test_the_beginning_of_an_answer_gets_the_prefix_that_a_server_demands() -> None:
    words = "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant"
    begun = {"role": "assistant", "content": "Sure:"}
    outcomes, bodies = called("openai", {"messages": [HI, begun]}, refusal(words), answer(COMPLETION), calls=2)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    assert [body["messages"][-1] for body in bodies] == [begun, *[begun | {"prefix": True}] * 2]


@pytest.mark.parametrize("history", [[HI], [HI, ASKED, RESULT], [], [None, "x"]])
def test_a_demand_that_a_history_fulfils_changes_nothing(history: list[Any]) -> None:
    for words in (NO_ANSWER_BETWEEN, "Expected last role User (or Assistant with prefix True)"):
        outcomes, bodies = called("openai", {"messages": history}, *[refusal(words)] * 2)
        assert isinstance(outcomes[0], Failure)
        assert len(bodies) == 1
