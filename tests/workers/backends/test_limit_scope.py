"""Refusals for a limit, as providers write them: what the limit counts, and when it resets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.vocabulary import ErrorClass as E
from openfall.router_core.vocabulary import LimitScope
from openfall.workers.backends.error_response import classify

KEY, MODEL, UNKNOWN = LimitScope
DATE = {"Date": "Mon, 30 Nov 2026 00:00:00 GMT"}
NOW = 1_795_996_800
UNIFIED = "anthropic-ratelimit-unified-"


def refuse(status: int, body: Any, headers: dict[str, str] | None = None) -> Failure:
    return classify(status, CIMultiDict({**DATE, **(headers or {})}), json.dumps(body).encode())


def error(message: str, code: str = "", **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **({"code": code} if code else {}), **fields}}


def gemini(quota: str) -> dict[str, Any]:
    words = "You exceeded your current quota, please check your plan and billing details."
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36s"},
    ]
    return {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": words, "details": details}}


CLAUDE = {
    "type": "error",
    "error": {"type": "rate_limit_error", "message": "This request would exceed your account's rate limit."},
}
CODEX = error("The usage limit has been reached", type="usage_limit_reached", plan_type="plus")
GROQ = "Rate limit reached for model `llama-3.3-70b` in organization `org_1` service tier `on_demand` on"
FREE = "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day"


@pytest.mark.parametrize(
    ("status", "body", "headers", "scope"),
    [
        pytest.param(429, CODEX, {}, KEY, id="codex plan"),
        pytest.param(429, error("x"), {"x-codex-primary-used-percent": "100"}, KEY, id="codex header"),
        pytest.param(429, CLAUDE, {f"{UNIFIED}status": "rejected", f"{UNIFIED}representative-claim": "five_hour"}, KEY,
                     id="claude five hours"),
        pytest.param(429, CLAUDE, {f"{UNIFIED}status": "rejected", f"{UNIFIED}representative-claim": "seven_day"}, KEY,
                     id="claude week"),
        pytest.param(429, CLAUDE, {f"{UNIFIED}status": "rejected"}, KEY, id="claude without a name"),
        pytest.param(429, CLAUDE, {f"{UNIFIED}status": "rejected", f"{UNIFIED}representative-claim": "seven_day_opus"},
                     MODEL, id="claude opus week"),
        pytest.param(429, CLAUDE, {f"{UNIFIED}status": "rejected", f"{UNIFIED}5h-status": "allowed",
                                   f"{UNIFIED}7d-status": "allowed_warning"}, MODEL, id="claude model"),
        pytest.param(429, error("Claude AI usage limit reached|1795999999"), {}, KEY, id="claude words"),
        pytest.param(429, error("You have reached your Opus weekly limit"), {}, MODEL, id="opus words"),
        pytest.param(429, error("You exceeded your current quota, please check your plan and billing details.",
                                "insufficient_quota"), {}, KEY, id="openai quota"),
        pytest.param(429, error("Rate limit reached for gpt-4o in organization org-1 on requests per day (RPD)",
                                "rate_limit_exceeded"), {}, MODEL, id="openai day of a model"),
        pytest.param(429, error(f"{GROQ} tokens per day (TPD): Limit 100000"), {}, MODEL, id="groq day of a model"),
        pytest.param(429, gemini("GenerateRequestsPerDayPerProjectPerModel-FreeTier"), {}, MODEL, id="gemini day"),
        pytest.param(429, gemini("GenerateContentRequestsPerDayPerProject"), {}, KEY, id="gemini project"),
        pytest.param(429, error(FREE, code=""), {}, MODEL, id="openrouter free models"),
        pytest.param(429, error("Rate limit exceeded: free-models-per-day-high-balance."), {}, MODEL,
                     id="openrouter rich"),
        pytest.param(429, error("out", metadata={"limit_source": "openrouter_free_tier_daily"}), {}, MODEL,
                     id="openrouter source"),
        pytest.param(429, error("Usage limit reached for 5 hour. Your limit will reset at 2026-12-01", "1308"), {},
                     KEY, id="glm coding plan"),
        pytest.param(429, error("已达到 5 小时的使用上限。您的限额将在 2026-12-01 07:41:44 重置。", "1308"), {}, KEY,
                     id="glm in chinese"),
        pytest.param(429, error("Weekly/Monthly Limit Exhausted. Your limit will reset at 2026-12-01", "1310"), {}, KEY,
                     id="glm week"),
        pytest.param(403, error("You've reached your weekly (7-day) usage limit. Your quota will reset when the "
                                "current 7-day window ends.", type="access_terminated_error"), {}, KEY, id="kimi week"),
        pytest.param(403, error("You've reached your usage limit for this billing cycle. Your quota will be refreshed",
                                type="access_terminated_error"), {}, KEY, id="kimi cycle"),
        pytest.param(429, error("Your account org-1 request reached organization TPD rate limit, current: 9, limit: 9",
                                type="rate_limit_reached_error"), {}, KEY, id="moonshot day"),
        pytest.param(402, error("You have exceeded your premium request allowance", "quota_exceeded"), {}, MODEL,
                     id="copilot premium"),
        pytest.param(429, error("quota exceeded", "quota_exceeded"), {}, KEY, id="copilot plan"),
        pytest.param(429, {"error": "Too many requests for team t and model grok-4. Its limit is: 9 per day"}, {},
                     MODEL, id="xai model"),
        pytest.param(429, {"message": "You are using a Trial key, which is limited to 1000 API calls / month."}, {},
                     KEY, id="cohere trial"),
        pytest.param(429, error("Quota exceeded for this month"), {}, KEY, id="this month"),
        pytest.param(429, {"error": "you (x) have reached your session usage limit"}, {}, KEY, id="ollama session"),
    ],
)  # fmt: skip
def test_a_limit_of_hours_or_days_names_the_key_or_the_model_that_it_counts(
    status: int, body: Any, headers: dict[str, str], scope: LimitScope
) -> None:
    failure = refuse(status, body, headers)
    assert failure.error_class is E.OUT_OF_CREDITS or (
        failure.error_class is E.RATE_LIMITED and failure.limit.is_lasting
    )
    assert (failure.limit.scope is MODEL) is (scope is MODEL), failure
    assert scope is not MODEL or failure.error_class is E.RATE_LIMITED, "a key that serves other models is not parked"
    assert failure.error_class is E.OUT_OF_CREDITS or failure.limit.scope is scope


@pytest.mark.parametrize(
    "body",
    [
        error("free is temporarily rate-limited upstream. Please retry shortly."),
        error(f"{GROQ} tokens per minute (TPM): Limit 6000, Used 5999. Please try again in 2s"),
        error("Rate limit reached", "rate_limit_exceeded"),
        CLAUDE,
        gemini("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"),
        error("user_model_rate_limited", "user_model_rate_limited"),
        error("Server is temporarily limiting requests (not your usage limit)") | {"type": "error"},
    ],
)
def test_a_limit_of_a_minute_is_a_rate_limit_that_does_not_last(body: Any) -> None:
    failure = refuse(429, body)
    assert failure.error_class is E.RATE_LIMITED


@pytest.mark.parametrize(
    ("body", "headers", "wait"),
    [
        (CODEX["error"] | {"resets_in_seconds": 9568}, {}, 9568),
        (CODEX["error"] | {"resets_at": NOW + 7200}, {}, 7200),
        (CODEX["error"] | {"resets_in_seconds": True}, {}, None),
        (CODEX["error"] | {"resets_at": "tomorrow"}, {}, None),
        ({"message": FREE, "metadata": {"headers": {"X-RateLimit-Reset": f"{NOW + 86_400}000"}}}, {}, 86_400),
        ({"message": FREE, "metadata": {"headers": "none"}}, {"X-RateLimit-Reset": f"{NOW + 60}"}, 60),
        ({"message": "You've hit your usage limit. Try again in 3 days 1 hour."}, {}, 262_800),
        ({"message": "x"}, {f"{UNIFIED}reset": f"{NOW + 18_000}"}, 18_000),
        ({"message": "x"}, {f"{UNIFIED}reset": f"{NOW - 5}"}, 0),
        ({"message": "x"}, {f"{UNIFIED}reset": f"{NOW + 5}", "Date": "never"}, None),
        ({"message": "x"}, {f"{UNIFIED}reset": f"{NOW + 18_000}", "Retry-After": "7"}, 7),
    ],
)
def test_a_plan_says_when_it_resets_in_a_header_or_in_its_error(body: Any, headers: dict[str, str], wait: Any) -> None:
    assert refuse(429, {"error": body}, headers).retry_after == wait


@pytest.mark.parametrize(
    ("status", "message", "error_class"),
    [
        (429, "Request too large for model `x` in organization `o` on tokens per minute (TPM)", E.CONTEXT_OVERFLOW),
        (400, "This model's maximum context length limit is 8192 tokens", E.CONTEXT_OVERFLOW),
        (403, "Access to the model is forbidden", E.FORBIDDEN),
        (402, "Insufficient credits", E.OUT_OF_CREDITS),
    ],
)
def test_other_refusals_that_name_a_model_or_a_limit_keep_their_meaning(
    status: int, message: str, error_class: E
) -> None:
    assert refuse(status, error(message)).error_class is error_class


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Usage limit reached for 5 hour. Your limit will reset at 2026-11-30 12:00:00", 4 * 3600),
        ("Usage limit reached for 5 hour. Your limit will reset at 2026-11-30 04:30:00", 4.5 * 3600),
        ("已达到 5 小时的使用上限。您的限额将在 2026-11-30 12:00:00 重置。", 4 * 3600),
        ("Weekly/Monthly Limit Exhausted. Your limit will reset at 2026-12-02 08:00:00.", 2 * 86_400),
        ("Usage limit reached for 5 hour. Your limit will reset at 2026-11-29 12:00:00", None),
        ("Usage limit reached for 5 hour. Your limit will reset at 2026-13-40 99:00:00", None),
        ("Usage limit reached for 5 hour. Your limit will reset at 2026-11-30 12:00:00+02:00", 10 * 3600),
        ("Limit resets at: 2026-11-30 00:00:30 UTC", 30),
        ("Quota exceeded. Please retry after 2026-11-30T00:00:30.500Z", 30.5),
        ("Usage limit reached for 5 hour. Your limit will reset at noon", None),
    ],
    ids=[
        "the provider's zone",
        "utc",
        "in chinese",
        "a week",
        "over",
        "no moment",
        "another zone",
        "utc by name",
        "an RFC 3339 time",
        "words",
    ],
)
def test_words_state_the_time_of_a_reset_and_without_a_zone_it_is_the_earliest_that_it_may_be(
    words: str, seconds: float | None
) -> None:
    assert refuse(429, error(words, "1308")).retry_after == seconds
