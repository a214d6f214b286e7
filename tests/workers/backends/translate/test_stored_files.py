"""A file that a request only refers to cannot be sent to another provider: the request is refused, the file not left
out."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.workers.backends.translate.refusals import Untranslatable
from openfall.workers.backends.translate.responses_request import left_out, request

TEXT = {"type": "input_text", "text": "What does it say?"}


def _input(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": [TEXT, *parts]}]}


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_file", "file_id": "file-1"},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
        {"type": "input_file"},
        {"type": "input_image", "file_id": "file-1"},
        {"type": "input_image", "image_url": None},
    ],
)
def test_a_file_that_is_elsewhere_is_no_part_of_a_chat_completion(part: dict[str, Any]) -> None:
    with pytest.raises(Untranslatable, match="send its data"):
        request(_input(part))


def test_a_file_with_its_data_is_sent_and_an_unknown_part_is_named() -> None:
    whole = _input({"type": "input_file", "file_data": "data:,x", "filename": "a.pdf"}, {"type": "zonk"})
    parts = request(whole)["messages"][0]["content"]
    assert parts[1] == {"type": "file", "file": {"file_data": "data:,x", "filename": "a.pdf"}}
    assert left_out(whole) == ["zonk"]
