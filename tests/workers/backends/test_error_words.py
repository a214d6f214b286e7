"""The words of a refusal decide before its status: what concerns one request counts against no other."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from multidict import CIMultiDict

from openfall.router_core.jobs.failure_dispositions import DISPOSITIONS
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.vocabulary import CallSignal, CredentialSignal
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.error_response import classify
from openfall.workers.backends.parsing import parse_document


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


def refusal(status: int, body: Any) -> Failure:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return classify(status, CIMultiDict(), raw)


TOO_LONG = {
    "Gemini": (400, error("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).")),
    "xAI": (
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        },
    ),
    "Groq": (
        413,
        error(
            "Request too large for model `llama` on tokens per minute (TPM): Limit 6000, Requested 8000",
            code="rate_limit_exceeded",
        ),
    ),
    "OpenAI, by tokens a minute": (
        429,
        error(
            "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 50000.",
            code="rate_limit_exceeded",
        ),
    ),
    "Cerebras": (400, error("Please reduce the length of the messages or completion. Current length is 9000")),
    "Mistral": (400, {"object": "error", "message": "Prompt contains 40000 tokens, too large for model with 32768"}),
    "Cohere": (400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081"}),
    "Moonshot": (400, error("Your request exceeded model token limit: 262144 (requested: 291351)")),
    "MiniMax": (400, error("invalid params, context window exceeds limit (2013)")),
    "Zhipu": (400, error("Prompt exceeds max length", code="1261")),
    "Copilot": (400, error("prompt token count of 150000 exceeds the limit of 128000")),
    "DashScope": (400, {"code": "InvalidParameter", "message": "Range of input length should be [1, 98304]"}),
    "text-generation-inference": (
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 and 20",
            "error_type": "validation",
        },
    ),
    "vLLM": (400, error("The decoder prompt (length 50000) is longer than the maximum model length of 4096.")),
    "SGLang": (400, error("The input (10000 tokens) is longer than the model's context length (8192 tokens).")),
    "Bedrock": (400, {"message": "Input is too long for requested model."}),
    "LM Studio": (
        400,
        {
            "error": "Trying to keep the first 6000 tokens when context the overflows. However, the model is "
            "loaded with context length of only 4096 tokens"
        },
    ),
}
CANNOT = {
    "a temperature": (400, error("Unsupported value: 'temperature' does not support 0.2 with this model.")),
    "a parameter": (400, error("x", code="unsupported_parameter")),
    "an answer of that length": (
        400,
        error("max_tokens is too large: 32000. This model supports at most 16384 tokens"),
    ),
    "a server without a tool parser": (
        400,
        {
            "object": "error",
            "message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
            "code": 400,
        },
    ),
    "a llama-server without templates": (
        500,
        error("tools param requires --jinja flag", code=500, type="server_error"),
    ),
    "a template": (500, error("Conversation roles must alternate user/assistant/user/assistant/...", code=500)),
    "an answer in a schema": (400, error("This model does not support response format `json_schema`.")),
    "an image": (400, error("Invalid content type. image_url is only supported by certain models.")),
    "a prefill": (400, error("This model does not support assistant message prefill.")),
    "no endpoint with tools": (404, error('No endpoints found that support tool use. Try disabling "now".', code=404)),
    "no endpoint with images": (404, error("No endpoints found that support image input", code=404)),
    "a chat": (404, error("This is not a chat model and thus not supported in the v1/chat/completions endpoint.")),
    "thinking by a budget": (400, error('"thinking.type.enabled" is not supported for this model.')),
    "an answer that the rest of the credit cannot pay": (
        402,
        error("This request requires more credits, or fewer max_tokens. You can only afford 1234", code=402),
    ),
}
FILTERED = {
    "Anthropic": (400, error("Output blocked by content filtering policy", type="invalid_request_error")),
    "OpenAI": (400, error("Invalid prompt: your prompt was flagged as potentially violating our usage policy.")),
    "DashScope": (400, error("Output data may contain inappropriate content.", code="data_inspection_failed")),
    "DeepSeek": (400, error("Content Exists Risk", code="invalid_request_error")),
    "xAI": (
        403,
        {
            "code": "The caller does not have permission to execute the specified operation",
            "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO",
        },
    ),
    "Azure": (400, error("x", code="content_filter", innererror={"code": "ResponsibleAIPolicyViolation"})),
    "Moonshot": (400, error("The request was rejected because it was considered high risk", type="content_filter")),
    "Zhipu": (400, error("系统检测到输入或生成内容可能包含不安全或敏感内容", code="1301")),
    "a law": (451, error("Unavailable For Legal Reasons")),
}
GONE = {
    "Groq": (
        400,
        error(
            "The model `gemma2-9b-it` has been decommissioned and is no longer supported.", code="model_decommissioned"
        ),
    ),
    "NVIDIA": (410, {"status": 410, "detail": "The model 'x/y' has reached its end of life on 2026-01-01."}),
    "Azure": (404, error("The API deployment for this resource does not exist.", code="DeploymentNotFound")),
    "Volcengine": (
        404,
        error(
            "The model or endpoint x does not exist or you do not have access to it.",
            code="InvalidEndpointOrModel.NotFound",
        ),
    ),
    "one-api": (503, error("No available channel for model x under group default")),
    "a gateway": (500, error("model 'x' not found")),
    "DeepSeek": (400, error("Model Not Exist")),
    "LM Studio": (400, {"error": 'Invalid model identifier "x". Please specify a valid downloaded model'}),
    "Mistral": (400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model"}),
    "a path of llama-server": (404, error("File Not Found", code=404, type="not_found_error")),
    "OpenAI": (404, error("The model `gpt-3.5-turbo-0301` has been deprecated", code="model_not_found")),
}
NO_MONEY = {
    "Z.ai": (429, error("Insufficient balance or no resource package. Please recharge.", code="1113")),
    "Moonshot": (
        429,
        error(
            "Your account org-1 is suspended, please check your plan and billing details",
            type="exceeded_current_quota_error",
        ),
    ),
    "MiniMax": (500, {"type": "error", "error": {"type": "api_error", "message": "insufficient balance (1008)"}}),
    "MiniMax, within a 200": (200, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}),
    "xAI": (
        403,
        {
            "code": "The caller does not have permission to execute the specified operation",
            "error": "Your newly created team doesn't have any credits yet.",
        },
    ),
    "SiliconFlow": (403, {"code": 30001, "message": "Sorry, your account balance is insufficient", "data": None}),
    "Volcengine": (
        403,
        error("The request failed because your account has an overdue balance.", code="AccountOverdueError"),
    ),
    "DashScope": (400, {"code": "Arrearage", "message": "Access denied."}),
    "one-api": (403, error("user quota is not enough", code="insufficient_user_quota")),
    "a 401": (401, error("Insufficient account balance")),
    "a text": (500, b"Insufficient balance, please recharge"),
}
LIMITED = {
    "Google": (403, error("Rate Limit Exceeded", code="rateLimitExceeded")),
    "AWS": (400, {"__type": "ThrottlingException", "message": "Too many requests, please wait before trying again."}),
    "Vertex": (500, error("x", status="RESOURCE_EXHAUSTED")),
    "a gateway": (503, error("Rate limit reached for requests")),
}
BUSY = {
    "a 400": (400, error("The model is currently overloaded. Please try again later.")),
    "a 403": (403, error("The service is temporarily busy")),
    "a 404": (404, error("We are at capacity", type="overloaded_error")),
}
WRONG_KEY = {
    "xAI": (400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xx."}),
    "Azure": (401, {"statusCode": 401, "message": "Access denied due to invalid subscription key"}),
    "a 403": (403, error("Invalid API key")),
}
CLOUDFLARE = b"<html><title>Attention Required! | Cloudflare</title><h1>Sorry, you have been blocked</h1></html>"
F5 = b"<html>The requested URL was rejected. Please consult with your administrator. Your support ID is: 1</html>"
NOT_ALLOWED = {
    "a firewall": (403, CLOUDFLARE),
    "a firewall under a 405": (405, b"<html>Sorry, your request has been blocked</html>"),
    "a firewall under a 503": (503, b"<html><title>Just a moment...</title></html>"),
    "a proxy": (403, b"<html><h1>403 Forbidden</h1></html>"),
    "a model that a project lacks": (
        403,
        error("Project `p` does not have access to model `m`", code="model_not_found"),
    ),
    "a model that a key lacks": (401, error("You are not authorized to access model m")),
    "a policy on data": (404, error("No endpoints found matching your data policy (Free model publication)", code=404)),
    "no words": (403, {}),
}
OWN_OUTPUT = {
    "llama-server's format": (
        500,
        error("The model produced output that does not match the expected peg-native format"),
    ),
    "Groq's tools": (400, error("Failed to call a function. Please adjust your prompt.", code="tool_use_failed")),
    "Groq's JSON": (400, error("Failed to generate JSON.", code="json_validate_failed")),
    "Ollama's tools": (500, {"error": "error parsing tool call: raw='{', err=unexpected end of JSON input"}),
    "llama-server's tools": (500, error("Failed to parse input at pos 12: <tool_call>", code=500)),
}
CALLERS_OWN = {
    "a part of a schema": (400, error("In the schema of the model output, property 'x' does not exist")),
    "a tool that a model must use": (400, error("the model cannot use tool 'f': tool not found in tools")),
    "a file that is not there": (404, error("File not found: file_1", type="not_found_error")),
    "a document in the wrong form": (422, {"detail": [{"loc": ["body", "messages"], "msg": "Field required"}]}),
    "JSON that llama-server cannot read": (500, error("[json.exception.parse_error.101] parse error", code=500)),
    "a body that Ollama cannot read": (500, {"error": "json: cannot unmarshal array into Go struct field"}),
    "a picture that is none": (500, {"error": "illegal base64 data at input byte 4"}),
    "another gateway's word": (500, error("litellm.BadRequestError: OpenAIException - Unknown parameter")),
    "the provider behind a gateway": (
        502,
        error("Provider returned error", metadata={"raw": '{"error": {"type": "invalid_request_error"}}'}),
    ),
    "an argument, under a 500": (500, error("messages: wrong", type="invalid_request_error")),
    "headers": (431, {}),
}
CANNOT |= {
    f"under a 500: {words[:24]}": (500, error(words, type="server_error"))
    for words in (
        "\n---\nWhile executing CallExpression at line 85, column 32 in source",
        "Value is not callable: null at row 12, column 20",
        "Unknown method: items", "Assistant response prefill is incompatible with enable_thinking.",
        "Cannot have 2 or more assistant messages at the end of the list.", "failed to process image",
        "Failed to create new sequence: failed to process inputs: image: unknown format",
        "failed to process inputs: this model is missing data required for image input", "unsupported content[].type",
    )
}  # fmt: skip
MEANT = {
    E.CONTEXT_OVERFLOW: TOO_LONG, E.UNSUPPORTED: CANNOT, E.CONTENT_FILTER: FILTERED, E.NOT_INSTALLED: GONE,
    E.OUT_OF_CREDITS: NO_MONEY, E.AUTH: WRONG_KEY, E.FORBIDDEN: NOT_ALLOWED, E.INVALID_OUTPUT: OWN_OUTPUT,
    E.BAD_REQUEST: CALLERS_OWN, E.RATE_LIMITED: LIMITED, E.OVERLOADED: BUSY,
}  # fmt: skip
IN_FURTHER_WORDS = {
    E.OUT_OF_CREDITS: (
        (403, "This request requires payment. Please add a payment method"), (400, "Monthly spending limit reached"),
        (400, "You have no credits left."),
        (429, "You have exceeded your monthly included credits."),
    ),
    E.RATE_LIMITED: ((400, "Exceeded workspace rate limit exceeded"), (500, "Error code: 429 - slow down")),
    E.CONTEXT_OVERFLOW: (
        (400, "The total number of tokens (9000) exceeds the limit of 8192"), (400, "tokens in prompt exceeds n_ctx"),
        (422, "Conversation is too long"),
    ),
    E.CONTENT_FILTER: (
        (400, "data_inspection_failed"), (400, "Sorry, I can't process prohibited content"),
        (400, "Blocked by Google's filter: PROHIBITED_CONTENT"),
    ),
    E.NOT_INSTALLED: (
        (404, "invalid model name"), (404, "Model x is not available"), (404, "Cannot find model x"),
        (404, "Model 'x' is not loaded"), (400, "No models loaded. Please load a model in the developer page"),
    ),
}  # fmt: skip
MEANT = {
    meant: cases | {f"{status} {words}": (status, error(words)) for status, words in IN_FURTHER_WORDS.get(meant, ())}
    for meant, cases in MEANT.items()
}
CASES = [
    pytest.param(status, body, meant, id=f"{meant}: {name}")
    for meant, cases in MEANT.items()
    for name, (status, body) in cases.items()
]


@pytest.mark.parametrize(("status", "body", "meant"), CASES)
def test_the_words_of_a_refusal_decide(status: int, body: Any, meant: E) -> None:
    assert refusal(status, body).error_class is meant


@pytest.mark.parametrize(("status", "body", "meant"), CASES)
def test_a_refusal_of_one_request_is_charged_to_no_other(status: int, body: Any, meant: E) -> None:
    disposition = DISPOSITIONS[refusal(status, body).error_class]
    assert disposition.try_next_model
    if meant not in (E.AUTH, E.OUT_OF_CREDITS, E.RATE_LIMITED):
        assert disposition.credential is CredentialSignal.FINE
    if meant not in (E.NOT_INSTALLED, E.FORBIDDEN, E.OVERLOADED):
        assert disposition.breaker is CallSignal.NEUTRAL


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("words", ["", "computer says no", "frobnicate: 7 is not in [1, 2]", "参数错误"])
def test_a_refusal_in_unknown_words_lets_the_next_model_answer(status: int, words: str) -> None:
    disposition = DISPOSITIONS[refusal(status, error(words)).error_class]
    assert (disposition.try_next_model, disposition.breaker) == (True, CallSignal.NEUTRAL)


def test_the_page_of_a_firewall_under_a_200_is_no_fault_of_the_model() -> None:
    outcome = parse_document(F5, {})
    assert isinstance(outcome, Failure)
    assert outcome.error_class is E.FORBIDDEN


@pytest.mark.parametrize(
    ("status", "body", "detail"),
    [
        (403, error("no", code="organization_spend_limit_exceeded"), "organization_spend_limit_exceeded: no"),
        (422, {"detail": [{"loc": ["body", "n"], "msg": "too big", "input": "secret"}]}, "HTTP 422: body.n: too big"),
        (422, {"message": {"detail": [{"msg": "Field required"}]}}, "HTTP 422: Field required"),
        (200, {"base_resp": {"status_code": 2013, "status_msg": "invalid params"}}, "HTTP 200 2013: invalid params"),
        (400, {"errors": [{"code": 5006, "message": "bad input"}], "success": False}, "HTTP 400 5006: bad input"),
        (400, {"error_code": 17, "error_msg": "daily limit"}, "HTTP 400: daily limit"),
        (422, {"detail": ["n is too big", "m is missing"]}, "HTTP 422: n is too big; m is missing"),
        (422, {"detail": {"error": "no such field"}}, "HTTP 422: no such field"),
        (422, {"error": {"detail": [{"loc": ["n"], "msg": "too big"}]}}, "HTTP 422: n: too big"),
        (400, {"detail": [{"message": "no such field"}]}, "HTTP 400: no such field"),
        (400, {"errors": {"n": ["must be positive"]}}, "HTTP 400: n: must be positive"),
        (400, {"error_description": "no such client"}, "HTTP 400: no such client"),
        (400, {"error": {"code": "x", "details": "no such field"}}, "HTTP 400 x: no such field"),
        (500, {"base_resp": {"status_code": 1000, "status_msg": "unknown error"}}, "HTTP 500 1000: unknown error"),
        (400, {"prompt": ["the private prompt"]}, "HTTP 400"),
        (400, {"a": {"a": {"a": {"a": {"a": {"message": "too deep"}}}}}}, "HTTP 400"),
    ],
)
def test_a_detail_has_the_providers_words(status: int, body: Any, detail: str) -> None:
    assert refusal(status, body).detail.endswith(detail)
