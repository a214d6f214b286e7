"""Embeddings of each protocol: what is sent, and what an answer means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openfall.router_core.catalog.entries import Backend
from openfall.router_core.jobs.embeddings import packed_vectors, unpack_vector
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.base import Request
from openfall.workers.backends.registry import open_backend
from tests.faults import answer, fault_server
from tests.workers.backends.protocol_clients import run


async def embed(protocol: Any, reply: object, body: dict[str, Any], **more: Any) -> tuple[Outcome, list[Any]]:
    async with fault_server(answer(reply)) as server:
        client = open_backend(
            Backend(url=server.url, pool="gpu", protocol=protocol, keep_in_memory=60 if protocol == "ollama" else None)
        )
        outcome = await client.embed(Request(body=body, upstream="nomic", timeout=20, **more))
        await client.close()
        return outcome, [(call.path, json.loads(call.body)) for call in server.calls_received]


def test_ollama_is_asked_in_its_own_form_with_the_context_of_the_model() -> None:
    reply = {"model": "nomic", "embeddings": [[0.5], [1.0]], "prompt_eval_count": 4}
    body = {"input": ["a", "b"], "dimensions": 64, "encoding_format": "float", "truncate": True, "user": "x"}
    outcome, sent = run(embed("ollama", reply, body, ctx=2048))
    assert isinstance(outcome, Completion)
    assert [unpack_vector(vector) for vector in packed_vectors(outcome.body)] == [[0.5], [1.0]]
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == (4, 0)
    kept = {"input": ["a", "b"], "dimensions": 64, "truncate": True, "keep_alive": 60}
    assert sent == [("/api/embed", {"model": "nomic", **kept, "options": {"num_ctx": 2048}})]


def test_a_field_of_ollamas_alone_does_not_reach_a_server_of_openais_protocol() -> None:
    body = {"input": "a", "truncate": True, "keep_alive": "5m", "options": {"num_ctx": 1}, "input_type": "query"}
    _, sent = run(embed("openai", {"data": [{"embedding": [1.0]}]}, body))
    expected = {"model": "nomic", "input": ["a"], "encoding_format": "base64", "input_type": "query"}
    assert sent == [("/v1/embeddings", expected)]


@pytest.mark.parametrize(
    ("protocol", "reply", "body", "error", "words"),
    [
        ("anthropic", {}, {"input": "a"}, ErrorClass.UNSUPPORTED, "has no embeddings"),
        ("ollama", {}, {"input": [1, 2]}, ErrorClass.UNSUPPORTED, "check_embedding_ctx_length=False"),
        ("ollama", {"embeddings": []}, {"input": "a"}, ErrorClass.MALFORMED, "has no embeddings"),
        ("openai", {"data": []}, {"input": "a"}, ErrorClass.MALFORMED, "has no embeddings"),
        ("openai", {"data": [{"embedding": "AAAA"}] * 2}, {"input": "a"}, ErrorClass.MALFORMED, "2 vectors for 1"),
        ("openai", {"data": [{"embedding": [[1], [2]]}]}, {"input": "a"}, ErrorClass.MALFORMED, "(`mean`)"),
        ("openai", {"data": [{"embedding": ["x"]}]}, {"input": "a"}, ErrorClass.MALFORMED, "not a list of numbers"),
        ("openai", {"data": [{"embedding": []}]}, {"input": "a"}, ErrorClass.MALFORMED, "is empty"),
        ("openai", {"data": [{"embedding": [1]}, {"embedding": [1, 2]}]}, {"input": ["a", "b"]}, ErrorClass.MALFORMED,
         "different lengths"),
        ("openai", {"error": {"message": "boom"}}, {"input": "a"}, ErrorClass.OTHER, "boom"),
    ],
)  # fmt: skip
def test_what_is_no_vector_for_each_text_is_a_failure_that_says_so(
    protocol: str, reply: object, body: dict[str, Any], error: ErrorClass, words: str
) -> None:
    outcome, _ = run(embed(protocol, reply, body))
    assert isinstance(outcome, Failure)
    assert outcome.error_class is error
    assert words in outcome.detail
