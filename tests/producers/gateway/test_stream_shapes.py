"""The shapes at which clients of other projects fail: no stream of the gateway has one of them.

Each rule is named after what fails: an `id:` before a comment and a `retry:` line end openai-python in a
JSONDecodeError, an empty `data:` ends every OpenAI SDK, a named event without a choice ends openai-js and every loop
that reads `choices[0]`, an unknown type ends the helper of openai-js and the AI SDK.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openfall.producers.gateway import event_stream
from tests.faults import Script, answer, cut_events, events, piece, raw
from tests.producers.gateway.running_gateway import SAY, open_gateway, run
from tests.producers.gateway.sdk_streams import thought_text_and_call, words

SURFACES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "chat", **SAY},
    "/v1/completions": {"model": "chat", "prompt": "Haruka waves"},
    "/v1/messages": {"model": "chat", "max_tokens": 64, **SAY},
    "/v1/responses": {"model": "chat", "input": "Haruka waves"},
}
"""A request for each API that streams."""

ANTHROPIC_TYPES = {
    "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
    "message_stop", "ping", "error",
}  # fmt: skip

_ODD = b"".join(
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n",
        b": processing\n\nid: 1\nretry: 3000\n\n: again\n\ndata: \n\n",
        b"data: " + json.dumps(piece(content="A lantern")).encode() + b"\n\nid: 2\n: once more\n\n",
        b"data: " + json.dumps(piece("stop")).encode() + b"\n\ndata: [DONE]\n\n",
    ]
)

SCRIPTS: dict[str, tuple[Script, ...]] = {
    "an answer": (words("A lantern ", "festival."),),
    "thinking and a tool call": (thought_text_and_call(),),
    "a model that starts again": (cut_events(piece(content="Wrong ")), words("A lantern")),
    "an error after the head": (events(piece(content="A "), {"error": {"message": "out of memory"}}),),
    "a refusal": (answer({"error": {"message": "no"}}, 400),),
    "comments, ids and empty events of the provider": (raw(_ODD),),
}


@pytest.fixture(params=SURFACES)
def surface(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=SCRIPTS)
def scripts(request: pytest.FixtureRequest) -> tuple[Script, ...]:
    return SCRIPTS[request.param]


def test_no_stream_has_a_shape_that_a_client_fails_at(
    redis_url: str, tmp_path: Path, surface: str, scripts: tuple[Script, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "HEAD_SECONDS", 0.0)  # the head goes out first: errors and comments follow it
    monkeypatch.setattr(event_stream, "KEEPALIVE_SECONDS", 0.02)

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, *scripts) as gateway:
            response = await gateway.http.post(surface, json={**SURFACES[surface], "stream": True})
        assert response.status_code == 200
        _check_lines(response.content)
        for name, data in _events(response.text):
            _check_event(surface, name, data)

    run(main)


def _check_lines(wire: bytes) -> None:
    assert wire.endswith(b"\n\n")
    assert b"\r" not in wire
    for line in wire.decode().split("\n"):
        assert line == "" or line.startswith((":", "event: ", "data: "))
        assert line != "data: "


def _events(text: str) -> Iterator[tuple[str, str]]:
    """The name and the data of each event. A comment is none."""
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
            (data,) = (line.removeprefix("data: ") for line in lines if line.startswith("data: "))
            yield "".join(names), data


def _check_event(surface: str, name: str, data: str) -> None:
    if surface.endswith("completions"):
        if data == "[DONE]":
            return
        chunk = json.loads(data)
        assert ("error" in chunk) or chunk["choices"]
        assert all("delta" in choice or "text" in choice for choice in chunk.get("choices", ()))
    else:
        event = json.loads(data)
        assert event["type"] == name
        if surface == "/v1/messages":
            assert name in ANTHROPIC_TYPES
        else:
            assert name.startswith("response.")
            assert isinstance(event["sequence_number"], int)


def test_a_stream_of_text_that_is_cut_by_the_provider_ends_with_an_error_in_words(
    redis_url: str, tmp_path: Path, surface: str
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, cut_events(piece(content="A "))) as gateway:
            response = await gateway.http.post(surface, json={**SURFACES[surface], "stream": True, "model": "plain"})
        last = [data for _, data in _events(response.text) if data != "[DONE]"][-1]
        assert "message" in last
        assert "error" in last

    run(main)
