"""The estimate of a prompt counts what a model reads, media too: agents shorten their history by it."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest

from openfall.router_core.jobs.prompt_tokens import BYTES_PER_TOKEN, IMAGE_TOKENS, estimate_tokens, text_tokens

TEXT = "a" * 3500
PDF = "A" * 200_000
BYTES = random.Random(1).randbytes(60_000)


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


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (base64.b64encode(BYTES).decode(), 55_000),  # 80,000 characters
        (BYTES.hex(), 68_000),  # 120,000
    ],
)
def test_a_long_run_of_digits_of_bytes_is_counted_about_as_openai_counts_it(text: str, tokens: int) -> None:
    assert 0.8 * tokens < text_tokens([text]) < 1.3 * tokens


@pytest.mark.parametrize(
    "text",
    [
        "A" * 80_000, "=" * 80_000, "Hello world " * 8000, " " * 80_000, "日本語の文章を" * 8000,
        json.dumps([{"id": each, "name": "Haruka", "is_at_dusk": True} for each in range(3000)], separators=(",", ":")),
    ],
)  # fmt: skip
def test_any_other_text_has_its_bytes_in_tokens(text: str) -> None:
    assert text_tokens([text]) == pytest.approx(len(text.encode()) / BYTES_PER_TOKEN, abs=1)


def test_a_blank_within_a_sample_is_prose() -> None:
    dense = base64.b64encode(BYTES).decode()
    lines = "\n".join(dense[start : start + 76] for start in range(0, len(dense), 76))
    assert text_tokens([lines]) < text_tokens([dense])
