"""Embeddings of each protocol: what is sent, and what an answer means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.catalog.prices import Prices
from openfall.router_core.deciding.cost import call_cost
from openfall.router_core.deciding.subscription_limits import PlanShare
from openfall.router_core.jobs.embeddings import packed_vectors, unpack_vector
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.call_request import Request
from openfall.workers.backends.registry import open_backend
from openfall.workers.backends.stall_watch import CallWatch
from tests.faults import Script, answer, fault_server
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
        ("openai", {"data": [{"embedding": "AAAAPw=="}] * 2}, {"input": "a"}, ErrorClass.MALFORMED, "2 vectors for 1"),
        ("openai", {"data": [{"embedding": [[1], [2]]}]}, {"input": "a"}, ErrorClass.MALFORMED, "(`mean`)"),
        ("openai", {"data": [{"embedding": ["x"]}]}, {"input": "a"}, ErrorClass.MALFORMED, "not a list of numbers"),
        ("openai", {"data": [{"embedding": []}]}, {"input": "a"}, ErrorClass.MALFORMED, "is empty"),
        ("openai", {"data": [{"embedding": [1]}, {"embedding": [1, 2]}]}, {"input": ["a", "b"]}, ErrorClass.MALFORMED,
         "different lengths"),
        ("openai", {"error": {"message": "boom"}}, {"input": "a"}, ErrorClass.OTHER, "boom"),
    ],
)  # fmt: skip
def test_a_response_without_a_vector_for_each_text_is_a_failure_that_says_so(
    protocol: str, reply: object, body: dict[str, Any], error: ErrorClass, words: str
) -> None:
    outcome, _ = run(embed(protocol, reply, body))
    assert isinstance(outcome, Failure)
    assert outcome.error_class is error
    assert words in outcome.detail


ONE = {"data": [{"embedding": [1.0]}], "usage": {"prompt_tokens": 7}}
CHARGED = {"data": [{"embedding": [1.0]}], "usage": {"prompt_tokens": 7, "cost": 0.002}}
PRICES = Prices(input=1.0, output=0.0)


@pytest.mark.parametrize(
    ("replies", "error", "cost"),
    [
        ((answer(ONE), answer(ONE)), None, 14_000),
        ((answer(CHARGED), answer(CHARGED)), None, 4_000_000),
        ((answer(ONE), answer(ONE | {"data": [{"embedding": [1.0, 2.0]}]})), "malformed", 14_000),
        ((answer(ONE), answer({"error": "slow down"}, 429)), "rate_limited", 7_000),
        ((answer(CHARGED), answer({"error": "no"}, 400)), "bad_request", 2_000_000),
        ((answer(ONE), answer({"error": "boom"}, 500)), "overloaded", None),
        ((answer({"data": [{"embedding": [1.0]}]}), answer({"error": "slow down"}, 429)), "rate_limited", None),
        ((answer({"error": "slow down"}, 429),), "rate_limited", 0),
    ],
    ids=[
        "both are answered", "the provider names its charge", "the second has another length", "the second is refused",
        "the second is refused, and the first was charged", "the second may be billed", "the first is not counted",
        "the first is refused",
    ],
)  # fmt: skip
def test_a_job_of_several_requests_costs_what_each_of_them_cost(
    replies: Sequence[Script], error: str | None, cost: int | None
) -> None:
    async def main() -> Outcome:
        async with fault_server(*replies) as server:
            client = open_backend(Backend(url=server.url, pool="cloud"))
            request = Request(body={"input": ["a", "b"]}, upstream="nomic", timeout=20, max_inputs=1)
            outcome = await client.embed(request)
            await client.close()
            return outcome

    outcome = run(main())
    failure = outcome.error_class if isinstance(outcome, Failure) else None
    assert failure == error
    assert call_cost(PRICES, Billing.METERED, outcome, failure) == cost


def test_an_answer_of_embeddings_names_the_used_share_of_a_subscription_even_if_its_last_request_does_not() -> None:
    async def main() -> tuple[PlanShare, ...]:
        named = answer(ONE, anthropic_ratelimit_unified_5h_utilization="0.83")
        async with fault_server(named, answer(ONE)) as server:
            client, watch = open_backend(Backend(url=server.url, pool="cloud")), CallWatch(20)
            await client.embed(
                Request(body={"input": ["a", "b"]}, upstream="nomic", timeout=20, max_inputs=1, watch=watch)
            )
            await client.close()
            return watch.plan_shares

    assert run(main()) == (PlanShare(1, 18_000, 830, 18_000),)


def of_google(*vectors: list[float]) -> list[dict[str, Any]]:
    return [{"values": vector} for vector in vectors]


FORMS = {
    "data without numbers": {"data": [{"embedding": [0.5]}, {"embedding": [1.0]}]},
    "data in another order": {"data": [{"embedding": [1.0], "index": 1}, {"embedding": [0.5], "index": 0}]},
    "data of vectors": {"data": [[0.5], [1.0]]},
    "text-embeddings-inference": [[0.5], [1.0]],
    "an older llama-server": [{"index": 0, "embedding": [[0.5]]}, {"index": 1, "embedding": [[1.0]]}],
    "Cohere": {"embeddings": {"float": [[0.5], [1.0]]}},
    "Google": {"embeddings": of_google([0.5], [1.0])},
    "Vertex": {"data": [{"embedding": values} for values in of_google([0.5], [1.0])]},
    "Cloudflare": {"result": {"shape": [2, 1], "data": [[0.5], [1.0]]}, "success": True},
    "vectors as JSON texts": {"data": [{"embedding": "[0.5]"}, {"embedding": "[1.0]"}]},
    "numbers as texts": {"data": [{"embedding": ["0.5"]}, {"embedding": ["1e0"]}]},
    "base64 without padding": {"data": [{"embedding": "AAAAPw"}, {"embedding": "AACAPw"}]},
    "base64 in lines": {"data": [{"embedding": "AAAA\nPw=="}, {"embedding": "AACA\r\nPw=="}]},
    "base64 as a data url": {"data": [{"embedding": f"data:;base64,{text}"} for text in ("AAAAPw==", "AACAPw==")]},
    "by type": {"embeddingsByType": {"float": [[0.5], [1.0]]}},
    "by type within an entry": {"data": [{"embedding": {"base64": "AAAAPw=="}}, {"embedding": {"float": [1.0]}}]},
    "Cohere in base64": {"embeddings": {"base64": ["AAAAPw==", "AACAPw=="]}},
    "numbered from 1": {"data": [{"embedding": [1.0], "index": 2}, {"embedding": [0.5], "index": 1}]},
    "numbered by texts": {"data": [{"embedding": [1.0], "index": "1"}, {"embedding": [0.5], "index": "0"}]},
    "all with one number": {"data": [{"embedding": [0.5], "index": 0}, {"embedding": [1.0], "index": 0}]},
    "in the data of a gateway": {"code": 0, "data": {"data": [{"embedding": [0.5]}, {"embedding": [1.0]}]}},
    "in the response of a gateway": {"response": {"data": [{"embedding": [0.5]}, {"embedding": [1.0]}]}},
    "vectors": {"vectors": [[0.5], [1.0]]},
    "predictions": {"predictions": [{"embeddings": entry} for entry in of_google([0.5], [1.0])]},
    "DashScope": {
        "output": {"embeddings": [{"text_index": 1, "embedding": [1.0]}, {"text_index": 0, "embedding": [0.5]}]}
    },
}


@pytest.mark.parametrize("reply", FORMS.values(), ids=FORMS.keys())
def test_embeddings_are_read_in_the_forms_of_servers(reply: object) -> None:
    outcome, _ = run(embed("openai", reply, {"input": ["a", "b"]}))
    assert isinstance(outcome, Completion), outcome
    assert [unpack_vector(vector) for vector in packed_vectors(outcome.body)] == [[0.5], [1.0]]


@pytest.mark.parametrize("text", ["0.5,1.0", "0.5 1", "5e-1, 1.0", "[0.5, 1.0]", ' ["0.5", "1"]', "AAAAPwAAgD8"])
def test_a_vector_that_arrives_as_a_text_is_read(text: str) -> None:
    outcome, _ = run(embed("ollama", {"embeddings": [text]}, {"input": "a"}))
    assert isinstance(outcome, Completion), outcome
    assert [unpack_vector(vector) for vector in packed_vectors(outcome.body)] == [[0.5, 1.0]]


@pytest.mark.parametrize(
    "vector", ["!!!!", "AAAAAAA=", "[0.5, null]", "[0.5", "nan, nan", ["0.5", "nan"], ["0.5", None], "{}", "0,5;1"]
)
def test_a_text_that_is_no_vector_is_no_answer(vector: object) -> None:
    outcome, _ = run(embed("openai", {"data": [{"embedding": vector}]}, {"input": "a"}))
    assert isinstance(outcome, Failure)
    assert (outcome.error_class, outcome.detail) == (
        ErrorClass.MALFORMED,
        "a vector of the answer is not a list of numbers",
    )


@pytest.mark.parametrize("reply", [[[0.5]], {"embedding": [0.5]}, [{"index": 0, "embedding": [[0.5]]}]])
def test_the_embedding_of_a_single_text_needs_no_list(reply: object) -> None:
    outcome, _ = run(embed("openai", reply, {"input": "a"}))
    assert isinstance(outcome, Completion), outcome
    assert [unpack_vector(vector) for vector in packed_vectors(outcome.body)] == [[0.5]]


@pytest.mark.parametrize("reply", [{"result": {"result": {"data": [[1.0]]}}}, {"data": "x"}, 3, [], [{"vector": [1]}]])
def test_an_answer_in_no_form_of_embeddings_is_malformed(reply: object) -> None:
    outcome, _ = run(embed("openai", reply, {"input": "a"}))
    assert isinstance(outcome, Failure)
    assert outcome.error_class is ErrorClass.MALFORMED
