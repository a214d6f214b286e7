"""The estimate of a prompt counts what a model reads, media too: agents shorten their history by it."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.router_core.jobs.prompt_tokens import BYTES_PER_TOKEN, IMAGE_TOKENS, estimate_tokens

TEXT = "a" * 3500
PDF = "A" * 200_000


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        ({"type": "text", "text": TEXT}, 1000),
        ({"type": "document", "source": {"type": "text", "data": TEXT}}, 1000),
        ({"type": "document", "source": {"type": "base64", "data": PDF}}, 10_000),
        ({"type": "document", "source": {"type": "url", "url": "https://x"}}, 1),
        ({"type": "document", "source": 3}, 1),
        ({"type": "image", "source": {"type": "base64", "data": PDF}}, IMAGE_TOKENS),
        ({"type": "image_url", "image_url": {"url": PDF}}, IMAGE_TOKENS),
        ({"type": "file", "file": {"file_data": PDF}}, 10_000),
        ({"type": "file", "file": None}, 1),
        ({"type": "tool_result", "content": [{"type": "image", "source": {}}]}, IMAGE_TOKENS),
    ],
)
def test_each_kind_of_part_is_counted(part: dict[str, Any], tokens: int) -> None:
    assert estimate_tokens({"messages": [{"role": "user", "content": [part]}]}) == tokens


@pytest.mark.parametrize(
    ("part", "tokens"),
    [({"type": "input_file", "file_data": PDF}, 10_000), ({"type": "input_image", "image_url": PDF}, IMAGE_TOKENS)],
)
def test_the_parts_of_a_response_are_counted(part: dict[str, Any], tokens: int) -> None:
    assert estimate_tokens({"input": [{"role": "user", "content": [part]}]}) == tokens


def test_tools_are_counted() -> None:
    tool = {"name": "wave", "description": TEXT, "input_schema": {"type": "object"}}
    with_tools = estimate_tokens({"messages": [{"role": "user", "content": "hi"}], "tools": [tool]})
    assert with_tools > len(TEXT) / BYTES_PER_TOKEN
