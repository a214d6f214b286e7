"""Batches of the gateway: OpenAI's SDK creates them, and each line ends in exactly one file."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import openai
import pytest

from openfall.router_core.jobs.embeddings import pack_vector
from openfall.router_core.state.client_keys import ClientKey, add_key, digest_of, fetch_keys
from tests.faults import COMPLETION, answer, fault_server, stall
from tests.producers.gateway.running_gateway import SAY, RunningGateway, open_gateway, run
from tests.producers.gateway.sdk_streams import TEXT, openai_client
from tests.producers.gateway.test_embeddings import open_embedding_gateway, vectors
from tests.producers.gateway.webhook_receiver import WEBHOOK_SECRET, WEBHOOKS, post_webhooks

CHAT = "/v1/chat/completions"


def line(custom_id: Any, url: str = CHAT, **body: Any) -> str:
    whole = {"model": "chat", **SAY, **body} if url == CHAT else {"model": "chat", **body}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": whole})


def chats(count: int) -> list[str]:
    return [line(f"line-{number}") for number in range(count)]


async def create(client: openai.AsyncOpenAI, lines: list[str], endpoint: Any = CHAT, **more: Any) -> Any:
    file = await client.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose="batch")
    return await client.batches.create(
        **{"input_file_id": file.id, "endpoint": endpoint, "completion_window": "24h", **more}
    )


async def ended(client: openai.AsyncOpenAI, batch_id: str) -> Any:
    while True:
        batch = await client.batches.retrieve(batch_id)
        if batch.status in ("completed", "failed", "expired", "cancelled"):
            return batch
        await asyncio.sleep(0.02)


async def rows(client: openai.AsyncOpenAI, file_id: str | None) -> dict[str, Any]:
    """The rows of a file of results, each custom_id once."""
    if file_id is None:
        return {}
    text = (await client.files.content(file_id)).text
    parsed = [json.loads(row) for row in text.splitlines()]
    assert text.endswith("\n")
    assert not [name for name, count in Counter(row["custom_id"] for row in parsed).items() if count > 1]
    return {row["custom_id"]: row for row in parsed}


def test_a_batch_goes_through_the_whole_cycle_of_the_openai_sdk(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway, openai_client(gateway) as client:
            created = await create(client, chats(3), metadata={"run": "7"})
            assert (created.status, created.object, created.metadata) == ("validating", "batch", {"run": "7"})
            batch = await ended(client, created.id)
            output = await rows(client, batch.output_file_id)
            listed = [each.id async for each in client.batches.list()]
        assert (batch.status, batch.error_file_id, batch.errors) == ("completed", None, None)
        assert batch.request_counts.model_dump() == {"total": 3, "completed": 3, "failed": 0}
        assert (created.usage, batch.usage.total_tokens) == (None, 3 * COMPLETION["usage"]["total_tokens"])
        assert sorted(output) == ["line-0", "line-1", "line-2"]
        row = output["line-0"]
        assert (row["error"], row["response"]["status_code"]) == (None, 200)
        assert row["response"]["body"]["choices"][0]["message"]["content"] == TEXT
        assert listed == [created.id]
        assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
        assert [path.name for path in (tmp_path / ".openfall" / "files" / "batches").iterdir()] == []

    run(main)


@pytest.mark.parametrize(
    ("url", "body", "text"),
    [
        ("/v1/responses", {"input": "Haruka waves"}, lambda body: body["output"][0]["content"][0]["text"]),
        ("/v1/completions", {"prompt": "Haruka waves"}, lambda body: body["choices"][0]["text"]),
        ("/chat/completions", SAY, lambda body: body["choices"][0]["message"]["content"]),  # Azure's
    ],
)
def test_each_endpoint_has_the_form_of_its_own_answers(
    redis_url: str, tmp_path: Path, url: str, body: Any, text: Any
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway, openai_client(gateway) as client:
            batch = await ended(client, (await create(client, [line("a", url, **body)], url)).id)
            output = await rows(client, batch.output_file_id)
        answered = output["a"]["response"]["body"]
        assert (answered["model"], text(answered)) == ("chat", TEXT)

    run(main)


def test_lines_for_embeddings_have_their_vectors_in_the_form_that_each_wants(redis_url: str, tmp_path: Path) -> None:
    url = "/v1/embeddings"

    async def main() -> None:
        upstream = vectors([0.5, -1.0])
        async with open_embedding_gateway(redis_url, tmp_path, upstream) as gateway, openai_client(gateway) as client:
            body = {"model": "words", "input": "a lantern"}
            lines = [line("plain", url, **body), line("packed", url, **body, encoding_format="base64")]
            batch = await ended(client, (await create(client, lines, url)).id)
            output = await rows(client, batch.output_file_id)
        bodies = {name: row["response"]["body"] for name, row in output.items()}
        assert bodies["plain"]["data"][0]["embedding"] == [0.5, -1.0]
        assert bodies["packed"]["data"][0]["embedding"] == pack_vector([0.5, -1.0])

    run(main)


def test_lines_that_no_model_can_take_are_in_the_error_file_and_the_others_in_the_output(
    redis_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway, openai_client(gateway) as client:
            lines = [line("good"), line("bad", messages=[])]
            batch = await ended(client, (await create(client, lines)).id)
            output, errors = await rows(client, batch.output_file_id), await rows(client, batch.error_file_id)
        assert (batch.status, sorted(output), sorted(errors)) == ("completed", ["good"], ["bad"])
        assert batch.request_counts.model_dump() == {"total": 2, "completed": 1, "failed": 1}
        assert errors["bad"]["response"]["status_code"] == 400
        assert errors["bad"]["response"]["body"]["error"]["type"] == "invalid_request_error"

    run(main)


@pytest.mark.parametrize(
    ("lines", "errors"),
    [
        pytest.param([""], [("empty_file", None)], id="nothing"),
        pytest.param(["", "{", "[]"], [("invalid_json_line", 2), ("invalid_json_line", 3)], id="no JSON"),
        pytest.param([line("a"), "", line("a")], [("duplicate_custom_id", 3)], id="an id twice"),
        pytest.param([line("a", "/v1/images")], [("url_mismatch", 1)], id="another endpoint"),
        pytest.param([line("a", model="no-such-model")], [("model_not_found", 1)], id="an unknown model"),
        pytest.param(['{"custom_id": "a"}'], [("missing_required_parameter", 1)], id="no body"),
        pytest.param([line(each) for each in "abcdef"], [("too_many_tasks", None)], id="too many"),
        pytest.param(["x"] * 120, [("invalid_json_line", number) for number in range(1, 6)], id="more than the limit"),
    ],
)
def test_a_wrong_file_fails_after_the_creation_with_codes_and_lines(
    redis_url: str, tmp_path: Path, lines: list[str], errors: list[Any]
) -> None:
    async def main() -> None:
        more = "gateway: {listen: [], max_batch_requests: 5}"
        async with open_gateway(redis_url, tmp_path, more=more, pools=()) as gateway, openai_client(gateway) as client:
            batch = await ended(client, (await create(client, lines)).id)
        assert batch.status == "failed"
        assert [(each.code, each.line) for each in batch.errors.data][: len(errors)] == errors
        assert batch.request_counts.total == 0

    run(main)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input_file_id", "file-0"),
        ("endpoint", "/v1/images"),
        ("completion_window", "8d"),
        ("metadata", {"a": 1}),
        ("metadata", {"k" * 65: ""}),
    ],
)
def test_a_wrong_creation_is_a_400_that_names_its_field(redis_url: str, tmp_path: Path, field: str, value: Any) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway, openai_client(gateway) as client:
            with pytest.raises(openai.BadRequestError) as refused:
                await create(client, chats(1), **{field: value})
        assert refused.value.param == field

    run(main)


def test_a_cancelled_batch_keeps_its_answers_and_names_every_other_line(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        scripts = (answer(COMPLETION), answer(COMPLETION), stall)
        async with open_gateway(redis_url, tmp_path, *scripts, slots=4) as gateway, openai_client(gateway) as client:
            batch_id = (await create(client, chats(300))).id
            while (await client.batches.retrieve(batch_id)).request_counts.completed < 2:
                await asyncio.sleep(0.02)
            assert (await client.batches.cancel(batch_id)).status == "cancelling"
            batch = await ended(client, batch_id)
            output, errors = await rows(client, batch.output_file_id), await rows(client, batch.error_file_id)
            again = await client.batches.cancel(batch_id)
        assert batch.status == again.status == "cancelled"
        assert (len(output), len(errors)) == (2, 298)
        assert {row["error"]["code"] for row in errors.values()} == {"batch_cancelled"}
        assert batch.request_counts.model_dump() == {"total": 300, "completed": 2, "failed": 298}

    run(main)


def test_what_has_no_answer_when_the_window_ends_is_expired(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, stall) as gateway, openai_client(gateway) as client:
            batch_id = (await create(client, chats(5), completion_window="1h")).id
            while (await client.batches.retrieve(batch_id)).status != "in_progress":
                await asyncio.sleep(0.02)
            await end_window(gateway, batch_id)
            batch = await ended(client, batch_id)
            errors = await rows(client, batch.error_file_id)
            with pytest.raises(openai.BadRequestError):
                await client.batches.cancel(batch_id)
        assert (batch.status, batch.output_file_id, len(errors)) == ("expired", None, 5)
        assert {row["error"]["code"] for row in errors.values()} == {"batch_expired"}

    run(main)


async def end_window(gateway: RunningGateway, batch_id: str) -> None:
    """The time of a batch is over now."""
    key = f"of:batch:{batch_id}"
    terms = json.loads(await gateway.link.command("HGET", key, "batch"))
    await gateway.link.command("HSET", key, "batch", json.dumps({**terms, "deadline": terms["created_at"]}))
    await gateway.instance.batch_runner.release()


def test_an_idempotency_key_creates_one_batch(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway, openai_client(gateway) as client:
            file = await client.files.create(file=("in.jsonl", chats(1)[0].encode()), purpose="batch")
            body = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"}
            replies = [
                await gateway.http.post("/v1/batches", json={**body, **more}, headers={"idempotency-key": "k"})
                for more in ({}, {}, {"metadata": {"a": "b"}})
            ]
            assert [each.status_code for each in replies] == [200, 200, 422]
            assert replies[0].json()["id"] == replies[1].json()["id"]
            assert [each.headers.get("idempotency-replayed") for each in replies] == [None, "true", None]
            assert len([each async for each in client.batches.list()]) == 1

    run(main)


def test_the_batch_of_another_key_does_not_exist_and_a_key_asks_for_its_own_models(
    redis_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            await add_key(gateway.link, ClientKey(name="own", digest=digest_of("of_own"), names=("scene",)))
            await add_key(gateway.link, ClientKey(name="other", digest=digest_of("of_other")))
            gateway.instance.keys = await fetch_keys(gateway.link)
            own, other = openai_client(gateway, api_key="of_own"), openai_client(gateway, api_key="of_other")
            async with own, other:
                batch = await ended(own, (await create(own, chats(1))).id)
                assert [each.code for each in batch.errors.data] == ["model_not_found"]
                with pytest.raises(openai.NotFoundError):
                    await other.batches.retrieve(batch.id)
                with pytest.raises(openai.BadRequestError):
                    await other.batches.create(
                        input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h"
                    )
                assert [each async for each in other.batches.list()] == []

    run(main)


def test_rows_are_read_in_the_order_of_the_input_on_request(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway, openai_client(gateway) as client:
            batch = await ended(client, (await create(client, chats(150))).id)
            text = (await client.files.content(batch.output_file_id, extra_query={"order": "input"})).text
        assert [json.loads(row)["custom_id"] for row in text.splitlines()] == [f"line-{n}" for n in range(150)]

    run(main)


@pytest.mark.parametrize("cancels", [False, True])
def test_the_end_of_a_batch_is_a_webhook_that_the_sdk_verifies(redis_url: str, tmp_path: Path, cancels: bool) -> None:
    async def main() -> Any:
        async with (
            open_gateway(
                redis_url, tmp_path, stall if cancels else answer(COMPLETION), more=WEBHOOKS, pools=("gpu",)
            ) as gateway,
            openai_client(gateway, webhook_secret=WEBHOOK_SECRET) as client,
            fault_server(answer({})) as receiver,
        ):
            batch = await create(client, chats(1), extra_headers={"X-Openfall-Webhook": receiver.url})
            if cancels:
                await client.batches.cancel(batch.id)
            await ended(client, batch.id)
            await post_webhooks(gateway)
            [call] = receiver.calls_received
            return client.webhooks.unwrap(call.body, call.headers), batch.id

    event, batch_id = run(main)
    assert (event.type, event.data.id) == ("batch.cancelled" if cancels else "batch.completed", batch_id)
