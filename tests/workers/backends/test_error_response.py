"""Bodies as the servers write them, and what they mean."""

from __future__ import annotations

import orjson
import pytest
from multidict import CIMultiDict

from openfall.router_core.vocabulary import ErrorClass as E
from openfall.workers.backends.error_response import MAX_DETAIL_LENGTH, classify


def openai(message: str, type: str = "invalid_request_error", code: object = None) -> dict[str, object]:
    return {"error": {"message": message, "type": type, "param": None, "code": code}}


def llama(code: int, message: str, type: str, **more: int) -> dict[str, object]:
    return {"error": {"code": code, "message": message, "type": type, **more}}


def openrouter(code: int, message: str, **metadata: object) -> dict[str, object]:
    return {"error": {"code": code, "message": message, "metadata": metadata}}


def gemini(code: int, status: str, message: str, *details: dict[str, str]) -> list[dict[str, object]]:
    return [{"error": {"code": code, "message": message, "status": status, "details": list(details)}}]


def anthropic(type: str, message: str = "x", error_code: str | None = None) -> dict[str, object]:
    details = None if error_code is None else {"error_code": error_code}
    result = {"type": type, "message": message, "details": details}
    return {"type": "error", "error": result, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"}


CUDA = "llama runner process has terminated: cudaMalloc failed: out of memory"
SIGNALS = {
    "llama-server is loading": (503, llama(503, "Loading model", "unavailable_error"), E.OVERLOADED),
    "llama-server has no slot": (503, llama(503, "no slot available", "unavailable_error"), E.OVERLOADED),
    "llama-server has too little context": (
        400,
        llama(
            400,
            "the request exceeds the available context size, try increasing it",
            "exceed_context_size_error",
            n_prompt_tokens=9000,
            n_ctx=4096,
        ),
        E.CONTEXT_OVERFLOW,
    ),
    "an old llama-server cannot parse": (500, llama(500, "parse error at line 1", "parse_error"), E.BAD_REQUEST),
    "a llama-server router has no such model": (
        400,
        llama(400, "model 'coder' not found", "invalid_request_error"),
        E.NOT_INSTALLED,
    ),
    "llama-server knows another key": (401, llama(401, "Invalid API Key", "authentication_error"), E.AUTH),
    "llama-server fails": (500, llama(500, "decode failed", "server_error"), E.OVERLOADED),
    "llama-server fails within a stream": (200, llama(500, "decode failed", "server_error"), E.OVERLOADED),
    "Ollama is busy": (
        503,
        {"error": "server busy, please try again.  maximum pending requests exceeded"},
        E.OVERLOADED,
    ),
    "Ollama has not pulled it": (404, {"error": 'model "coder" not found, try pulling it first'}, E.NOT_INSTALLED),
    "Ollama is out of memory": (500, {"error": CUDA}, E.NO_VRAM),
    "Ollama is out of memory within a stream": (200, {"error": CUDA}, E.NO_VRAM),
    "Ollama's compatible endpoint is out of memory": (500, openai(CUDA, "api_error"), E.NO_VRAM),
    "Ollama's cloud wants a sign-in": (
        401,
        {"error": "unauthorized", "signin_url": "https://ollama.com/x"},
        E.NOT_INSTALLED,
    ),
    "Ollama's cloud wants a subscription": (
        403,
        {"error": "this model requires a subscription, upgrade for access"},
        E.NOT_INSTALLED,
    ),
    "Ollama's cloud has had enough": (
        429,
        {"error": "you (x) have reached your weekly usage limit, upgrade for higher limits"},
        E.OUT_OF_CREDITS,
    ),
    "OpenAI limits": (429, openai("Rate limit reached", "requests", "rate_limit_exceeded"), E.RATE_LIMITED),
    "OpenAI's slow_down": (429, openai("Slow down", "requests", "slow_down"), E.RATE_LIMITED),
    "OpenAI wants money": (
        429,
        openai("You exceeded your current quota", "insufficient_quota", "credit_balance_exhausted"),
        E.OUT_OF_CREDITS,
    ),
    "OpenAI's project is at its limit": (
        429,
        openai("limit", "insufficient_quota", "project_spend_limit_exceeded"),
        E.OUT_OF_CREDITS,
    ),
    "OpenAI is overloaded": (503, openai("Overloaded", "server_error", "server_is_overloaded"), E.OVERLOADED),
    "OpenAI has too little context": (
        400,
        openai("This model's maximum context length is 4096 tokens", code="context_length_exceeded"),
        E.CONTEXT_OVERFLOW,
    ),
    "OpenAI has no such model": (404, openai("The model `x` does not exist", code="model_not_found"), E.NOT_INSTALLED),
    "OpenAI filters": (400, openai("Your request was rejected", code="content_policy_violation"), E.CONTENT_FILTER),
    "OpenAI does not know the key": (401, openai("Incorrect API key provided", code="invalid_api_key"), E.AUTH),
    "OpenAI dislikes a parameter": (400, openai("Unknown parameter: 'frob'"), E.BAD_REQUEST),
    "vLLM has too little context": (
        400,
        {"object": "error", "error": {"message": "This model's maximum context length is 4096", "code": 400}},
        E.CONTEXT_OVERFLOW,
    ),
    "OpenRouter's credits are spent": (402, openrouter(402, "x", limit_source="openrouter_credits"), E.OUT_OF_CREDITS),
    "OpenRouter's key is spent": (402, openrouter(402, "x", limit_source="openrouter_key_limit"), E.OUT_OF_CREDITS),
    "OpenRouter has too much in flight": (
        402,
        openrouter(402, "x", limit_source="openrouter_in_flight_budget"),
        E.RATE_LIMITED,
    ),
    "OpenRouter guards a budget": (
        403,
        openrouter(403, "x", limit_source="openrouter_guardrail_budget"),
        E.OUT_OF_CREDITS,
    ),
    "OpenRouter moderates": (
        403,
        openrouter(403, "Your input was flagged", reasons=["violence"], flagged_input="the prompt"),
        E.CONTENT_FILTER,
    ),
    "OpenRouter has no provider": (503, openrouter(503, "No providers available for x"), E.NOT_INSTALLED),
    "OpenRouter gave up waiting": (408, openrouter(408, "Timed out"), E.TIMEOUT),
    "OpenRouter's provider is down": (502, openrouter(502, "Provider returned error"), E.CONNECTION),
    "OpenRouter limits after a 200": (200, openrouter(429, "Rate limited upstream"), E.RATE_LIMITED),
    "OpenRouter fails after a 200": (200, openrouter(502, "Provider disconnected"), E.CONNECTION),
    "Gemini limits": (
        429,
        gemini(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing"),
        E.RATE_LIMITED,
    ),
    "Gemini's day is over": (429, gemini(429, "quota_exceeded", "Daily quota"), E.OUT_OF_CREDITS),
    "Gemini does not know the key": (
        400,
        gemini(400, "INVALID_ARGUMENT", "API key not valid.", {"reason": "API_KEY_INVALID"}),
        E.AUTH,
    ),
    "Gemini wants billing": (400, gemini(400, "FAILED_PRECONDITION", "Enable billing"), E.AUTH),
    "Gemini dislikes an argument": (400, gemini(400, "INVALID_ARGUMENT", "temperature"), E.BAD_REQUEST),
    "Gemini is overloaded": (503, gemini(503, "UNAVAILABLE", "The model is overloaded"), E.OVERLOADED),
    "Gemini took too long": (504, gemini(504, "DEADLINE_EXCEEDED", "x"), E.TIMEOUT),
    "Anthropic is overloaded": (529, anthropic("overloaded_error", "Overloaded"), E.OVERLOADED),
    "Anthropic is overloaded after a 200": (200, anthropic("overloaded_error", "Overloaded"), E.OVERLOADED),
    "Anthropic limits": (
        429,
        anthropic("rate_limit_error", "This request would exceed your organization's rate limit of 50 requests"),
        E.RATE_LIMITED,
    ),
    "Anthropic limits how fast one grows": (
        429,
        anthropic("rate_limit_error", "x", "ramp_limit_exceeded"),
        E.RATE_LIMITED,
    ),
    "Anthropic limits after a 200": (200, anthropic("rate_limit_error"), E.RATE_LIMITED),
    "Anthropic's limit is spent": (
        429,
        anthropic("rate_limit_error", "x", "enforced_spend_limit_reached"),
        E.OUT_OF_CREDITS,
    ),
    "Anthropic's contract is spent": (
        429,
        anthropic("rate_limit_error", "x", "contract_spend_limit_reached"),
        E.OUT_OF_CREDITS,
    ),
    "Anthropic's linked organization has spent": (
        429,
        anthropic("rate_limit_error", "x", "linked_organization_spend_limit_reached"),
        E.OUT_OF_CREDITS,
    ),
    "Anthropic wants money": (402, anthropic("billing_error", "Your credit balance is too low"), E.OUT_OF_CREDITS),
    "Anthropic wants money in a 400": (
        400,
        anthropic("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
        E.OUT_OF_CREDITS,
    ),
    "Anthropic keeps your own limit": (
        400,
        anthropic("invalid_request_error", "You have reached your specified API usage limits. You will regain access"),
        E.OUT_OF_CREDITS,
    ),
    "Anthropic keeps your workspace's limit": (
        400,
        anthropic("invalid_request_error", "This workspace has reached its spend limit"),
        E.OUT_OF_CREDITS,
    ),
    "Anthropic has put you on hold": (
        400,
        anthropic("invalid_request_error", "x", "organization_on_hold"),
        E.AUTH,
    ),
    "Anthropic does not know the key": (401, anthropic("authentication_error", "invalid x-api-key"), E.AUTH),
    "Anthropic does not allow it": (403, anthropic("permission_error", "Your key has no access"), E.AUTH),
    "Anthropic has no such model": (404, anthropic("not_found_error", "model: claude-9"), E.NOT_INSTALLED),
    "Anthropic's prompt is too long": (
        400,
        anthropic("invalid_request_error", "prompt is too long: 215000 tokens > 200000 maximum"),
        E.CONTEXT_OVERFLOW,
    ),
    "Anthropic's prompt and answer are too long": (
        400,
        anthropic("invalid_request_error", "input length and `max_tokens` exceed context limit: 190000 + 20000"),
        E.CONTEXT_OVERFLOW,
    ),
    "Anthropic's request is too large": (
        413,
        anthropic("request_too_large", "Request exceeds the maximum size"),
        E.CONTEXT_OVERFLOW,
    ),
    "Anthropic dislikes a parameter": (
        400,
        anthropic("invalid_request_error", "`temperature` is deprecated for this model."),
        E.UNSUPPORTED,
    ),
    "Anthropic fails": (500, anthropic("api_error", "Internal server error"), E.OVERLOADED),
    "Anthropic took too long": (504, anthropic("timeout_error", "Request timed out"), E.TIMEOUT),
    "OpenAI's organization is at its limit": (
        429,
        openai("limit", "insufficient_quota", "organization_spend_limit_exceeded"),
        E.OUT_OF_CREDITS,
    ),
    "OpenAI's organization has used it up": (
        429,
        openai("limit", "insufficient_quota", "organization_usage_limit_exceeded"),
        E.OUT_OF_CREDITS,
    ),
    "OpenAI's quota by its old name": (
        429,
        openai("You exceeded your current quota", "insufficient_quota", "insufficient_quota"),
        E.OUT_OF_CREDITS,
    ),
    "OpenRouter's workspace is spent": (403, openrouter(403, "x", limit_source="workspace_budget"), E.OUT_OF_CREDITS),
    "OpenRouter's key is limited": (403, openrouter(403, "Key limit exceeded (total limit)"), E.OUT_OF_CREDITS),
    "OpenRouter has too little context": (
        400,
        openrouter(400, "This endpoint's maximum context length is 4096 tokens"),
        E.CONTEXT_OVERFLOW,
    ),
    "vLLM has no such model": (
        404,
        {"error": {"message": "The model `x` does not exist.", "type": "NotFoundError", "param": "model", "code": 404}},
        E.NOT_INSTALLED,
    ),
    "vLLM dislikes a parameter": (
        400,
        {"error": {"message": "top_p must be in (0, 1]", "type": "BadRequestError", "param": None, "code": 400}},
        E.BAD_REQUEST,
    ),
    "vLLM fails": (
        500,
        {"error": {"message": "EngineCore died", "type": "InternalServerError", "param": None, "code": 500}},
        E.OVERLOADED,
    ),
    "Gemini fails": (500, gemini(500, "INTERNAL", "An internal error has occurred"), E.OVERLOADED),
    "Gemini does not allow it": (403, gemini(403, "PERMISSION_DENIED", "no"), E.AUTH),
    "Gemini has no such model": (
        404,
        gemini(404, "NOT_FOUND", "models/x is not found for API v1"),
        E.NOT_INSTALLED,
    ),
    "a plain 408": (408, {}, E.TIMEOUT),
    "a plain 502": (502, {}, E.CONNECTION),
    "a plain 402": (402, {}, E.OUT_OF_CREDITS),
    "a plain 403": (403, {}, E.FORBIDDEN),
    "a plain 413": (413, {}, E.CONTEXT_OVERFLOW),
    "FastAPI's 422": (422, {"detail": [{"loc": ["body"], "msg": "x", "input": "the prompt"}]}, E.BAD_REQUEST),
    "a path that is not there": (404, {"detail": "Not Found"}, E.NOT_INSTALLED),
    "a redirect": (307, {}, E.OTHER),
    "a teapot": (418, {}, E.OTHER),
    "an error without a reason": (200, {"error": {"message": "odd"}}, E.OTHER),
}


@pytest.mark.parametrize(("status", "body", "meant"), SIGNALS.values(), ids=SIGNALS.keys())
def test_a_refusal_means(status: int, body: object, meant: E) -> None:
    assert classify(status, CIMultiDict(), orjson.dumps(body)).error_class is meant


@pytest.mark.parametrize(
    ("status", "meant"),
    [
        (500, E.CONNECTION),
        (502, E.CONNECTION),
        (503, E.CONNECTION),
        (522, E.CONNECTION),
        (504, E.TIMEOUT),
        (401, E.AUTH),
    ],
)
def test_a_web_page_comes_from_a_gateway(status: int, meant: E) -> None:
    failure = classify(status, CIMultiDict(), b"<html><h1>Bad Gateway</h1></html>")
    assert failure.error_class is meant
    assert "<" not in failure.detail


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"3", b'{"error":{"code":{}}}', b'{"error":[]}', b"\xff\xfe"])
@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_any_body_can_be_classified(status: int, body: bytes) -> None:
    assert classify(status, CIMultiDict(), body).detail.startswith(f"HTTP {status}")


@pytest.mark.parametrize(
    "secret", ["sk-proj-abc123DEF456", "AIzaSyD4x8", "Bearer abcdef", "api_key=hunter22", "0123456789abcdef" * 2]
)
def test_a_detail_holds_no_secret(secret: str) -> None:
    body = orjson.dumps(openai(f"Incorrect API key provided: {secret}. See https://example.org/keys?k=1"))
    detail = classify(401, CIMultiDict(), body).detail
    assert secret.split()[-1] not in detail
    assert "example.org" not in detail
    assert "Incorrect API key provided" in detail


def test_a_detail_is_short_and_one_line() -> None:
    detail = classify(400, CIMultiDict(), orjson.dumps(openai("no\n" * 5000))).detail
    assert len(detail) == MAX_DETAIL_LENGTH
    assert "\n" not in detail


def test_a_providers_copy_of_the_input_is_not_repeated() -> None:
    body = orjson.dumps(openrouter(403, "flagged", flagged_input="my darkest secret"))
    assert "darkest" not in classify(403, CIMultiDict(), body).detail
