"""The messages for a wrong path or method: they name the base URL that the caller's SDK should have. Pure."""

from __future__ import annotations

from collections.abc import Iterable

_APIS = (
    "/chat/completions", "/completions", "/responses", "/messages", "/messages/count_tokens", "/messages/batches",
    "/embeddings", "/models", "/files", "/batches",
)  # fmt: skip
"""The ends of paths that SDKs add to their base URL, without `/v1`."""
_OLLAMA = ("chat", "generate", "embed", "embeddings", "tags", "show", "ps", "pull", "version")
"""What clients of Ollama add to theirs, behind `/api/`."""


def unknown_path(method: str, path: str, address: str) -> str:
    """The message for a path that no endpoint has."""
    return f"there is no {method} {path} here: {_base_url_hint(path, address) or 'GET /docs lists all paths'}"


def wrong_method(method: str, path: str, address: str, allowed: Iterable[str]) -> str:
    """The message for a path that takes other methods."""
    methods = " or ".join(sorted(allowed))
    text = f"{path} takes {methods}, not {method}"
    if hint := _base_url_hint(path, address) if method == "POST" else "":
        return f"{text}: {hint}"
    return f"{text}: send a POST with a JSON body" if methods == "POST" else text


def _base_url_hint(path: str, address: str) -> str:
    """The base URL that the caller's SDK should have, if it has added the path of an API to a wrong one."""
    base = f"http://{address}"
    words = path.split("/")
    if len(words) > 3 and words[-2] == "api" and words[-1] in _OLLAMA:
        return f"set the base URL (OLLAMA_HOST) to {base}, so that the path is /api/{words[-1]}"
    end = max((end for end in _APIS if path.endswith(end)), key=len, default="")
    if not end or path == f"/v1{end}":
        return ""
    base = base if end.startswith("/messages") else f"{base}/v1"
    return f"set the base URL to {base}, so that the path is /v1{end}"
