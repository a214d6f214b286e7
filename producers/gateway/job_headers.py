"""The request headers of a job: what each means and its values, for the document of the API and for the check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.producers.gateway.error_table import Refusal
from openfall.router_core.catalog.catalog_errors import UnknownName

Schema = Mapping[str, Any]
PREFIX = "x-openfall-"
WORD: Schema = {"type": "string", "minLength": 1}

JOB_HEADERS: Mapping[str, tuple[str, Schema]] = {
    "Idempotency-Key": ("A repeat joins the job, or reads its result while it is kept.", {**WORD, "maxLength": 256}),
    "X-Openfall-Role": ("The role of the job.", WORD),
    "X-Openfall-Task": ("The task of the job.", WORD),
    "X-Openfall-Group": ("The tenant of the job.", WORD),
    "X-Openfall-Urgency": ("How soon it is called.", {"enum": ["interactive", "background", "batch"]}),
    "X-Openfall-Local-Only": ("Whether the job stays in the local pools.", {"enum": ["yes", "no"]}),
    "X-Openfall-Within": ("The job expires after this time, such as `5m`.", WORD),
    "X-Openfall-Wait": ("The longest wait for the answer, such as `30s`; the job goes on.", WORD),
    "X-Openfall-Degraded": ("Whether a canned reply may stand for the answer.", {"enum": ["reply", "error"]}),
    "X-Openfall-Keepalive": ("How a silent stream stays open.", {"enum": ["comment", "chunk", "off"]}),
    "X-Openfall-Inbox": ("The result is also delivered into this inbox.", WORD),
    "X-Openfall-Webhook": ("The result is also posted to this URL.", {"type": "string", "format": "uri"}),
    "X-Openfall-Reply-To": ("Given back with a result that is delivered.", WORD),
}
"""The request headers of every endpoint that submits a job: what each means, and its values."""

_NAMES = {name.lower(): name for name in JOB_HEADERS if name.lower().startswith(PREFIX)}
_OF_WORDS = ("X-Openfall-Degraded", "X-Openfall-Keepalive")
"""Those whose words nothing else checks."""


def check_headers(headers: Mapping[str, str]) -> None:
    """Raises `UnknownName` for a header `X-Openfall-...` of another name, since a misspelt `X-Openfall-Local-Only`
    would let the request leave, and `Refusal` for one with a word that it does not take. Names are in lower case."""
    for name in headers:
        if name.startswith(PREFIX) and name not in _NAMES:
            raise UnknownName("header", name.title(), _NAMES.values())
    for name in _OF_WORDS:
        words, text = JOB_HEADERS[name][1]["enum"], headers.get(name.lower(), "").strip()
        if text and text not in words:
            raise Refusal("bad_request", f"{name} must be {', '.join(words[:-1])} or {words[-1]}, not {text[:40]!r}")
