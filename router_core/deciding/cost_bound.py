"""An upper bound of what the call of a request can use: what a budget reserves before the call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.request_body import max_tokens
from openfall.router_core.jobs.unchecked_json import as_count, as_object, as_objects

MESSAGE_TOKENS = 16
"""What providers add to a message, at most."""
TOOLS_TOKENS = 1_024
"""What providers add to a request with tools, at most."""
MAX_IMAGE_TOKENS = 6_000
"""The most that an image counts."""
FILE_TOKENS = 200_000
"""What a document, a sound or a video counts, if its text is not in the request."""
ANSWER_TOKENS = 24_000
"""What a judge reads of each answer, at most, in bytes."""
DEFAULT_SEARCHES = 10
"""Web searches of a request that names no limit."""
EFFORT_TOKENS = 65_536
"""The thinking that an effort adds to a request without a limit, at most."""

_IMAGE = frozenset({"image", "image_url", "input_image"})
_FILES = frozenset({"document", "file", "input_file", "input_audio", "audio", "video", "video_url"})
_PRIORITY_TIERS = frozenset({"priority", "fast"})


def cost_bound(job: CompletionJob, catalog: Catalog) -> str:
    """What a call of a job uses at most, as its record has it: input tokens, the limit of an answer (0: that of the
    model), thinking beside it, answers, web searches, 1 for a priority service tier, role, task (`-`: none).

    No tokenizer makes more tokens of a text than it has bytes.
    """
    body = job.body
    read = _tokens(body) + MESSAGE_TOKENS * _length(body.get("messages")) + TOOLS_TOKENS * bool(body.get("tools"))
    limit, thinking = max_tokens(body, job.dialect) or 0, 0
    if limit == 0:
        thinking = _thinking(body)
    role = catalog.roles.get(job.role or "")
    if role is not None and role.ensemble is not None and role.ensemble.judge is not None:
        read, limit = read + ANSWER_TOKENS * role.ensemble.answers, limit and max(limit, 1_024)
    is_priority = int(body.get("service_tier") in _PRIORITY_TIERS or body.get("speed") in _PRIORITY_TIERS)
    words = (read, limit, thinking, _answers(body), _searches(body), is_priority, job.role or "-", job.task or "-")
    return " ".join(map(str, words))


def _tokens(value: Any) -> int:
    """An upper bound of the tokens of a JSON value: the bytes of its texts and names."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode(errors="surrogatepass"))
    if isinstance(value, Mapping):
        kind = value.get("type")
        if kind in _IMAGE:
            return MAX_IMAGE_TOKENS
        own = FILE_TOKENS if kind in _FILES else 0
        images = MAX_IMAGE_TOKENS * _length(value.get("images"))
        parts = (len(str(key)) + 4 + _tokens(part) for key, part in value.items() if key != "images")
        return own + images + sum(parts)
    if isinstance(value, list | tuple):
        return sum(2 + _tokens(item) for item in value)
    return 24 if isinstance(value, int | float) else 8


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0


def _answers(body: Mapping[str, Any]) -> int:
    return as_count(body.get("n")) or 1


def _searches(body: Mapping[str, Any]) -> int:
    """The web searches that the provider may make within the call."""
    total = 0
    for tool in as_objects(body.get("tools")):
        if str(tool.get("type", "")).startswith("web_search"):
            total += as_count(tool.get("max_uses")) or DEFAULT_SEARCHES
    return total + DEFAULT_SEARCHES * ("web_search_options" in body or "plugins" in body)


def _thinking(body: Mapping[str, Any]) -> int:
    """The thinking that is added to the model's limit if the request has none."""
    thinking = body.get("thinking")
    if budget := as_count(as_object(thinking).get("budget_tokens")):
        return budget
    return EFFORT_TOKENS if thinking or body.get("reasoning_effort") or body.get("reasoning") else 0
