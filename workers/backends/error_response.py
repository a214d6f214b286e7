"""Reads an upstream's error response: its class by `error_rules` or its status, its words, its wait. Pure.

1. The error's words decide (`error_rules`): its codes (`code`, `type`, `status` and the fields beside them), and the
   text of its message. An error inside a 200 has the status that its own `code` names, or none.
2. Then the status alone. 408 and 504 mean that a server waited too long (`timeout`). 502, the codes of proxies (520 to
   527) and any 5xx with a web page come from a gateway that did not reach the model (`connection`). Every other 5xx is
   the server's own and may pass (`overloaded`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from openfall.router_core.jobs.outcome import UNKNOWN_LIMIT, Failure
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.error_body import MAX_DEPTH, SUCCESS_WORDS, find_error, read_json
from openfall.workers.backends.error_rules import FIREWALL_PAGE, UpstreamError, find_class, is_firewall_page, lacks_path
from openfall.workers.backends.exact_json import whole_number
from openfall.workers.backends.limit_scope import find_limit
from openfall.workers.backends.redaction import redact
from openfall.workers.backends.retry_after import (
    MAX_DETAILS,
    limit_reset,
    plan_reset,
    retry_after,
    stated_reset,
    stated_wait,
)

MAX_DETAIL_LENGTH = 300
"""The maximum length of a failure's detail, in characters."""

WORD_FIELDS = ("message", "detail", "msg", "error_msg", "error_message", "error_description", "description", "details",
               "error", "reason", "title", "Message")  # fmt: skip
"""Where an error has its words, the first of them first."""

CODE_FIELDS = ("code", "type", "status", "reason", "limit_source", "error_code", "error_type", "__type", "quotaId")
"""Where an error has its codes."""

MAX_WORDS = 5
"""How many words of a list are read."""

MAX_MESSAGE_LENGTH = 2048
"""How much of an error's message is read for its words, in characters."""

MAX_ECHO_LENGTH = 32 * MAX_MESSAGE_LENGTH
"""How much of it is searched for what it repeats of the request."""

MAX_PAGE_BYTES = 8192
"""How much of a body that is not JSON is read for its words."""

STATUS_FIELDS = ("code", "status", "status_code", "statusCode", "http_status", "http_code")
"""Where a body has the HTTP status that a gateway or a stream could not send."""

_LIMITS = frozenset({ErrorClass.RATE_LIMITED, ErrorClass.OUT_OF_CREDITS})
_PASSING = _LIMITS | {ErrorClass.OVERLOADED}
"""What passes after a wait that an error's own words may state."""

