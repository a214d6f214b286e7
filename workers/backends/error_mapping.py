"""Maps an upstream's error response to a class of failure, by its status and body. Pure.

1. The status narrows down the class. An error inside a 200 has the status that its own `code` names, or none.
2. The error's codes decide (`code`, `type`, `status` and the fields that providers put beside them).
3. Then the text of its message.
4. Then the status alone. 408 and 504 mean that a server waited too long (`timeout`). 502, the codes of proxies (520 to
   527) and any 5xx with a web page come from a gateway that did not reach the model (`connection`). Every other 5xx is
   the server's own and may pass (`overloaded`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.retry_after import limit_reset, parse_duration, retry_after

MAX_DETAIL_LENGTH = 300
"""The maximum length of a failure's detail, in characters."""

_SECRET = re.compile(r"(?i)\b(?:bearer\s+\S+|(?:sk|rk|pk|key|api[_-]?key)[-_=:]\S{4,}|AIza\S+|[A-Za-z0-9_*-]{32,})")
_URL = re.compile(r"https?://\S+")


@dataclass(frozen=True, slots=True)
class UpstreamError:
    """An upstream's error. `status` is None if only the body has an error; `codes` are lower case."""

    status: int | None
    codes: frozenset[str]
    message: str


@dataclass(frozen=True, slots=True)
class Rule:
    """Matches if the status is in `statuses` (empty: any) and a code or the text matches (neither given: always)."""

    error: ErrorClass
    statuses: frozenset[int | None] = frozenset()
    codes: frozenset[str] = frozenset()
    text: re.Pattern[str] | None = None

    def matches(self, error: UpstreamError) -> bool:
        if self.statuses and error.status not in self.statuses:
            return False
        if not self.codes and self.text is None:
            return True
        return bool(self.codes & error.codes or (self.text and self.text.search(error.message)))


def _rule(error: ErrorClass, statuses: set[int | None] | None = None, codes: str = "", text: str = "") -> Rule:
    pattern = re.compile(text, re.IGNORECASE) if text else None
    return Rule(error, frozenset(statuses or ()), frozenset(codes.split()), pattern)


_E = ErrorClass
_REQUEST: set[int | None] = {400, 413, 422, None}  # errors of the request
_SERVER: set[int | None] = {500, 502, 503, None}  # errors of the server
_CREDITS = (
    "insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded project_spend_limit_exceeded"
    " organization_usage_limit_exceeded enforced_spend_limit_reached contract_spend_limit_reached"
    " linked_organization_spend_limit_reached quota_exceeded billing_error openrouter_credits openrouter_key_limit"
    " openrouter_guardrail_budget openrouter_workspace_budget workspace_budget key_limit"
)
_OUT_OF_MEMORY = (
    r"out of (device )?memory|(cuda|hip)malloc failed|failed to allocate|allocation failed|not enough memory"
    r"|insufficient memory|error_?out_?of_?(device_?)?memory|requires more (\w+ )?memory"
)
_TOO_LONG = (
    r"context[ _](length|size|window|limit)|maximum context|prompt is too long|input is too long"
    r"|exceeds? the (maximum|available) .*(context|tokens)"
)
_NO_MODEL = (
    r"\bmodel\b.{0,200}(not found|does not exist|not exist)|no such model|not a valid model|no endpoints found"
    r"|requires a subscription|cloud is disabled|remote model is unavailable"
)
_CANNOT = r"does not support (tools|thinking|chat|generate|insert|vision|images?)|image input is not supported"

