"""The one estimate of a prompt's tokens, for a caller who counts and for limits of tokens a minute. It needs no model.

What fits into a context follows from a lower bound (`routing.requirements`), and what a budget reserves from an upper
bound (`deciding.cost_bound`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from openfall.router_core.jobs.request_body import all_text
from openfall.router_core.jobs.unchecked_json import Body, as_object

BYTES_PER_TOKEN = 3.5
"""Of UTF-8. English has about 4 bytes a token, code and JSON fewer; a character of Japanese has three bytes."""
IMAGE_TOKENS = 1600
"""The most that Anthropic counts for an image (https://docs.claude.com/en/docs/build-with-claude/vision)."""
FILE_CHARACTERS_PER_TOKEN = 20
"""Of base64. A page of a PDF has 1,500 to 3,000 tokens
(https://docs.claude.com/en/docs/build-with-claude/pdf-support), and about 50 kB."""


def estimate_tokens(body: Body) -> int:
    """The tokens of the system prompt, the messages and the tools of a request; at least 1."""
    return max(1, text_tokens(all_text(body)) + media_tokens(body))


def text_tokens(texts: Iterable[str]) -> int:
    """About how many tokens texts have."""
    size = sum(len(text) if text.isascii() else len(text.encode(errors="surrogatepass")) for text in texts)
    return round(size / BYTES_PER_TOKEN)


def media_tokens(body: Body) -> int:
    """About how many tokens the images and files of a request have, those in the results of tools too."""
    return _of_media([body.get("messages"), body.get("input")])


def _of_media(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(_of_media, value))
    if not isinstance(value, Mapping):
        return 0
    match value.get("type"):
        case "image" | "image_url" | "input_image":
            return IMAGE_TOKENS
        case "document":
            source = as_object(value.get("source"))
            return _file_tokens(source.get("data")) if source.get("type") == "base64" else 0
        case "file" | "input_file":
            return _file_tokens(as_object(value.get("file", value)).get("file_data"))
    return _of_media(value.get("content"))


def _file_tokens(data: Any) -> int:
    return len(data) // FILE_CHARACTERS_PER_TOKEN if isinstance(data, str) else 0
