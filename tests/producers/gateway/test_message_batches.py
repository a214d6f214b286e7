"""Message batches of the gateway, in Anthropic's form and with its SDK."""

from __future__ import annotations

import asyncio
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import anthropic
import pytest

from openfall.producers.gateway.batches.inline_requests import write_requests
from openfall.producers.gateway.error_table import Refusal
from tests.faults import COMPLETION, answer, stall
from tests.producers.gateway.running_gateway import SAY, open_gateway, run
from tests.producers.gateway.sdk_streams import TEXT, anthropic_client

PATH = "/v1/messages/batches"


def request(custom_id: Any, **params: Any) -> Any:
    return {"custom_id": custom_id, "params": {"model": "chat", "max_tokens": 64, **SAY, **params}}


async def ended(client: anthropic.AsyncAnthropic, batch_id: str) -> Any:
    while True:
        batch = await client.messages.batches.retrieve(batch_id)
        if batch.processing_status == "ended":
            return batch
        assert batch.request_counts.succeeded == 0, "counts are zero until every request has ended"
        await asyncio.sleep(0.02)


async def rows(client: anthropic.AsyncAnthropic, batch_id: str) -> dict[str, Any]:
    return {row.custom_id: row.result async for row in await client.messages.batches.results(batch_id)}


def test_a_message_batch_goes_through_the_whole_cycle_of_the_anthropic_sdk(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway,
            anthropic_client(gateway) as client,
        ):
            api = client.messages.batches
            created = await api.create(requests=[request("a"), request("b"), request("bad", messages=[])])
            assert (created.processing_status, created.type) == ("in_progress", "message_batch")
            batch = await ended(client, created.id)
            results = await rows(client, created.id)
            listed = [each.id async for each in api.list(limit=1)]
            deleted = await api.delete(created.id)
            with pytest.raises(anthropic.NotFoundError):
                await api.retrieve(created.id)
        counts = batch.request_counts
        assert (counts.processing, counts.succeeded, counts.errored) == (0, 2, 1)
        assert batch.results_url.startswith(gateway.url)
        assert results["a"].message.content[0].text == results["b"].message.content[0].text == TEXT
        assert results["bad"].error.error.type == "invalid_request_error"
        assert listed == [created.id]
        assert deleted.type == "message_batch_deleted"
        assert {path.name for path in (tmp_path / ".openfall" / "files").iterdir()} == {"directory-id", "batches"}

    run(main)


def test_a_cancelled_message_batch_names_each_request_that_has_no_answer(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, stall) as gateway, anthropic_client(gateway) as client:
            api = client.messages.batches
            created = await api.create(requests=[request(f"r{number}") for number in range(5)])
            with pytest.raises(anthropic.BadRequestError):
                await api.delete(created.id)
            cancelled = await api.cancel(created.id)
            assert cancelled.processing_status == "canceling"
            assert cancelled.cancel_initiated_at is not None
            batch = await ended(client, created.id)
            results = await rows(client, created.id)
        assert batch.request_counts.canceled == 5
        assert {result.type for result in results.values()} == {"canceled"}

    run(main)


