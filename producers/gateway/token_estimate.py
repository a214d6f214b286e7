"""An estimate of a prompt's tokens. Pure: it needs no model, so it is never queued."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.router_core.jobs.request_body import all_text

BYTES_PER_TOKEN = 3.5
"""Of UTF-8. English has about 4 bytes a token, code and JSON fewer."""
IMAGE_TOKENS = 1600
"""The most that Anthropic counts for an image (https://docs.claude.com/en/docs/build-with-claude/vision)."""


def estimate_tokens(body: Mapping[str, Any]) -> int:
    """The tokens of the system prompt, the messages and the tools of a request; at least 1."""
    size = sum(len(text.encode(errors="surrogatepass")) for text in all_text(body))
    return max(1, round(size / BYTES_PER_TOKEN) + IMAGE_TOKENS * _images([body.get("messages"), body.get("input")]))


def _images(value: Any) -> int:
    """The number of image parts in the messages, in the results of tools too."""
    if isinstance(value, list):
        return sum(map(_images, value))
    if not isinstance(value, Mapping):
        return 0
    own = int(value.get("type") in ("image", "image_url", "input_image"))
    return own or _images(value.get("content"))
