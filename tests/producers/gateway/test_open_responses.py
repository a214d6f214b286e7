"""Every Response and every event of its stream against the models that Open Responses publishes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openresponses_types.types as published
import pytest
from pydantic import BaseModel

from tests.faults import COMPLETION, Script, answer, cut_events, events, piece
from tests.producers.gateway.running_gateway import open_gateway, run
from tests.producers.gateway.sdk_streams import LOOK, thought_text_and_call, words

MODELS: dict[str, type[BaseModel]] = {
    member.value: model
    for name, model in vars(published).items()
    if name.endswith("StreamingEvent")
    for member in model.model_fields["type"].annotation
}
NAMED_OTHERWISE = {
    "response.reasoning_text.delta": "response.reasoning.delta",
    "response.reasoning_text.done": "response.reasoning.done",
}
"""OpenAI's SDKs, one of which fails at a type that it does not know, and Open Responses name these differently."""

SCHEMA = {"format": {"type": "json_schema", "name": "place", "schema": {"type": "object"}}}
TOO_LONG = answer({"error": {"message": "your prompt is too long", "code": "context_length_exceeded"}}, 400)


def check_event(event: dict[str, Any]) -> None:
    kind = NAMED_OTHERWISE.get(event["type"], event["type"])
    MODELS[kind].model_validate(_with_published_schema({**event, "type": kind}))


def _with_published_schema(value: dict[str, Any]) -> dict[str, Any]:
    """The published model of a format with a schema takes no schema but null."""
    copied = json.loads(json.dumps(value))
    text = copied.get("response", copied).get("text")
    if isinstance(text, dict) and "schema" in text["format"]:
        text["format"]["schema"] = None
    return dict(copied)


@pytest.mark.parametrize(
    ("scripts", "request_fields", "end"),
    [
        ((words("A lantern ", "festival."),), {}, "response.completed"),
        ((thought_text_and_call(),), {"tools": [LOOK], "reasoning": {"effort": "low"}}, "response.completed"),
        ((thought_text_and_call(),), {"tools": [LOOK], "tool_choice": "required"}, "response.completed"),
        ((words('{"at": "dusk"}'),), {"text": SCHEMA, "metadata": {"a": "b"}}, "response.completed"),
        ((words("A lan", finish="length"),), {"max_output_tokens": 2}, "response.incomplete"),
        ((events(piece(refusal="No."), piece("stop")),), {}, "response.completed"),
        ((cut_events(piece(content="Wrong ")), words("A lantern")), {}, "response.completed"),
        ((words("A lantern"),), {"background": True, "service_tier": "flex"}, "response.completed"),
        ((TOO_LONG,), {"background": True}, "response.failed"),
    ],
    ids=["text", "tools", "forced tool", "schema", "length", "refusal", "restart", "background", "failure"],
)
def test_each_event_of_a_stream_is_valid(
    redis_url: str, tmp_path: Path, scripts: tuple[Script, ...], request_fields: dict[str, Any], end: str
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, *scripts) as gateway:
            body = {"model": "chat", "input": "x", "stream": True, **request_fields}
            response = await gateway.http.post("/v1/responses", json=body)
        lines = [line for line in response.text.splitlines() if line.startswith("data: ")]
        sent = [json.loads(line.removeprefix("data: ")) for line in lines]
        for event in sent:
            check_event(event)
        assert sent[-1]["type"] == end

    run(main)


def test_a_response_is_valid_in_each_of_its_states(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            fields = {"model": "chat", "input": "x", "tools": [LOOK], "text": SCHEMA}
            states = [(await gateway.http.post("/v1/responses", json={**fields, "background": True})).json()]
            path = f"/v1/responses/{states[0]['id']}"
            await gateway.instance.client.wait(states[0]["id"].removeprefix("resp_"), 60)
            states.append((await gateway.http.get(path)).json())
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            waiting = (
                await gateway.http.post("/v1/responses", json={**fields, "input": "y", "background": True})
            ).json()
            states.append((await gateway.http.post(f"/v1/responses/{waiting['id']}/cancel")).json())
        assert [state["status"] for state in states] == ["queued", "completed", "cancelled"]
        for state in states:
            published.ResponseResource.model_validate(_with_published_schema(state))

    run(main)
