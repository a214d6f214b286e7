"""An estimate of a prompt's tokens. Pure: it needs no model, so it is never queued."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.router_core.jobs.request_body import all_text

BYTES_PER_TOKEN = 3.5
"""Of UTF-8. English has about 4 bytes a token, code and JSON fewer."""
IMAGE_TOKENS = 1600
"""The most that Anthropic counts for an image (https://docs.claude.com/en/docs/build-with-claude/vision)."""
FILE_CHARACTERS_PER_TOKEN = 20
"""Of base64. A page of a PDF has 1,500 to 3,000 tokens
(https://docs.claude.com/en/docs/build-with-claude/pdf-support), and about 50 kB."""


def estimate_tokens(body: Mapping[str, Any]) -> int:
    """The tokens of the system prompt, the messages and the tools of a request; at least 1."""
    size = sum(len(text.encode(errors="surrogatepass")) for text in all_text(body))
    return max(1, round(size / BYTES_PER_TOKEN) + _media_tokens([body.get("messages"), body.get("input")]))


def _media_tokens(value: Any) -> int:
    """The tokens of images and files in the messages, in the results of tools too."""
    if isinstance(value, list):
        return sum(map(_media_tokens, value))
    if not isinstance(value, Mapping):
        return 0
    match value.get("type"):
        case "image" | "image_url" | "input_image":
            return IMAGE_TOKENS
        case "document":
            source = _object(value.get("source"))
            return _file_tokens(source.get("data")) if source.get("type") == "base64" else 0
        case "file" | "input_file":
            return _file_tokens(_object(value.get("file", value)).get("file_data"))
    return _media_tokens(value.get("content"))


def _file_tokens(data: Any) -> int:
    return len(data) // FILE_CHARACTERS_PER_TOKEN if isinstance(data, str) else 0


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