@pytest.mark.parametrize(
    ("requests", "place"),
    [
        pytest.param([request("a"), request("a")], "requests.1", id="an id twice"),
        pytest.param([request("a b")], "requests.0", id="an id with a blank"),
        pytest.param([{"custom_id": "a"}], "requests.0.params", id="no params"),
        pytest.param([request("a", model="no-such-model")], "requests.0", id="an unknown model"),
        pytest.param([], "requests", id="nothing"),
        pytest.param(["a"], "requests.0", id="no object"),
    ],
)
def test_a_wrong_request_is_named_at_once_and_nothing_is_left(
    redis_url: str, tmp_path: Path, requests: Any, place: str
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            refused = await gateway.http.post(PATH, json={"requests": requests})
        assert refused.status_code == 400
        assert refused.json()["error"]["message"].startswith(f"{place}")
        assert [path.name for path in (tmp_path / ".openfall" / "files").iterdir()] == ["directory-id"]

    run(main)


def test_lists_are_paged_in_both_directions(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway, anthropic_client(gateway) as client:
            api = client.messages.batches
            ids = [(await api.create(requests=[request("a")])).id for _ in range(5)][::-1]
            older = await api.list(limit=2, after_id=ids[1])
            newer = await api.list(limit=2, before_id=ids[3])
            every = [each.id async for each in api.list(limit=2)]
        assert [each.id for each in older.data] == ids[2:4]
        assert [each.id for each in newer.data] == ids[1:3]
        assert every == ids

    run(main)


@pytest.mark.parametrize(
    "text", ["[1, 2", '{"requests": [{"a": 1}', '{"requests" []}', "[]", "", '{"a": 1} x', "[" * 9000]
)
def test_a_body_that_is_no_object_of_requests_is_refused(tmp_path: Path, text: str) -> None:
    body = tmp_path / "body"
    body.write_text(text)
    with pytest.raises(Refusal):
        write_requests(body, BytesIO(), 1000)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '{"requests": [{"params": {}}, {b: 2}]}',
            "at `requests.1`: a key must be in double quotes at column 2",
        ),
        ('{"requests": [{"a": "x\ny"}]}', "at `requests.0`: a text has a line break or another control character"),
        ('{"requests": [{"params": {}, "n": NaN}]}', "not JSON at `requests.0`: NaN is no value of JSON"),
        ('{"requests": [{"params": {}}', "not JSON at `requests.1`: `,` is missing"),
        ('{"first": tru}', "not JSON at `first`: "),
        ("[]", "the body is not JSON: `{` is missing"),
        ('{"requests": [' + "[" * 9000, "`requests.0` is nested too deeply"),
    ],
    ids=["a key", "a line break", "NaN", "no end", "a field", "a list", "nested"],
)
def test_a_fault_is_named_with_its_request_and_in_plain_words(tmp_path: Path, text: str, words: str) -> None:
    body = tmp_path / "body"
    body.write_text(text)
    with pytest.raises(Refusal) as refused:
        write_requests(body, BytesIO(), 100_000)
    assert words in refused.value.message
    assert "Expecting" not in refused.value.message
    assert "line 1 " not in refused.value.message


def test_half_a_character_in_a_request_is_replaced_and_no_other_character_changes(tmp_path: Path) -> None:
    body, lines = tmp_path / "body", BytesIO()
    text = r'{"q": "\ud83d \ud83d\ude00 \\ud83d", "n": 123456789012345678901}'
    body.write_text(f'{{"requests": [{{"custom_id": "a", "params": {text}}}]}}')
    write_requests(body, lines, 1000)
    params = {"q": "\ufffd \U0001f600 \\ud83d", "n": 123456789012345678901}
    assert json.loads(lines.getvalue()) == {"custom_id": "a", "body": params}


def test_requests_are_read_one_by_one_and_a_large_one_is_refused(tmp_path: Path) -> None:
    body, lines = tmp_path / "body", BytesIO()
    params = {"messages": [{"role": "user", "content": "ü" * 3000}]}
    requests = [{"custom_id": f"r{number}", "params": params} for number in range(1000)]
    body.write_text(json.dumps({"first": [1.5], "requests": requests, "last": 12}, ensure_ascii=False))
    assert write_requests(body, lines, 1 << 20) == {"first": [1.5], "last": 12}
    written = [json.loads(row) for row in lines.getvalue().splitlines()]
    assert written == [{"custom_id": each["custom_id"], "body": params} for each in requests]
    body.write_text(json.dumps({"requests": [{"params": {"a": "x" * 5_000_000}}]}))
    with pytest.raises(Refusal, match="more than"):
        write_requests(body, BytesIO(), 1 << 20)