_ECHO = re.compile(
    r"(,\s?['\"]input['\"]:|\binput_value=).*?"
    r"(?=\},\s*\{['\"]type['\"]:\s*['\"]\w+['\"],\s*['\"]loc['\"]|, input_type=|\n|\Z)"
    r"|\braw='.*?(?=', err=|\Z)|(?<=\binput at pos )\d+: .*|\blast read: .*",
    re.DOTALL,
)
"""What an error repeats of the request (pydantic's `input`) or of the answer (`raw` of Ollama's tool calls, the text
that llama-server cannot parse). The words of a caller or of a model say nothing of a provider."""
_CHOSEN = re.compile(
    r"(\b(?:tool|function)s?\b[^'\"`\n]{0,40}(?<!\w)(?P<quote>['\"`]))"
    r"[^'\"`\n]{1,200}(?:(?P=quote)(?:,|,? and|,? or) (?P=quote)[^'\"`\n]{1,200}){0,20}(?=(?P=quote)(?!\w))"
    r"|(\b(?:tool|function)s?(?: names?| named| declarations?| found| must be unique){0,3}:? )[a-z]\w*_\w+"
    r"|(\bproperties\b(?=[^\w\s])\W{1,6})\w+",
    re.IGNORECASE,
)
"""Names that the caller chose: of tools, or of a property in a schema. They say nothing of a provider either."""
_WRAPPER = re.compile(r"litellm\.\w+: [^{]{0,100}\w(Exception|Error) -\s*(?=\{)")
_DECODER = json.JSONDecoder()
_REDIRECT = "the server redirects, which openfall does not follow: correct the backend's `url` (http or https, host)"
UNKNOWN_PATH = "the server has nothing at this path: correct the backend's `url`, or `upstream` of the model"
_MARKUP = re.compile(r"<(style|script)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)


def classify(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """The failure that a response without an answer means. `headers` ignore case."""
    document = read_json(body)
    error = find_error(document)
    page = _page_text(body) if document is None else ""
    codes = frozenset(_codes(error, document)) | ({FIREWALL_PAGE} if is_firewall_page(page) else frozenset())
    message = _ECHO.sub("", _message(error, document)[:MAX_ECHO_LENGTH])[:MAX_MESSAGE_LENGTH] or page
    upstream = UpstreamError(_status(status, error or document), codes, message)
    error_class = _find_class(upstream) or _by_range(upstream, document)
    wait = retry_after(headers)
    if wait is None and error_class in _LIMITS:
        wait = plan_reset(headers, error)
        wait = stated_reset(message, headers.get("date", "")) if wait is None else wait
    if wait is None and error_class is ErrorClass.RATE_LIMITED:
        wait = limit_reset(headers)
    if wait is None and error_class in _PASSING:
        wait = stated_wait(error if isinstance(error, dict) else document, message)
    return Failure(
        error_class=error_class,
        detail=_detail(status, upstream, document),
        retry_after=wait,
        http_status=upstream.status,
        limit=find_limit(headers, upstream.codes, upstream.message) if error_class in _LIMITS else UNKNOWN_LIMIT,
    )


def words_in_place_of(document: Any, missing: str) -> Failure:
    """The failure of a 200 that is no answer: by its words if it has some (`{"code": 1261, "msg": "..."}`), else
    malformed. A gateway may write an error like this."""
    failure = Failure(error_class=ErrorClass.MALFORMED, detail=missing)
    if not isinstance(document, dict) or not (words := _words(document)):
        return failure
    upstream = UpstreamError(_status(200, document), frozenset(_codes(None, document)), words[:MAX_MESSAGE_LENGTH])
    detail = f"{missing}: {_detail(200, upstream, document)}"
    error_class = _find_class(upstream) or (_by_range(upstream, document) if upstream.status else ErrorClass.MALFORMED)
    return Failure(error_class=error_class, detail=shorten(detail), http_status=upstream.status)


def _find_class(error: UpstreamError) -> ErrorClass | None:
    return find_class(_in_own_words(error))


def _in_own_words(error: UpstreamError) -> UpstreamError:
    """The error in the provider's own words: names that the caller chose do not count."""
    return replace(error, message=_CHOSEN.sub(r"\1\3\4x", error.message))


def has_words(document: Mapping[str, Any]) -> bool:
    """Whether an event that is no piece of an answer has words, such as those of an error, and not those of success."""
    words = _words(document)
    return bool(words) and words.lower() not in SUCCESS_WORDS


def _page_text(body: bytes) -> str:
    """The text of a body that is not JSON, without its markup."""
    return " ".join(_MARKUP.sub(" ", body[:MAX_PAGE_BYTES].decode("utf-8", "replace")).split())


def _status(status: int, error: Any) -> int | None:
    """The status of a response, or the one that its body names in place of it (`"503"`, `429.0`)."""
    if status >= 400:
        return status
    fields = error if isinstance(error, dict) else {}
    codes = (whole_number(fields.get(name)) for name in STATUS_FIELDS)
    return next((code for code in codes if code is not None and 400 <= code < 600), None)


def _codes(error: Any, document: Any) -> Iterator[str]:
    """Every short code of the error, in lower case. Some providers write the code beside the error (`signin_url` of
    Ollama, `code` of xAI)."""
    top = document[0] if isinstance(document, list) and document else document
    first = error if isinstance(error, dict) else top
    if isinstance(document, dict) and "signin_url" in document:
        yield "signin_url"
    if not isinstance(first, dict):
        return
    details = first.get("details")
    several = details[:MAX_DETAILS] if isinstance(details, list) else [details]
    parts = [first, first.get("innererror"), first.get("metadata"), *several]
    parts += [quota for part in parts if isinstance(part, dict) for quota in _quotas(part.get("violations"))]
    behind = [_of_provider(error), _within(error if isinstance(error, str) else first.get("message"))]
    parts += [*behind, *(part.get("error") for part in behind if isinstance(part, dict))]
    for part in filter(lambda part: isinstance(part, dict), parts):
        for key in CODE_FIELDS:
            value = part.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value >= 600:  # a number of its own
                value = str(value)
            if isinstance(value, str) and len(value) <= 80:
                yield value.lower().rpartition("#")[2]


def _quotas(violations: Any) -> list[Any]:
    """Google's `QuotaFailure`: each has a `quotaId`."""
    return violations[:MAX_DETAILS] if isinstance(violations, list) else []


def _of_provider(error: Any) -> Any:
    """The error of the provider behind OpenRouter and others like it, which they carry as a text."""
    metadata = error.get("metadata") if isinstance(error, dict) else None
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    document = read_json(raw.encode("utf-8", "replace")) if isinstance(raw, str) else raw
    return find_error(document) or document or raw


def _within(text: Any) -> Any:
    """The error of a provider that LiteLLM wraps in words of its own. Any other JSON in the words of an error may be
    the caller's."""
    if not isinstance(text, str) or (wrapper := _WRAPPER.match(text)) is None:
        return None
    try:
        return _DECODER.raw_decode(text, wrapper.end())[0]
    except (ValueError, RecursionError):
        return None


def _message(error: Any, document: Any) -> str:
    if behind := _words(_of_provider(error)):
        return f"{_words(error)}: {behind}"
    several = document.get("errors") if isinstance(document, dict) else None
    return _words(error) or _words(several, 1) or _words(document)


def _words(value: Any, depth: int = 0) -> str:
    """The words of an error: text, the texts of a list, or those of an object, with the field that they are about
    (`messages.0.content: Field required`). Other fields are left out: an `input` repeats the prompt."""
    if isinstance(value, str):
        return value
    if depth == MAX_DEPTH:
        return ""
    if isinstance(value, list):
        return "; ".join(filter(None, (_words(entry, depth + 1) for entry in value[:MAX_WORDS])))
    if not isinstance(value, dict):
        return ""
    text = next(filter(None, (_words(value.get(name), depth + 1) for name in WORD_FIELDS)), "")
    place = value.get("loc") or value.get("field")
    path = ".".join(map(str, place)) if isinstance(place, list) else place
    if not text and depth:
        return _field_words(value)
    return f"{path}: {text}" if text and isinstance(path, str) else text


def _field_words(value: dict[str, Any]) -> str:
    """`{"n": ["must be positive"]}`, as Django and Rails write it: an object of lists of texts and of nothing else."""
    if not all(isinstance(texts, list) and texts and isinstance(texts[0], str) for texts in value.values()):
        return ""
    return "; ".join(f"{name}: {texts[0]}" for name, texts in value.items())


def _by_range(error: UpstreamError, document: Any) -> ErrorClass:
    if error.status is None or not 500 <= error.status < 600 or error.status == 501:
        return ErrorClass.OTHER
    return ErrorClass.CONNECTION if document is None else ErrorClass.OVERLOADED


def _detail(status: int, error: UpstreamError, document: Any) -> str:
    """`HTTP 429 rate_limit_exceeded: Slow down.`, without a secret, an address, or a page of HTML."""
    codes = " ".join(sorted(code for code in error.codes if re.fullmatch(r"[a-z0-9_.]{1,60}", code)))
    head = " ".join(filter(None, (f"HTTP {status}", codes)))
    message = "a body that is not JSON" if document is None else " ".join(error.message.split())
    if 300 <= status < 400:
        message = _REDIRECT
    elif lacks_path(_in_own_words(error)):
        message = f"{UNKNOWN_PATH} ({message})" if error.message else UNKNOWN_PATH
    return shorten(f"{head}: {message}" if message else head)


def shorten(text: str) -> str:
    """The text without keys and addresses, and with at most `MAX_DETAIL_LENGTH` characters."""
    text = redact(text[: 10 * MAX_DETAIL_LENGTH])
    return text if len(text) <= MAX_DETAIL_LENGTH else text[: MAX_DETAIL_LENGTH - 1] + "…"