RULES: tuple[Rule, ...] = (
    # money and limits: OpenRouter's in-flight budget is a limit, any other 402 is money
    _rule(_E.OUT_OF_CREDITS, {400, 402, 403, 429, None}, codes=_CREDITS),
    _rule(_E.OUT_OF_CREDITS, {429, None}, text=r"(session|weekly) usage limit"),
    _rule(_E.OUT_OF_CREDITS, {400}, text=r"spend limit|credit balance is too low|usage limits"),
    _rule(_E.OUT_OF_CREDITS, {403}, text=r"(key|spend|credit|budget) limit|budget"),
    _rule(
        _E.RATE_LIMITED, {402, None}, codes="openrouter_in_flight_budget rate_limit_exceeded rate_limit_error slow_down"
    ),
    _rule(_E.OUT_OF_CREDITS, {402}),
    _rule(_E.RATE_LIMITED, {429}),
    # the key
    _rule(
        _E.NOT_INSTALLED, {401}, codes="signin_url"
    ),  # a cloud model of an Ollama without a login: no other model fails
    _rule(_E.AUTH, {401}),
    _rule(_E.AUTH, {400, None}, codes="api_key_invalid invalid_api_key authentication_error failed_precondition"),
    _rule(_E.AUTH, {400, None}, codes="organization_on_hold permission_error", text=r"api key not valid"),
    # the model
    _rule(_E.NOT_INSTALLED, {400, 403, 404, None}, codes="model_not_found", text=_NO_MODEL),
    _rule(_E.NOT_INSTALLED, {404}, codes="not_found not_found_error notfounderror"),
    _rule(_E.NOT_INSTALLED, {503, None}, text=r"\bno (allowed |available )?providers?\b"),
    # the request
    _rule(_E.UNSUPPORTED, {400, 500, None}, text=_CANNOT),
    _rule(_E.CONTEXT_OVERFLOW, {400, 413, 422, 500, None}, codes="exceed_context_size_error context_length_exceeded"),
    _rule(_E.CONTEXT_OVERFLOW, {413}),
    _rule(_E.CONTENT_FILTER, {400, 403, None}, codes="content_filter content_policy_violation moderation"),
    _rule(_E.CONTENT_FILTER, {403}, text=r"moderation|flagged"),
    _rule(_E.CONTEXT_OVERFLOW, _REQUEST, text=_TOO_LONG),
    _rule(_E.CONTEXT_OVERFLOW, {500}, text=r"(input|prompt) (length |is ).{0,40}(exceeds|longer than).{0,40}context"),
    _rule(_E.AUTH, {403}),
    _rule(_E.BAD_REQUEST, {500}, codes="parse_error"),
    # the server
    _rule(_E.NO_VRAM, _SERVER, text=_OUT_OF_MEMORY),
    _rule(
        _E.OVERLOADED, {None}, codes="overloaded_error server_is_overloaded unavailable unavailable_error server_error"
    ),
    _rule(_E.OVERLOADED, {None}, codes="api_error internal internal_server_error internal_error timeout_error"),
    _rule(_E.OVERLOADED, {None}, text=r"overloaded|loading model|no slot available|server busy"),
    _rule(_E.BAD_REQUEST, {None}, codes="invalid_request_error badrequesterror invalid_argument"),
    # the status alone
    _rule(_E.TIMEOUT, {408, 504}),
    _rule(_E.CONNECTION, {502, *range(520, 528)}),
    _rule(_E.OVERLOADED, {529}),  # Anthropic's alone, whatever its body
    _rule(_E.BAD_REQUEST, {400, 422}),
)
"""The first rule that matches decides."""


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """The failure that a response without an answer means. `headers` ignore case."""
    document = _read(body)
    error = find_error(document)
    upstream = UpstreamError(_status(status, error), frozenset(_codes(error, document)), _message(error, document))
    error_class = next((rule.error for rule in RULES if rule.matches(upstream)), None) or _by_range(upstream, document)
    wait = retry_after(headers)
    if wait is None and error_class is ErrorClass.RATE_LIMITED:
        wait = limit_reset(headers) or _retry_delay(error)
    return Failure(error_class=error_class, detail=_detail(status, upstream, document), retry_after=wait)


def find_error(document: Any) -> Any:
    """The value of `error` in a body, or in the only element of a list; None if there is none."""
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    error = document.get("error") if isinstance(document, dict) else None
    return error[0] if isinstance(error, list) and error else error


def _read(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _status(status: int, error: Any) -> int | None:
    if status >= 400:
        return status
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else None


def _codes(error: Any, document: Any) -> Iterator[str]:
    """Every short code of the error, in lower case. Ollama's `signin_url` stands beside the error."""
    if isinstance(document, dict) and "signin_url" in document:
        yield "signin_url"
    if not isinstance(error, dict):
        return
    metadata, details = error.get("metadata"), error.get("details")
    parts = [error, metadata, *(details if isinstance(details, list) else [details])]
    for part in filter(lambda part: isinstance(part, dict), parts):
        for key in ("code", "type", "status", "reason", "limit_source", "error_code", "error_type"):
            value = part.get(key)
            if isinstance(value, str) and len(value) <= 80:
                yield value.lower()


def _message(error: Any, document: Any) -> str:
    message = error.get("message") if isinstance(error, dict) else error
    if message is None and isinstance(document, dict):
        message = document.get("message") or document.get("detail")
    return message if isinstance(message, str) else ""


def _by_range(error: UpstreamError, document: Any) -> ErrorClass:
    if error.status is None or not 500 <= error.status < 600 or error.status == 501:
        return ErrorClass.OTHER
    return ErrorClass.CONNECTION if document is None else ErrorClass.OVERLOADED


def _retry_delay(error: Any) -> float | None:
    """Google's `RetryInfo`: `{"retryDelay": "36s"}` among the details."""
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(delay := detail.get("retryDelay"), str):
            return parse_duration(delay)
    return None


def _detail(status: int, error: UpstreamError, document: Any) -> str:
    """`HTTP 429 rate_limit_exceeded: Slow down.`, without a secret, an address, or a page of HTML."""
    codes = " ".join(sorted(code for code in error.codes if re.fullmatch(r"[a-z0-9_]{1,60}", code)))
    head = " ".join(filter(None, (f"HTTP {status}", codes)))
    message = "a body that is not JSON" if document is None else " ".join(error.message.split())
    return redact(f"{head}: {message}" if message else head)


def redact(text: str) -> str:
    """The text without keys and addresses, and with at most `MAX_DETAIL_LENGTH` characters."""
    text = _URL.sub("[address]", _SECRET.sub("[secret]", text[: 10 * MAX_DETAIL_LENGTH]))
    return text if len(text) <= MAX_DETAIL_LENGTH else text[: MAX_DETAIL_LENGTH - 1] + "…"
