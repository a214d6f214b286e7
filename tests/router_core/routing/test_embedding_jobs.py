"""A job for embeddings has one model, and nothing else answers in its place."""

from __future__ import annotations

import math
from typing import Any

import pytest

from openfall.router_core.catalog.answer_policy import Ensemble
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.caller_groups import Group
from openfall.router_core.catalog.capabilities import is_known_to_embed
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Pool
from openfall.router_core.catalog.roles_and_tasks import Role, TaskType
from openfall.router_core.deciding.answer_checks import check_answer
from openfall.router_core.deciding.decide import decide
from openfall.router_core.deciding.ensemble import ensemble_for
from openfall.router_core.deciding.remedies import allowed_remedies
from openfall.router_core.deciding.steps import Call, Conditions
from openfall.router_core.jobs.embeddings import (
    embeddings_body,
    inputs_of,
    pack_vector,
    packed_vectors,
    repack_vector,
    unpack_vector,
)
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Completion
from openfall.router_core.routing.chain_selection import RouteRequest
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.routing.requirements import requirements_for
from openfall.router_core.routing.route import NothingFits, Route, route
from openfall.router_core.vocabulary import JobKind, Remedy, Urgency

BACKENDS = {
    "tower": Backend(url="http://127.0.0.1:8080", pool="gpu", protocol="ollama"),
    "provider": Backend(url="https://example.invalid/v1", pool="cloud"),
}
MODELS = {
    "coder": ModelSpec(upstream="coder:32b", backends=("tower",), load_time=20),
    "writer": ModelSpec(upstream="writer:3b", backends=("tower",)),
    "nomic": ModelSpec(upstream="nomic-embed-text", backends=("tower",), context=8, load_time=20),
    "ada": ModelSpec(upstream="text-embedding-3-small", backends=("provider",)),
}
ROLES = {
    "chat": Role(chain=("coder", "writer"), checks=("not_empty",), ensemble=Ensemble(answers=2)),
    "vectors": Role(chain=("nomic",), checks=("not_empty",), open_fall=(Remedy.CANNED_REPLY,)),
}


def catalog(**more: Any) -> Catalog:
    sections = {"pools": {"gpu": Pool(local=True), "cloud": Pool()}, "backends": BACKENDS, "models": MODELS}
    return Catalog(**{**sections, "roles": ROLES, **more})


def routed(known: Catalog, texts: object = "a lantern", **more: Any) -> Route:
    needs = requirements_for({"input": texts}, "openai", JobKind.EMBEDDING)
    return route(known, lambda urgency: FleetState(), RouteRequest(needs=needs, **more))


def job(**more: Any) -> CompletionJob:
    values = {"id": "job-0001", "producer": "test", "chain": ("nomic",), "body": {"input": "a"}, "deadline": 500.0}
    return CompletionJob(**{**values, "kind": JobKind.EMBEDDING, **more})


@pytest.mark.parametrize(
    ("name", "embeds"),
    [("nomic-embed-text:latest", True), ("BAAI/bge-m3", True), ("qwen3:8b", False), ("bge-reranker-v2-m3", False)],
)
def test_a_model_that_embeds_is_known_by_its_name(name: str, embeds: bool) -> None:
    assert is_known_to_embed(name) is embeds


def test_the_configuration_wins_over_the_name() -> None:
    assert ModelSpec(upstream="embedder", backends=("tower",), embeds=False).kind is JobKind.COMPLETION
    assert ModelSpec(upstream="qwen3", backends=("tower",), embeds=True).kind is JobKind.EMBEDDING


def test_a_request_that_names_no_model_gets_one_that_embeds() -> None:
    assert routed(catalog()).chain == ("nomic",)
    assert routed(catalog(default="chat")).chain == ("nomic",)
    assert routed(catalog(default="vectors")).role == "vectors"
    assert routed(catalog(roles={})).chain == ("nomic",)


def test_a_default_that_embeds_is_not_the_default_of_the_cheapest_chat() -> None:
    needs = requirements_for({"messages": []}, "openai")
    request = RouteRequest(needs=needs, texts=("a function",))
    tasks = {"index": TaskType(chain=("nomic",), words=("function",))}
    assert route(catalog(tasks=tasks), lambda urgency: FleetState(), request).chain[0] == "coder"


def test_without_a_model_that_embeds_the_error_says_what_to_add() -> None:
    with pytest.raises(NothingFits, match="no model of the configuration embeds texts"):
        routed(catalog(models={"coder": MODELS["coder"]}, roles={}))


