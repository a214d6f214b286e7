"""The one estimate of a prompt's tokens, for a caller who counts and for limits of tokens a minute. It needs no model.

What fits into a context follows from a lower bound (`routing.requirements`), and what a budget reserves from an upper
bound (`deciding.cost_bound`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from openfall.router_core.jobs.request_body import all_text
from openfall.router_core.jobs.unchecked_json import Body, as_object

BYTES_PER_TOKEN = 3.5
"""Of UTF-8. English has about 4 bytes a token, code and JSON fewer; a character of Japanese has three bytes."""
DENSE_PART = 16_384
DENSE_SAMPLE = 1024
"""A sample without a blank in the middle of each part of a text, in characters, shows how dense the part is. A repeated
sign or minified code compresses well, and has few tokens. Base64 and hexadecimal digits have about as many tokens as
bytes when they are compressed: 100,000 characters of them have 68,000 and 57,000 tokens in OpenAI's `o200k_base`."""
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
    return round(sum(map(_text_tokens, texts)))


def _text_tokens(text: str) -> float:
    if not text.isascii():
        return len(text.encode(errors="surrogatepass")) / BYTES_PER_TOKEN
    whole = len(text) - len(text) % DENSE_PART
    return (
        sum(_part_tokens(text, start) for start in range(0, whole, DENSE_PART)) + (len(text) - whole) / BYTES_PER_TOKEN
    )


def _part_tokens(text: str, start: int) -> float:
    middle = start + (DENSE_PART - DENSE_SAMPLE) // 2
    sample = text[middle : middle + DENSE_SAMPLE]
    is_run = len(sample.split(None, 1)) == 1 and not sample[0].isspace() and not sample[-1].isspace()
    tokens = len(zlib.compress(sample.encode(), 1)) * DENSE_PART / DENSE_SAMPLE if is_run else 0.0
    return max(tokens, DENSE_PART / BYTES_PER_TOKEN)


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
