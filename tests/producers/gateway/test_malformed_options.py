"""Numbers, flags and words in queries, headers and bodies that are none: each is a 400 that names it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.requested_name import resolve_name
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.vocabulary import JobKind
from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import SAY, gateway_config, open_gateway, run

NO_NUMBERS = ("²", "٣", "--5", "-", "1.5", "1e3", "0x1", " 1", "9" * 5000, "-2", "a", "%00")


def test_a_number_in_a_query_that_is_none_is_a_400(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            made = await gateway.http.post("/v1/responses", json={"model": "chat", "input": "x"})
            job, own = made.headers["x-openfall-job"], f"/v1/responses/{made.json()['id']}"
            places = {
                own: "starting_after",
                f"{own}/input_items": "limit",
                "/v1/jobs": "limit",
                f"/v1/jobs/{job}/events": "after",
                "/v1/inboxes/mine": "limit",
                "/v1/files": "limit",
                "/v1/batches": "limit",
            }
            for path, name in places.items():
                for text in NO_NUMBERS:
                    response = await gateway.http.get(path, params={"stream": "true", name: text})
                    assert (response.status_code, name in response.text) == (400, True), (path, text, response.text)
            for text in NO_NUMBERS:
                assert (await gateway.http.get("/v1/jobs", params={"since": text})).status_code == 400
            unknown = await gateway.http.get(f"{own}/input_items", params={"after": "msg_other"})
        assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "after")

    run(main)


@pytest.mark.parametrize("value", ["true", "false", 1, 0, [], {}])
def test_a_flag_that_is_neither_true_nor_false_is_a_400(redis_url: str, tmp_path: Path, value: object) -> None:
    """`"background": "true"` would else be a request that ends with its caller."""

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            for name in ("background", "store", "stream"):
                body = {"model": "chat", "input": "x", name: value}
                error = (await gateway.http.post("/v1/responses", json=body)).json()["error"]
                assert (error["param"], f"`{name}` must be true or false" in error["message"]) == (name, True)

    run(main)


def test_a_header_with_a_word_that_it_does_not_take_is_a_400(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            for name, words in {"Degraded": "reply or error", "Keepalive": "comment, chunk or off"}.items():
                for text in ("yes", "Reply", "chunks"):
                    response = await gateway.http.post(
                        "/v1/chat/completions", json={"model": "chat", **SAY}, headers={f"X-Openfall-{name}": text}
                    )
                    assert response.status_code == 400
                    assert f"X-Openfall-{name} must be {words}, not '{text}'" in response.text
            fine = await gateway.http.post(
                "/v1/chat/completions", json={"model": "chat", **SAY}, headers={"X-Openfall-Degraded": "error"}
            )
        assert fine.status_code == 200

    run(main)


def test_a_misspelt_header_is_a_400_that_names_the_nearest(redis_url: str, tmp_path: Path) -> None:
    """Without the check a request whose caller wrote `Local-Olny` would leave the machine."""

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            mistakes = {
                "Local-Olny": "Local-Only",
                "local_only": "Local-Only",
                "Urgancy": "Urgency",
                "Webhok": "Webhook",
            }
            for name, meant in mistakes.items():
                for path, body in (("/v1/chat/completions", SAY), ("/v1/responses", {"input": "x"})):
                    response = await gateway.http.post(
                        path, json={"model": "chat", **body}, headers={f"X-Openfall-{name}": "yes"}
                    )
                    assert response.status_code == 400
                    assert f"Did you mean 'X-Openfall-{meant}'?" in response.json()["error"]["message"]
            requests = [{"custom_id": "a", "params": {"model": "chat", "max_tokens": 9, **SAY}}]
            batch = await gateway.http.post(
                "/v1/messages/batches", json={"requests": requests}, headers={"X-Openfall-Groop": "x"}
            )
            late = await gateway.http.post(
                "/v1/chat/completions", json={"model": "chat", **SAY}, headers={"X-Openfall-Within": "soon"}
            )
            assert "`X-Openfall-Within` is not a duration: 'soon'" in late.json()["error"]["message"]
        assert "Did you mean 'X-Openfall-Group'?" in batch.json()["error"]["message"]
        assert gateway.upstream.calls_received == []

    run(main)


def test_a_misspelt_urgency_behind_a_name_is_called_an_urgency(tmp_path: Path) -> None:
    catalog = gateway_config("redis://127.0.0.1:1", tmp_path, "http://127.0.0.1:1").catalog
    with pytest.raises(UnknownName, match=r"unknown urgency 'bath'. Did you mean 'batch'\?"):
        resolve_name(catalog, {}, "chat@bath")


@pytest.mark.parametrize("field", ["echo", "best_of", "suffix", "logprobs"])
def test_a_legacy_field_that_changes_the_answer_is_refused(redis_url: str, tmp_path: Path, field: str) -> None:
    asks = {"echo": True, "best_of": 3, "suffix": "the end", "logprobs": 2}[field]
    nothing = {"echo": False, "best_of": 1, "suffix": "", "logprobs": None}[field]

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            body = {"model": "chat", "prompt": "x"}
            refused = await gateway.http.post("/v1/completions", json={**body, field: asks})
            taken = await gateway.http.post("/v1/completions", json={**body, field: nothing})
        error = refused.json()["error"]
        assert (refused.status_code, error["code"], error["param"]) == (400, "unsupported", field)
        assert taken.status_code == 200
        assert field.encode() not in gateway.upstream.calls_received[-1].body

    run(main)


def test_a_name_of_megabytes_is_neither_compared_nor_repeated(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            for name in ("a" * 10_000_000, "chat" * 100_000, "a-" * 100_000, "a/" * 100_000):
                response = await gateway.http.post("/v1/chat/completions", json={"model": name, **SAY})
                assert response.status_code == 404
                assert f"... of {len(name):,} characters" in response.json()["error"]["message"]
                assert len(response.content) < 1000
            for path in ("/v1/responses", "/v1/responses/input_tokens"):
                body = {"model": "chat", "input": "x", "previous_response_id": "resp_" + "a" * 1_000_000}
                response = await gateway.http.post(path, json=body)
                assert response.json()["error"]["code"] == "previous_response_not_found"
                assert len(response.content) < 1000
            role = {"x-openfall-role": "a" * 50_000}
            response = await gateway.http.post("/v1/chat/completions", json=SAY, headers=role)
            assert (response.status_code, len(response.content) < 1000) == (400, True)

    run(main)


@pytest.mark.parametrize(
    "name", ["gpt-4o", "o3", "llama3.2", "llama3.2:3b", "openai/gpt-4o", "a" * 200, "x" * 50 + "-1", "claude-opus-4-1"]
)
def test_the_pattern_that_a_remedy_proposes_takes_the_name(tmp_path: Path, name: str) -> None:
    catalog = gateway_config("redis://127.0.0.1:1", tmp_path, "http://127.0.0.1:1").catalog
    with pytest.raises(Refusal) as raised:
        resolve_name(catalog, {}, name)
    pattern = raised.value.message.split('aliases: {"')[1].split('"')[0]
    assert fnmatchcase(name, pattern)
    assert resolve_name(catalog, {pattern: "chat"}, name) == "chat"


def test_for_the_name_of_an_embedding_model_a_model_that_embeds_is_proposed(tmp_path: Path) -> None:
    """`auto` completes, so an alias to it would refuse the request too."""
    catalog = gateway_config("redis://127.0.0.1:1", tmp_path, "http://127.0.0.1:1").catalog
    vectors = ModelSpec(upstream="nomic-embed-text", backends=tuple(catalog.backends)[:1])
    completing = {name: model for name, model in catalog.models.items() if model.kind is JobKind.COMPLETION}
    for models, remedy in (
        (completing, "no model of the configuration embeds texts: add one"),
        ({**completing, "nomic": vectors}, 'set `gateway: {aliases: {"text-*": nomic}}`'),
    ):
        with pytest.raises(Refusal) as raised:
            resolve_name(catalog.model_copy(update={"models": models}), {}, "text-embedding-3-small")
        assert raised.value.message.endswith(remedy)


def test_a_name_behind_that_of_a_provider_is_proposed(tmp_path: Path) -> None:
    catalog = gateway_config("redis://127.0.0.1:1", tmp_path, "http://127.0.0.1:1").catalog
    for name in ("openai/chat", "ollama/chat", "a/b/chat"):
        with pytest.raises(UnknownName, match=r"Did you mean 'chat'\?"):
            resolve_name(catalog, {}, name)


def test_a_group_with_control_characters_is_a_400_wherever_it_stands(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            file = await gateway.http.post("/v1/files", files={"file": ("in.jsonl", b"{}")}, data={"purpose": "batch"})
            batch = {"input_file_id": file.json()["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
            for group in ("a%0Ab", "a%00", "%7F", "a%E2%80%A8b", "%C2%85"):
                for path, body in (("chat/completions", {"model": "chat", **SAY}), ("batches", batch)):
                    response = await gateway.http.post(f"/for/{group}/v1/{path}", json=body)
                    error = response.json()["error"]
                    assert (response.status_code, "control characters" in error["message"]) == (400, True), group

    run(main)