def test_a_group_of_chats_leaves_the_choice_to_the_default_and_one_that_embeds_makes_it() -> None:
    groups = (
        Group(name="talk", match=("talk",), role="chat"),
        Group(name="notes", match=("notes",), chain=("coder", "ada", "nomic")),
    )
    assert routed(catalog(groups=groups), group="talk").chain == ("nomic",)
    chosen = routed(catalog(groups=groups), group="notes")
    assert chosen.chain == ("ada",)
    assert "the vectors of ada and of another model do not mix" in chosen.considered[-1].reason


def test_a_model_that_may_not_be_called_is_not_replaced_by_another_that_embeds() -> None:
    groups = (Group(name="notes", match=("notes",), chain=("ada", "nomic")),)
    with pytest.raises(NothingFits, match="the vectors of ada and of another model do not mix"):
        routed(catalog(groups=groups), group="notes", local_only=True)


def test_each_text_must_fit_into_the_context_alone() -> None:
    assert routed(catalog(), ["one two three four"] * 9).chain == ("nomic",)
    with pytest.raises(NothingFits, match="its context is 8 tokens, the prompt has at least 9"):
        routed(catalog(), ["1 2 3 4 5 6 7 8 9"], role="vectors")
    with pytest.raises(NothingFits, match="at least 10"):
        routed(catalog(), [[1] * 10, [2]], role="vectors")


def test_a_chain_with_two_kinds_or_two_models_that_embed_is_refused() -> None:
    with pytest.raises(ValueError, match="the vectors of two models do not mix: such a chain has one model"):
        catalog(roles={"mixed": Role(chain=("nomic", "coder"))})


def test_a_model_that_embeds_cannot_be_at_a_backend_of_anthropics_protocol() -> None:
    backends = {**BACKENDS, "provider": Backend(url="https://example.invalid", pool="cloud", protocol="anthropic")}
    with pytest.raises(ValueError, match="speaks Anthropic's protocol, which has no embeddings"):
        catalog(backends=backends)


def test_an_engine_that_would_both_embed_and_complete_is_refused_with_both_models() -> None:
    engine = Backend(url="http://127.0.0.1:8391", pool="gpu", embedded=True)
    with pytest.raises(ValueError, match="nomic embeds and writer completes at tower: an engine does one of them"):
        catalog(backends={**BACKENDS, "tower": engine})
    apart = {**MODELS, "nomic": ModelSpec(upstream="nomic-embed-text", backends=("other",), context=8)}
    backends = {**BACKENDS, "tower": engine, "other": engine.model_copy(update={"url": "http://127.0.0.1:8392"})}
    assert catalog(backends=backends, models=apart).models["nomic"].kind is JobKind.EMBEDDING


def test_nothing_that_concerns_texts_applies_to_vectors() -> None:
    known, answer = catalog(), Completion(text="", finish_reason="stop", body={})
    assert check_answer(answer, job(role="vectors"), known, lambda schema, value: None) is answer
    assert ensemble_for(job(role="chat"), known) is None
    assert allowed_remedies(job(role="vectors"), known) == (Remedy.FAIL,)
    assert Remedy.HOLD in allowed_remedies(job(), known)
    assert Remedy.CANNED_REPLY not in allowed_remedies(job(urgency=Urgency.INTERACTIVE), known)


def test_a_call_for_vectors_has_time_to_load_its_model_and_no_limit_of_a_stream() -> None:
    step = decide(job(urgency=Urgency.INTERACTIVE), catalog(), (), Conditions("nomic"), 0.0)
    assert isinstance(step, Call)
    assert (step.timeout, step.stream_limits) == (110.0, None)


def test_vectors_are_packed_and_read_back() -> None:
    body = embeddings_body([pack_vector([0.5, -2.0]), pack_vector([1.0, 0.25])], "nomic", None)
    assert [unpack_vector(packed) for packed in packed_vectors(body)] == [[0.5, -2.0], [1.0, 0.25]]
    assert body["usage"]["prompt_tokens"] == 0


def test_inputs_are_texts_or_lists_of_tokens() -> None:
    assert inputs_of({"input": "a"}) == ["a"]
    assert inputs_of({"input": [1, 2]}) == [[1, 2]]
    assert inputs_of({"input": ["a", "b"]}) == ["a", "b"]
    assert inputs_of({"input": 5}) == []


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan, 1e39])
def test_a_vector_has_finite_numbers_alone(number: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        pack_vector([1.0, number])


def test_a_vector_in_base64_is_packed_again_as_it_was():
    packed = pack_vector([0.5, -2.0])
    assert repack_vector(packed) == packed
    with pytest.raises(ValueError, match="not finite"):
        repack_vector("AADAfwAAAAA=")
