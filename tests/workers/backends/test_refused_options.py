"""openfall makes no call twice that its receiver refuses: what it adds is left out once a refusal names it."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from openfall.router_core.catalog.backend_entry import Backend, Protocol
from openfall.router_core.catalog.capabilities import Thinking
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.registry import open_backend
from tests.faults import COMPLETION, Script, answer, fault_server

HI = {"role": "user", "content": "Hi"}
MESSAGE = {"type": "message", "content": [{"type": "text", "text": "A"}], "stop_reason": "end_turn", "usage": {}}
Json = dict[str, Any]


def refusal(message: str) -> Script:
    return answer({"error": {"message": message, "type": "invalid_request_error"}}, 400)


def called(
    protocol: Protocol, body: Json, *scripts: Script, calls: int = 1, **more: Any
) -> tuple[list[Outcome], list[Json]]:
    """The outcomes of some calls with the same body, and the bodies that the server received."""

    async def work() -> tuple[list[Outcome], list[Json]]:
        async with fault_server(*scripts) as server:
            backend = open_backend(Backend(url=server.url + "/v1", pool="gpu", protocol=protocol))
            request = Request(**{"body": body, "upstream": "m", "timeout": 5, **more})
            try:
                outcomes = [await backend.complete(request) for _ in range(calls)]
            finally:
                await backend.close()
            return outcomes, [orjson.loads(received.body) for received in server.calls_received]

    return asyncio.run(asyncio.wait_for(work(), 60))


NO_BUDGET = (
    '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort"'
)
HARD = {"messages": [HI], "reasoning_effort": "high"}


def test_a_model_that_thinks_by_effort_alone_is_asked_so_after_one_refusal() -> None:
    outcomes, bodies = called("anthropic", HARD, refusal(NO_BUDGET), answer(MESSAGE), calls=2)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    assert [body["thinking"]["type"] for body in bodies] == ["enabled", "adaptive", "adaptive"]
    assert [body.get("output_config") for body in bodies] == [None, {"effort": "high"}, {"effort": "high"}]


def test_a_model_that_cannot_think_is_not_asked_to_after_one_refusal() -> None:
    outcomes, bodies = called("anthropic", HARD, refusal("thinking is not supported on this model"), answer(MESSAGE))
    assert isinstance(outcomes[0], Completion)
    assert ["thinking" in body for body in bodies] == [True, False]


@pytest.mark.parametrize(
    ("upstream", "thinking", "sent"),
    [
        ("claude-opus-4-5", None, {"type": "enabled", "budget_tokens": 16384}),
        ("claude-opus-4-7", None, {"type": "adaptive"}),
        ("anthropic/claude-sonnet-4.6", None, {"type": "adaptive"}),
        ("claude-3-5-haiku-latest", None, None),
        ("claude-opus-4-7", Thinking.NONE, None),
        ("glm-5", None, {"type": "enabled", "budget_tokens": 16384}),
        ("glm-5", Thinking.ADAPTIVE, {"type": "adaptive"}),
    ],
)
def test_thinking_is_requested_as_the_model_takes_it(upstream: str, thinking: Thinking | None, sent: Any) -> None:
    spec = ModelSpec(upstream=upstream, backends=("a",), thinking=thinking)
    more = {"upstream": upstream, "thinking": spec.capabilities.thinking}
    _, (body,) = called("anthropic", HARD, answer(MESSAGE), **more)
    assert body.get("thinking") == sent


def test_the_highest_effort_of_adaptive_thinking_is_max() -> None:
    more = {"upstream": "claude-opus-4-7", "thinking": Thinking.ADAPTIVE}
    _, (body,) = called("anthropic", HARD | {"reasoning_effort": "xhigh"}, answer(MESSAGE), **more)
    assert body["output_config"] == {"effort": "max"}


NO_MAX = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."


def test_the_limit_of_openfall_has_the_name_that_the_server_knows() -> None:
    outcomes, bodies = called("openai", {"messages": [HI]}, refusal(NO_MAX), answer(COMPLETION), calls=2, max_tokens=7)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    limits = [(body.get("max_tokens"), body.get("max_completion_tokens")) for body in bodies]
    assert limits == [(7, None), (None, 7), (None, 7)]


def test_a_callers_own_limit_gets_the_other_name_once() -> None:
    outcomes, bodies = called("openai", {"messages": [HI], "max_tokens": 7}, refusal(NO_MAX))
    assert isinstance(outcomes[0], Failure)
    assert outcomes[0].error_class is E.UNSUPPORTED
    assert [(body.get("max_tokens"), body.get("max_completion_tokens")) for body in bodies] == [(7, None), (None, 7)]


def test_a_callers_own_parameter_is_not_left_out() -> None:
    words = "Unsupported value: 'temperature' does not support 0.2 with this model."
    outcomes, bodies = called("openai", {"messages": [HI], "temperature": 0.2}, refusal(words))
    assert isinstance(outcomes[0], Failure)
    assert outcomes[0].error_class is E.UNSUPPORTED
    assert len(bodies) == 1


ALL = {"temperature": 0.2, "top_p": 0.9, "metadata": {"user_id": "u"}}


@pytest.mark.parametrize(
    ("status", "words", "left_out"),
    [
        (
            400,
            "unknown field `user`, expected one of `messages`, `model`, `temperature`, `top_p`, `max_tokens`",
            {"user"},
        ),
        (400, "user is not permitted. Supported parameters: temperature, top_p, max_tokens", {"user"}),
        (400, "not a supported parameter: user", {"user"}),
        (400, "`temperature` and `top_p` cannot both be specified for this model. Please use only one.", {"top_p"}),
        (501, "top_p is not implemented", {"top_p"}),
    ],
)
def test_only_what_a_refusal_refuses_is_left_out(status: int, words: str, left_out: set[str]) -> None:
    body = {"messages": [HI], "max_tokens": 7, **ALL}
    refused = answer({"error": {"message": words}}, status)
    outcomes, bodies = called("openai", body, refused, answer(COMPLETION), dialect="anthropic")
    assert isinstance(outcomes[0], Completion)
    assert bodies[0].keys() - bodies[1].keys() == left_out


@pytest.mark.parametrize(
    ("upstream", "words"),
    [
        ("claude-haiku-4-5", "This model does not support the effort parameter."),
        ("claude-opus-4-7", "adaptive thinking is not supported on this model"),
    ],
)
def test_a_model_that_does_not_think_as_it_was_asked_to_gets_one_further_request(upstream: str, words: str) -> None:
    more = {"upstream": upstream, "thinking": Thinking.ADAPTIVE}
    outcomes, bodies = called("anthropic", HARD, refusal(words), answer(MESSAGE), **more)
    assert isinstance(outcomes[0], Completion)
    assert len(bodies) == 2


def test_what_a_translation_wrote_is_left_out_one_after_the_other() -> None:
    body = {"messages": [HI], "max_tokens": 7, "temperature": 0.2}
    words = "Unsupported value: 'temperature' does not support 0.2 with this model."
    outcomes, bodies = called("openai", body, refusal(NO_MAX), refusal(words), answer(COMPLETION), dialect="anthropic")
    assert isinstance(outcomes[0], Completion)
    assert bodies[-1] == {"messages": [HI], "model": "m", "max_completion_tokens": 7}


TOO_LARGE = {
    "OpenAI": "max_tokens is too large: 9000. It is too high for this model",
    "vLLM": "'max_tokens' or 'max_completion_tokens' is too large: 9000. Its maximum context length is 8192 tokens",
    "vLLM, older": "This model's maximum context length is 8192 tokens. However, you requested 9010 tokens (10 in the "
    "messages, 9000 in the completion). Please reduce the length of the messages or completion.",
    "SGLang": "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a total "
    "of 9010 tokens: 10 tokens from the input messages and 9000 tokens for the completion.",
    "TGI": "`inputs` tokens + `max_new_tokens` must be <= 8193. Given: 10 `inputs` tokens and 9000 `max_new_tokens`",
}
STATED = {
    "max_tokens is too large: 9000. This model supports at most 4096 completion tokens": 4096,
    "`max_tokens` must be less than or equal to `8192`, the maximum value for `max_tokens` is less than": 8192,
    "<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]": 8192,
    "`max_tokens` must be less than or equal to `8192`, and less than the `context_window` for this model": 8192,
    "it has a maxOutputTokens value of 9000 but the supported range is from 1 (inclusive) to 8193 (exclusive)": 8192,
    "The maximum tokens you requested exceeds the model limit of 4096. Try again with a lower value": 4096,
    "Input validation error: `max_new_tokens` must be <= 4096. Given: 9000": 4096,
    "Invalid 'max_tokens': integer above maximum value. Expected a value <= 4096, but got 9000 instead.": 4096,
    "Invalid value for max_tokens: must be between 1 and 8,192": 8192,
    "gpt-4-1106-preview: max_tokens exceeds maximum of 4096": 4096,
    "参数 max_tokens 非法，请检查文档。max_tokens 参数取值范围 [1, 4096]": 4096,
    "This model supports at most 4096 output tokens": 4096,
}


@pytest.mark.parametrize("words", TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_a_limit_of_openfall_that_is_too_large_is_left_out(words: str) -> None:
    outcomes, bodies = called(
        "openai", {"messages": [HI]}, refusal(words), answer(COMPLETION), calls=2, max_tokens=9000
    )
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    assert [body.get("max_tokens") for body in bodies] == [9000, None, None]
    assert not any("max_completion_tokens" in body for body in bodies)


def test_a_prompt_that_is_too_long_by_itself_is_not_asked_again() -> None:
    words = TOO_LARGE["vLLM, older"].replace("(10 in", "(8200 in")
    outcomes, bodies = called("openai", {"messages": [HI]}, refusal(words), max_tokens=9000)
    assert isinstance(outcomes[0], Failure)
    assert outcomes[0].error_class is E.CONTEXT_OVERFLOW
    assert len(bodies) == 1


@pytest.mark.parametrize("words", STATED)
def test_a_limit_of_openfall_is_the_one_that_a_refusal_states(words: str) -> None:
    outcomes, bodies = called(
        "openai", {"messages": [HI]}, refusal(words), answer(COMPLETION), calls=2, max_tokens=9000
    )
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    assert [body.get("max_tokens") for body in bodies] == [9000, STATED[words], STATED[words]]


def test_a_translated_limit_is_the_one_that_anthropic_states() -> None:
    words = "max_tokens: 128000 > 64000, which is the maximum allowed number of output tokens for claude-sonnet-4-5"
    body = {"messages": [HI], "max_tokens": 128_000}
    outcomes, bodies = called("anthropic", body, refusal(words), answer(MESSAGE))
    assert isinstance(outcomes[0], Completion)
    assert [body["max_tokens"] for body in bodies] == [128_000, 64_000]


STREAM_ONLY = (
    "This model only support stream mode, please enable the stream parameter to access the model. ",
    "parameter.enable_thinking must be set to false for non-streaming calls",
    "parameter.enable_thinking必须设置为false才能进行非流式调用",
    "enable thinking can not be support when `stream=False`.",
    "Requests with max_tokens > 4096 must have stream=true",
    "Stream must be set to true",
)


@pytest.mark.parametrize("words", STREAM_ONLY)
def test_a_model_that_answers_in_a_stream_only_gets_each_further_request_with_one(words: str) -> None:
    outcomes, bodies = called("openai", {"messages": [HI]}, refusal(words), answer(COMPLETION), calls=2)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    assert [body.get("stream", False) for body in bodies] == [False, True, True]


def test_a_callers_own_limit_that_is_too_large_is_not_left_out() -> None:
    _, bodies = called("openai", {"messages": [HI], "max_tokens": 9000}, refusal(TOO_LARGE["OpenAI"]))
    assert len(bodies) == 1


@pytest.mark.parametrize(
    ("protocol", "option", "words"),
    [
        ("ollama", "think", '"gemma3:4b" does not support thinking'),
        ("openai", "reasoning_effort", "Model grok-4-0709 does not support parameter reasoningEffort."),
        ("openai", "reasoning_effort", "Thinking level is not supported for this model."),
        ("anthropic", "thinking", "Reasoning is not enabled for this model"),
    ],
)
def test_a_model_without_thinking_is_not_option_for_it_again(protocol: Protocol, option: str, words: str) -> None:
    message = {"role": "assistant", "content": "A"}
    whole = {"ollama": {"message": message, "done": True}, "anthropic": MESSAGE, "openai": COMPLETION}[protocol]
    dialect = "anthropic" if protocol == "openai" else "openai"
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 16384}, "max_tokens": 20000}
    body = {"messages": [HI]} | (thinking if dialect == "anthropic" else {"reasoning_effort": "high"})
    outcomes, bodies = called(protocol, body, refusal(words), answer(whole), dialect=dialect)
    assert isinstance(outcomes[0], Completion)
    assert [option in body for body in bodies] == [True, False]


CALL = {"id": "toolu_01A09q90qw90lq917835lq9aaaaaaaaaaaaaaaaaaaaaaaaaa", "type": "function", "function": {"name": "f"}}
HISTORY = [
    HI,
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": CALL["id"], "content": "1"},
]
ID_FORMS = {
    "Mistral": (f"Tool call id was {CALL['id']} but must be a-z, A-Z, 0-9, with a length of 9.", 9),
    "OpenAI": (
        "Invalid 'messages[1].tool_calls[0].id': string too long. Expected a string with maximum length 40, but got a "
        "string with length 53 instead.",
        40,
    ),
    "another": ("messages.2.tool_call_id: must have at most 16 characters", 16),
}


@pytest.mark.parametrize(("words", "length"), ID_FORMS.values(), ids=ID_FORMS.keys())
def test_the_ids_of_tool_calls_take_the_form_that_a_server_demands(words: str, length: int) -> None:
    outcomes, bodies = called("openai", {"messages": HISTORY}, refusal(words), answer(COMPLETION), calls=2)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    assert bodies[0]["messages"] == HISTORY
    assert bodies[1] == bodies[2]
    _, made, result = bodies[1]["messages"]
    assert made["tool_calls"][0]["id"] == result["tool_call_id"]
    assert len(result["tool_call_id"]) == length
    assert result["tool_call_id"].isalnum()
    assert made["tool_calls"][0]["function"] == CALL["function"]


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("reasoning_content", "'messages.1': property 'reasoning_content' is unsupported"),
        ("refusal", "messages.1.refusal: Extra inputs are not permitted"),
        ("thinking_blocks", "Unrecognized request argument supplied: thinking_blocks"),
    ],
)
def test_fields_of_answers_in_a_history_are_left_out_for_a_server_that_refuses_them(field: str, message: str) -> None:
    history = [HI, {"role": "assistant", "content": "A", field: "hm"}, HI]
    outcomes, bodies = called("openai", {"messages": history}, refusal(message), answer(COMPLETION))
    assert isinstance(outcomes[0], Completion)
    assert [field in body["messages"][1] for body in bodies] == [True, False]
    assert bodies[1]["messages"][1]["content"] == "A"


def test_a_refusal_that_names_nothing_of_openfall_is_not_repeated() -> None:
    outcomes, bodies = called("openai", {"messages": [HI], "seed": 1}, refusal("seed is not supported"), max_tokens=5)
    assert isinstance(outcomes[0], Failure)
    assert len(bodies) == 1


def test_a_refusal_of_everything_is_the_outcome() -> None:
    outcomes, bodies = called("anthropic", HARD, refusal(NO_BUDGET), refusal(NO_BUDGET + " (again)"))
    assert isinstance(outcomes[0], Failure)
    assert ["thinking" in body for body in bodies] == [True, True, False]


UNSIGNED = {"type": "thinking", "thinking": "of another provider", "signature": ""}
SIGNED = {"type": "thinking", "thinking": "its own", "signature": "c2ln"}
TEXT = {"type": "text", "text": "A"}


def test_thinking_that_has_no_signature_is_not_sent_to_a_claude() -> None:
    history = [
        HI,
        {"role": "assistant", "content": [UNSIGNED, SIGNED, TEXT]},
        {"role": "assistant", "content": [UNSIGNED]},
    ]
    body = {"messages": history, "max_tokens": 5}
    _, (sent,) = called("anthropic", body, answer(MESSAGE), dialect="anthropic", upstream="claude-opus-4-5")
    assert sent["messages"] == [HI, {"role": "assistant", "content": [SIGNED, TEXT]}]
    _, (other,) = called("anthropic", body, answer(MESSAGE), dialect="anthropic", upstream="deepseek-chat")
    assert other["messages"] == history
