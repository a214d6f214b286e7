"""The paths of the gateway as people write them: with and without `/v1`, with a group or an urgency in front, or wrong.
Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_UNVERSIONED = frozenset(
    {"chat", "completions", "models", "messages", "responses", "embeddings", "files", "batches", "jobs", "inboxes"}
)
"""The first words of the paths that have `/v1` in front: the SDKs of Anthropic add it, those of OpenAI do not."""
_OWN = frozenset({"/models/status", "/models/switch"})
"""Paths of our own without `/v1`, beside `/v1/models`."""


@dataclass(frozen=True, slots=True)
class RequestPath:
    """A path in the form of the route table, with what its base URL says of the caller."""

    path: str
    group: str | None = None
    urgency: str | None = None


def normalize_path(path: str) -> RequestPath:
    """`/for/GROUP` and `/in/URGENCY` in front are taken off. `/v1` is added where it is missing, and is never twice."""
    words = [word for word in path.split("/") if word]
    options: dict[str, str] = {}
    while len(words) > 1 and words[0] in ("for", "in"):
        options[{"for": "group", "in": "urgency"}[words[0]]] = words[1]
        words = words[2:]
    while words[:2] == ["v1", "v1"]:
        words = words[1:]
    if words and words[0] in _UNVERSIONED and "/" + "/".join(words) not in _OWN:
        words = ["v1", *words]
    return RequestPath("/" + "/".join(words), options.get("group"), options.get("urgency"))


_APIS = (
    "/chat/completions", "/completions", "/responses", "/messages", "/messages/count_tokens", "/messages/batches",
    "/embeddings", "/models", "/files", "/batches",
)  # fmt: skip
"""The ends of paths that SDKs add to their base URL, without `/v1`."""
_OLLAMA = ("chat", "generate", "embed", "embeddings", "tags", "show", "ps", "pull", "version")
"""What clients of Ollama add to theirs, behind `/api/`."""


def unknown_path(method: str, path: str, host: str) -> str:
    """The message for a path that no endpoint has."""
    return f"there is no {method} {path} here: {_base_url_hint(path, host) or 'GET /docs lists all paths'}"


def wrong_method(method: str, path: str, host: str, allowed: Iterable[str]) -> str:
    """The message for a path that takes other methods."""
    methods = " or ".join(sorted(allowed))
    text = f"{path} takes {methods}, not {method}"
    if hint := _base_url_hint(path, host) if method == "POST" else "":
        return f"{text}: {hint}"
    return f"{text}: send a POST with a JSON body" if methods == "POST" else text


def _base_url_hint(path: str, host: str) -> str:
    """The base URL that the caller's SDK should have, if it has added the path of an API to a wrong one."""
    base = f"http://{host or '127.0.0.1:8309'}"
    words = path.split("/")
    if len(words) > 3 and words[-2] == "api" and words[-1] in _OLLAMA:
        return f"set the base URL (OLLAMA_HOST) to {base}, so that the path is /api/{words[-1]}"
    end = max((end for end in _APIS if path.endswith(end)), key=len, default="")
    if not end or path == f"/v1{end}":
        return ""
    base = base if end.startswith("/messages") else f"{base}/v1"
    return f"set the base URL to {base}, so that the path is /v1{end}"
