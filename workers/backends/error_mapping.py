"""Maps an upstream's error response to a class of failure, by its status and body. Pure.

1. The error's words decide (`error_rules`): its codes (`code`, `type`, `status` and the fields beside them), and the
   text of its message. An error inside a 200 has the status that its own `code` names, or none.
2. Then the status alone. 408 and 504 mean that a server waited too long (`timeout`). 502, the codes of proxies (520 to
   527) and any 5xx with a web page come from a gateway that did not reach the model (`connection`). Every other 5xx is
   the server's own and may pass (`overloaded`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.error_rules import FIREWALL_PAGE, UpstreamError, find_class, is_firewall_page
from openfall.workers.backends.exact_json import loads
from openfall.workers.backends.retry_after import limit_reset, parse_duration, retry_after

MAX_DETAIL_LENGTH = 300
"""The maximum length of a failure's detail, in characters."""

MAX_PAGE_BYTES = 8192
"""How much of a body that is not JSON is read for its words."""

_SECRET = re.compile(
    r"(?i)\b(?:bearer\s+\S+|(?:sk|rk|pk|key|api[_-]?key)[-_=:]\S{4,}|AIza\S+|(?-i:(?=[a-z_-]*[A-Z0-9*]))[A-Za-z0-9_*-]{32,})"
)
_MARKUP = re.compile(r"<(style|script)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_URL = re.compile(r"https?://\S+")


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """The failure that a response without an answer means. `headers` ignore case."""
    document = _read(body)
    error = find_error(document)
    page = _page_text(body) if document is None else ""
    codes = frozenset(_codes(error, document)) | ({FIREWALL_PAGE} if is_firewall_page(page) else frozenset())
    upstream = UpstreamError(_status(status, error), codes, _message(error, document) or page)
    error_class = find_class(upstream) or _by_range(upstream, document)
    wait = retry_after(headers)
    if wait is None and error_class is ErrorClass.RATE_LIMITED:
        wait = limit_reset(headers) or _retry_delay(error)
    detail = _detail(status, upstream, document)
    return Failure(error_class=error_class, detail=detail, retry_after=wait, http_status=upstream.status)


def find_error(document: Any) -> Any:
    """The value of `error` in a body, or in the only element of a list; None if there is none.

    MiniMax writes its errors into `base_resp`, Cloudflare into `errors`, some gateways a code and a message alone.
    """
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if not isinstance(document, dict):
        return None
    error = document.get("error") or _first(document.get("errors")) or _base_error(document.get("base_resp"))
    if error is None and document.get("object") == "error":
        return document
    return error[0] if isinstance(error, list) and error else error


def _base_error(value: Any) -> dict[str, Any] | None:
    """MiniMax's `{"status_code": 1008, "status_msg": "insufficient balance"}`. A status of 0 is success."""
    code = value.get("status_code") if isinstance(value, dict) else None
    return {"code": str(code), "message": value.get("status_msg")} if code else None


def _first(values: Any) -> Any:
    return values[0] if isinstance(values, list) and values else None


def _read(body: bytes) -> Any:
    try:
        return loads(body)
    except ValueError:
        return None


def _page_text(body: bytes) -> str:
    """The text of a body that is not JSON, without its markup."""
    return " ".join(_MARKUP.sub(" ", body[:MAX_PAGE_BYTES].decode("utf-8", "replace")).split())


def _status(status: int, error: Any) -> int | None:
    if status >= 400:
        return status
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else None


def _codes(error: Any, document: Any) -> Iterator[str]:
    """Every short code of the error, in lower case. Some providers write the code beside the error (`signin_url` of
    Ollama, `code` of xAI)."""
    parts = (
        [error] if isinstance(error, dict) else [document[0] if isinstance(document, list) and document else document]
    )
    if isinstance(document, dict) and "signin_url" in document:
        yield "signin_url"
    if not isinstance(parts[0], dict):
        return
    metadata, details = parts[0].get("metadata"), parts[0].get("details")
    parts += [parts[0].get("innererror"), metadata, *(details if isinstance(details, list) else [details])]
    for part in filter(lambda part: isinstance(part, dict), parts):
        for key in ("code", "type", "status", "reason", "limit_source", "error_code", "error_type"):
            value = part.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value >= 600:  # a number of its own
                value = str(value)
            if isinstance(value, str) and len(value) <= 80:
                yield value.lower()


def _message(error: Any, document: Any) -> str:
    message = error.get("message") if isinstance(error, dict) else error
    if message is None and isinstance(document, dict):
        message = document.get("message") or document.get("detail") or document.get("error_msg") or document.get("msg")
    if isinstance(message, dict):  # Mistral: {"message": {"detail": [...]}}
        message = message.get("detail") or message.get("message")
    if isinstance(message, list):
        message = "; ".join(filter(None, map(_field_error, message)))
    return message if isinstance(message, str) else ""


def _field_error(entry: Any) -> str:
    """One entry of a 422: `messages.0.content: Field required`. Its `input` repeats the prompt, so it is left out."""
    if not isinstance(entry, dict) or not isinstance(entry.get("msg"), str):
        return ""
    place = entry.get("loc")
    path = ".".join(map(str, place)) if isinstance(place, list) else ""
    return f"{path}: {entry['msg']}" if path else str(entry["msg"])


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
    codes = " ".join(sorted(code for code in error.codes if re.fullmatch(r"[a-z0-9_.]{1,60}", code)))
    head = " ".join(filter(None, (f"HTTP {status}", codes)))
    message = "a body that is not JSON" if document is None else " ".join(error.message.split())
    return redact(f"{head}: {message}" if message else head)


def redact(text: str) -> str:
    """The text without keys and addresses, and with at most `MAX_DETAIL_LENGTH` characters."""
    text = _URL.sub("[address]", _SECRET.sub("[secret]", text[: 10 * MAX_DETAIL_LENGTH]))
    return text if len(text) <= MAX_DETAIL_LENGTH else text[: MAX_DETAIL_LENGTH - 1] + "…"
