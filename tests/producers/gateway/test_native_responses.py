"""Responses through the gateway at a provider that has them itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from openfall.producers.client import AsyncOpenfall
from openfall.producers.gateway.gateway import Gateway
from openfall.router_core.state.breakers import list_breakers
from openfall.router_core.state.client_keys import ClientKey, add_key, digest_of, fetch_keys
from openfall.router_core.vocabulary import BreakerState
from tests.faults import COMPLETION, answer, cut_events, named_events
from tests.native_responses import (
    CALL,
    MESSAGE,
    PART,
    REASONING,
    SEARCH,
    message_events,
    native,
    reasoning_events,
    whole_stream,
)
from tests.producers.gateway.running_gateway import NATIVE, SAY, RunningGateway, open_gateway, run, served
from tests.producers.gateway.sdk_streams import LOOK, openai_client, words
from tests.producers.gateway.test_open_responses import check_event

SEARCHING: Any = {"type": "web_search"}


def _events(text: str) -> list[dict[str, Any]]:
    lines = (line for line in text.splitlines() if line.startswith("data: {"))
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def _sent(gateway: RunningGateway) -> tuple[str, dict[str, Any]]:
    received = gateway.upstream.calls_received[-1]
    return received.path, json.loads(received.body)


def test_a_request_reaches_the_provider_as_it_is_and_its_items_return_as_they_are(
    redis_url: str, tmp_path: Path
) -> None:
    items = [REASONING, SEARCH, MESSAGE]
    request = {
        "input": [{"role": "user", "content": "Haruka waves"}, {"type": "item_reference", "id": "msg_0"}],
        "tools": [SEARCHING, LOOK],
        "include": ["reasoning.encrypted_content"],
        "truncation": "auto",
        "max_tool_calls": 2,
        "store": False,
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "vendor": {"x": [1]},
    }

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(native(*items)), config=NATIVE) as gateway:
            response = await gateway.http.post("/v1/responses", json={"model": "chat", **request})
            assert _sent(gateway) == ("/v1/responses", {**request, "model": "tiny-1", "stream": True})
        body = response.json()
        assert body["output"] == items
        assert body["usage"]["input_tokens_details"] == {"cached_tokens": 30, "cache_write_tokens": 0}
        assert body["usage"]["output_tokens_details"] == {"reasoning_tokens": 7}
        assert (body["openfall"]["left_out"], body["openfall"]["backend"]) == ([], "rack")
        assert body["id"] == f"resp_{body['openfall']['job']}"

    run(main)


def test_a_background_request_runs_at_the_provider_in_the_foreground(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(native(MESSAGE)), config=NATIVE) as gateway:
            body = {"model": "chat", "input": "x", "background": True, "background_options": {}}
            queued = (await gateway.http.post("/v1/responses", json=body)).json()
            await gateway.instance.client.wait(queued["id"].removeprefix("resp_"), 60)
            polled = (await gateway.http.get(f"/v1/responses/{queued['id']}")).json()
            assert _sent(gateway)[1] == {"model": "tiny-1", "input": "x"}
        assert (polled["status"], polled["output"]) == ("completed", [MESSAGE])

    run(main)


def test_a_native_stream_has_every_event_with_numbers_of_ours(redis_url: str, tmp_path: Path) -> None:
    items = [REASONING, SEARCH, MESSAGE, CALL]

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, whole_stream(*items), config=NATIVE) as gateway:
            body = {"model": "chat", "input": "x", "stream": True, "tools": [LOOK]}
            sent = _events((await gateway.http.post("/v1/responses", json=body)).text)
            path = f"/v1/responses/{sent[0]['response']['id']}?stream=true"
            again = _events((await gateway.http.get(path)).text)
        assert again == sent
        assert [event["sequence_number"] for event in sent] == list(range(len(sent)))
        assert [event["item"] for event in sent if event["type"] == "response.output_item.done"] == [
            {**REASONING, "status": "completed"}, SEARCH, MESSAGE, CALL,
        ]  # fmt: skip
        kinds = [event["type"] for event in sent]
        for kind in (
            "reasoning_summary_part.added", "reasoning_summary_text.delta", "reasoning_summary_part.done",
            "web_search_call.in_progress", "output_text.annotation.added", "output_text.done", "content_part.done",
            "function_call_arguments.done",
        ):  # fmt: skip
            assert f"response.{kind}" in kinds
        final = sent[-1]["response"]
        assert (sent[-1]["type"], final["output"]) == ("response.completed", items)

    run(main)


def test_a_native_stream_is_resumed_at_another_gateway_behind_any_event(redis_url: str, tmp_path: Path) -> None:
    """The first model breaks off in mid-answer, so its items are those of an attempt that counts no longer."""
    cut = cut_events(*reasoning_events(0), *message_events(1)[:4])

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, cut, whole_stream(REASONING, MESSAGE), config=NATIVE) as gateway:
            body = {"model": "plain", "input": "x", "stream": True, "background": True}
            sent = _events((await gateway.http.post("/v1/responses", json=body)).text)
            other = Gateway.of(AsyncOpenfall(config=gateway.instance.config, retry_for=1.0))
            async with served(other) as url, httpx.AsyncClient(base_url=url, timeout=60) as http:
                path = f"/v1/responses/{sent[0]['response']['id']}?stream=true"
                for after in range(-1, len(sent)):
                    rest = _events((await http.get(f"{path}&starting_after={after}")).text)
                    assert rest == sent[after + 1 :]
        assert [event["sequence_number"] for event in sent] == list(range(len(sent)))
        assert sent[-1]["type"] == "response.completed"

    run(main)


@pytest.mark.parametrize("streamed", [False, True])
def test_openais_own_client_reads_what_a_provider_of_responses_wrote(
    redis_url: str, tmp_path: Path, streamed: bool
) -> None:
    items = [REASONING, SEARCH, MESSAGE, CALL]

    async def main() -> None:
        scripts = whole_stream(*items) if streamed else answer(native(*items))
        async with (
            open_gateway(redis_url, tmp_path, scripts, config=NATIVE) as gateway,
            openai_client(gateway) as client,
        ):
            call: Any = {"model": "chat", "input": "x", "tools": [LOOK, SEARCHING]}
            if streamed:
                async with client.responses.stream(**call) as stream:
                    async for _ in stream:
                        pass
                    final: Any = await stream.get_final_response()
            else:
                final = await client.responses.create(**call)
        assert final.output_text == "A lantern festival."
        assert final.output[0].encrypted_content == "gAAAA"
        assert final.output[2].content[0].annotations[0].url == "https://x.test"
        assert final.output[3].arguments == '{"at":"dusk"}'

    run(main)


def test_each_event_of_a_native_stream_is_valid(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, whole_stream(REASONING, MESSAGE, CALL), config=NATIVE) as gateway:
            body = {"model": "chat", "input": "x", "stream": True, "tools": [LOOK]}
            sent = _events((await gateway.http.post("/v1/responses", json=body)).text)
        for event in sent:
            check_event(event)

    run(main)


def test_a_stream_goes_on_in_mid_answer_at_a_server_without_responses(redis_url: str, tmp_path: Path) -> None:
    begun = [*reasoning_events(), *message_events(1, "Wrong ")[:3]]

    async def main() -> None:
        scripts = (named_events(*begun), words("A lantern ", "festival."))
        async with (
            open_gateway(redis_url, tmp_path, *scripts, config=NATIVE) as gateway,
            openai_client(gateway) as client,
        ):
            async with client.responses.stream(model="chat", input="x", tools=[SEARCHING]) as stream:
                events = [event async for event in stream]
                final = await stream.get_final_response()
            paths = [call.path for call in gateway.upstream.calls_received]
            polled = await client.responses.retrieve(final.id)
        assert paths == ["/v1/responses", "/v1/chat/completions"]
        assert final.output_text == polled.output_text == "A lantern festival."
        assert [event.sequence_number for event in events if hasattr(event, "sequence_number")] == list(
            range(len(events))
        )
        receipt: Any = final.model_extra
        assert receipt["openfall"]["left_out"] == ["web_search"]
        assert (receipt["openfall"]["backend"], len(final.output)) == ("loft", 1)

    run(main)


def test_callers_of_other_apis_reach_the_same_server_by_chat_completions(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION), config=NATIVE) as gateway:
            chat = await gateway.chat()
            body = {"model": "chat", "max_tokens": 50, "messages": [{"role": "user", "content": "x"}]}
            message = await gateway.http.post("/v1/messages", json=body)
            paths = [call.path for call in gateway.upstream.calls_received]
        assert (chat.status_code, message.status_code) == (200, 200)
        assert paths == ["/v1/chat/completions"] * 2

    run(main)


def test_a_request_that_demands_a_tool_of_the_provider_is_refused_where_no_model_has_it(
    redis_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            body = {"model": "chat", "input": "x", "tools": [SEARCHING], "tool_choice": SEARCHING}
            response = await gateway.http.post("/v1/responses", json=body)
            assert gateway.upstream.calls_received == []
        assert (response.status_code, response.json()["error"]["code"]) == (400, "unsupported")
        assert "web_search" in response.json()["error"]["message"]

    run(main)


def test_an_incomplete_response_keeps_its_reason(redis_url: str, tmp_path: Path) -> None:
    details = {"reason": "max_output_tokens"}

    async def main() -> None:
        cut = native(MESSAGE, status="incomplete", incomplete_details=details)
        async with open_gateway(redis_url, tmp_path, answer(cut), config=NATIVE) as gateway:
            body = (await gateway.http.post("/v1/responses", json={"model": "chat", "input": "x"})).json()
        assert (body["status"], body["incomplete_details"]) == ("incomplete", details)

    run(main)


def test_a_failed_native_stream_hands_the_job_on(redis_url: str, tmp_path: Path) -> None:
    failed = native(status="failed", error={"code": "server_error", "message": "The server had an error"})

    async def main() -> None:
        scripts = (cut_events({"type": "response.failed", "response": failed}), words("A lantern festival."))
        async with open_gateway(redis_url, tmp_path, *scripts, config=NATIVE) as gateway:
            body = {"model": "chat", "input": "x", "stream": True}
            sent = _events((await gateway.http.post("/v1/responses", json=body)).text)
        assert sent[-1]["response"]["output"][0]["content"][0]["text"] == "A lantern festival."

    run(main)


def test_a_conversation_goes_on_over_several_responses_at_any_server(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        scripts = (
            answer(native(REASONING, MESSAGE)),
            answer(native(CALL)),
            answer({"error": "x"}, 500),
            answer(COMPLETION),
        )
        async with (
            open_gateway(redis_url, tmp_path, *scripts, config=NATIVE) as gateway,
            openai_client(gateway) as client,
        ):
            first = await client.responses.create(model="chat", input="Haruka waves", instructions="Be brief.")
            second = await client.responses.create(model="chat", input="look", previous_response_id=first.id)
            output: Any = [{"type": "function_call_output", "call_id": "call_1", "output": "lanterns"}]
            at_provider = _sent(gateway)[1]
            third = await client.responses.create(model="chat", input=output, previous_response_id=second.id)
            elsewhere = _sent(gateway)[1]["messages"]
            listed = await client.responses.input_items.list(third.id, order="asc")
        text = {key: PART[key] for key in ("type", "text", "annotations")}
        assert at_provider["input"] == [
            {"type": "message", "role": "user", "content": "Haruka waves"},
            REASONING,
            {"type": "message", "role": "assistant", "content": [text]},
            {"type": "message", "role": "user", "content": "look"},
        ]
        assert "previous_response_id" not in at_provider
        assert [message["role"] for message in elsewhere] == ["user", "assistant", "user", "assistant", "tool"]
        assert [item.type for item in listed.data][-2:] == ["function_call", "function_call_output"]

    run(main)


@pytest.mark.parametrize("of", ["another key", "no store", "unknown"])
def test_a_response_that_a_key_cannot_read_is_no_conversation(redis_url: str, tmp_path: Path, of: str) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            for name in ("own", "other"):
                await add_key(gateway.link, ClientKey(name=name, digest=digest_of(f"of_{name}")))
            gateway.instance.keys = await fetch_keys(gateway.link)
            other = {"authorization": f"Bearer of_{'other' if of == 'another key' else 'own'}"}
            body = {"model": "chat", "input": "x", "store": of != "no store"}
            earlier = (await gateway.http.post("/v1/responses", json=body, headers=other)).json()["id"]
            named = "resp_unknown" if of == "unknown" else earlier
            body = {"model": "chat", "input": "y", "previous_response_id": named}
            refused = await gateway.http.post("/v1/responses", json=body, headers={"authorization": "Bearer of_own"})
            error = refused.json()["error"]
            assert (refused.status_code, error["code"]) == (400, "previous_response_not_found")
            assert error["param"] == "previous_response_id"
            assert len(gateway.upstream.calls_received) == 1

    run(main)


def test_a_server_without_the_path_of_responses_opens_no_breaker_of_its_model(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        missing = answer({"detail": "Not Found"}, 404)
        more = "breakers: {consecutive_failures: 1}"
        async with open_gateway(
            redis_url, tmp_path, missing, missing, answer(COMPLETION), config=NATIVE, more=more
        ) as gateway:
            response = (await gateway.http.post("/v1/responses", json={"model": "chat", "input": "x"})).json()
            chat = (await gateway.http.post("/v1/chat/completions", json={"model": "tiny", **SAY})).json()
            states = {breaker.state for breaker in await list_breakers(gateway.link)}
        assert (response["openfall"]["model_used"], response["openfall"]["attempts"]) == ("other", 2)
        assert chat["openfall"]["model_used"] == "tiny"
        assert states <= {BreakerState.CLOSED}

    run(main)
