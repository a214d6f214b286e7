"""From the request of a caller to a job. It needs no Redis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openfall.config import LoadedConfig, Settings
from openfall.producers.errors import BadRequest
from openfall.producers.job_request import FleetView, JobRequest, SubmitOptions, prepare
from openfall.producers.prompt import Prompt
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.caller_groups import Group
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.roles_and_tasks import Role, TaskType
from openfall.router_core.jobs.envelope import pack_job, unpack_job
from openfall.router_core.jobs.job import CompletionJob, ConsideredModel
from openfall.router_core.routing.fleet_state import Blocked, FleetState, ModelState
from openfall.router_core.vocabulary import BlockReason, Urgency

CATALOG = Catalog(
    backends={
        "tower": Backend(url="http://127.0.0.1:8080", pool="gpu"),
        "provider": Backend(url="https://example.invalid/v1", pool="cloud"),
    },
    models={
        "coder": ModelSpec(upstream="coder:32b", backends=("tower",), context=100),
        "haiku": ModelSpec(upstream="haiku-4-5", backends=("provider",), context=200_000, sampling_params=False),
    },
    roles={
        "chat": Role(chain=("coder",), urgency=Urgency.INTERACTIVE),
        "ace": Role(chain=("haiku", "coder")),
        "away": Role(chain=("haiku",)),
    },
    tasks={"code": TaskType(chain=("coder", "haiku"), words=("function",))},
    groups=(Group(name="family", match=("family:*",), role="ace", local_only=True),),
)
LOADED = LoadedConfig(CATALOG, Settings(source=Path("rack"), data_dir=Path("rack")), Path("rack"))
HI = [{"role": "user", "content": "hi"}]


def prepare_job(prompt: Prompt = "hi", fleet: FleetState | None = None, **options: Any) -> CompletionJob:
    request = JobRequest(prompt, SubmitOptions(**options))  # type: ignore[typeddict-item]
    return prepare(LOADED, "me", request, FleetView(lambda urgency: fleet or FleetState(), 1000.0))[0]


def test_a_job_keeps_its_role_task_and_group() -> None:
    job = prepare_job(role="ace", task="code", group="family:ann")
    assert (job.role, job.task, job.group, job.local_only) == ("ace", "code", "family", True)
    assert (job.chain, str(job.urgency)) == (("coder",), "background")
    assert job.reason == "role ace: coder; haiku left out: group family is local-only"


def test_a_job_keeps_the_chain_as_configured_only_where_its_own_chain_differs() -> None:
    shut = Blocked(BlockReason.BREAKER, 1060.0, "its breaker is open for 60 s more")
    plain = prepare_job(role="ace")
    assert (plain.configured_chain, plain.as_configured) == ((), ("haiku", "coder"))
    assert b"configured_chain" not in pack_job(plain)
    reordered = prepare_job(role="ace", fleet=FleetState({"haiku": ModelState(blocked=shut)}), urgency="interactive")
    assert (reordered.chain, reordered.as_configured) == (("coder", "haiku"), ("haiku", "coder"))
    excluded = prepare_job(role="ace", local_only=True)
    assert (excluded.chain, excluded.as_configured) == (("coder",), ("haiku", "coder"))
    assert unpack_job(pack_job(excluded), 0.0) == excluded


def test_considered_models_survive_the_envelope() -> None:
    job = prepare_job(role="ace", temperature=0.3)
    assert job.considered == (
        ConsideredModel(model="haiku", reason="1st in role ace; without temperature, which it does not accept"),
        ConsideredModel(model="coder", reason="2nd in role ace"),
    )
    assert unpack_job(pack_job(job), 0.0) == job


def test_a_single_considered_model_is_not_listed() -> None:
    assert prepare_job(role="chat").considered == ()
    assert [model.model for model in prepare_job(role="ace", local_only=True).considered] == ["coder", "haiku"]


@pytest.mark.parametrize("model", [{"model": "auto"}, {}])
def test_auto_classifies_by_the_words_of_the_prompt(model: dict[str, str]) -> None:
    assert prepare_job("write a function", **model).task == "code"
    assert prepare_job({"model": "auto", "messages": [{"role": "user", "content": "a function"}]}).task == "code"
    assert prepare_job("hello", **model).role == "chat"


def test_auto_overrides_the_model_of_a_body() -> None:
    assert prepare_job({"model": "haiku", "messages": HI}, model="auto").role == "chat"


@pytest.mark.parametrize(
    ("model", "expected"),
    [("ace", ("ace", None)), ("code", (None, "code")), ("haiku", (None, None)), ("", ("chat", None))],
)
def test_the_model_of_a_body_is_a_role_a_task_or_a_model(model: str, expected: tuple[Any, Any]) -> None:
    job = prepare_job({"model": model, "messages": HI})
    assert (job.role, job.task) == expected
    assert "model" not in job.body


def test_an_option_overrides_the_model_of_a_body() -> None:
    assert prepare_job({"model": "gpt-9", "messages": HI}, task="code").task == "code"


def test_a_body_of_another_dialect_stays_as_it_is() -> None:
    body = {
        "model": "ace",
        "stream": True,
        "max_tokens": 5,
        "system": "Be brief",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}
        ],
    }
    job = prepare_job(body, dialect="anthropic")
    assert (job.dialect, job.role, job.stream) == ("anthropic", "ace", True)
    assert job.body == {key: value for key, value in body.items() if key not in ("model", "stream")}


def test_requirements_follow_the_dialect_of_the_body() -> None:
    body = {"messages": HI, "options": {"temperature": 0.1}}
    assert "without temperature" in prepare_job(body, role="ace", dialect="ollama").considered[0].reason
    assert "without" not in prepare_job(body, role="ace").considered[0].reason


def test_a_prompt_too_long_for_the_first_model_routes_to_the_next() -> None:
    job = prepare_job("word " * 101, task="code")
    assert job.chain == ("haiku",)
    assert job.reason.endswith("coder left out: its context is 100 tokens, the prompt has at least 101")


def test_a_job_that_fits_no_model_is_refused_with_a_remedy_and_without_its_prompt() -> None:
    with pytest.raises(BadRequest) as caught:
        prepare_job("secret " * 101, role="chat")
    assert str(caught.value) == (
        "no model can take this job (coder: its context is 100 tokens, the prompt has at least 101). "
        "Of the other models haiku could: name it as the model, or add it to the chain."
    )


def test_a_local_only_job_never_routes_to_the_cloud() -> None:
    with pytest.raises(BadRequest, match="haiku: the job is local-only"):
        prepare_job(role="away", local_only=True)


def test_the_state_of_the_fleet_decides_the_first_queue() -> None:
    shut = Blocked(BlockReason.BREAKER, 1060.0, "its breaker is open for 60 s more")
    request = JobRequest("hi", SubmitOptions(role="ace", urgency="interactive"))
    job, terms = prepare(
        LOADED, "me", request, FleetView(lambda urgency: FleetState({"haiku": ModelState(blocked=shut)}), 1000.0)
    )
    assert (job.chain, terms.queue) == (("coder", "haiku"), "gpu.coder.interactive")
    assert job.considered[1].reason == "moved back: its breaker is open for 60 s more"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"task": "cod"}, UnknownName, "unknown task 'cod'. Did you mean 'code'?"),
        ({"role": ""}, UnknownName, "unknown role ''. Known: ace, away, chat."),
        ({"dialect": "openia"}, UnknownName, "unknown dialect 'openia'. Did you mean 'openai'?"),
        ({"local_ony": True}, UnknownName, "unknown option 'local_ony'. Did you mean 'local_only'?"),
        (
            {"tools": []},
            UnknownName,
            "unknown option 'tools'. Did you mean a field of the whole request, as in "
            '{"messages": [...], "tools": ...}?',
        ),
        (
            {"system": "You are a cat."},
            UnknownName,
            "unknown option 'system'. Did you mean a message, as in "
            '[{"role": "system", "content": ...}, {"role": "user", "content": ...}]?',
        ),
        ({"role": "ace", "model": "haiku"}, BadRequest, "give a role or a model, not both"),
    ],
)
def test_an_invalid_option_raises_with_a_suggestion(options: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        prepare_job(**options)
    assert str(caught.value) == words


def test_an_empty_catalog_is_reported() -> None:
    empty = LoadedConfig(Catalog(), LOADED.settings, LOADED.source)
    with pytest.raises(BadRequest, match="no roles, no tasks and no models"):
        prepare(empty, "me", JobRequest("hi"))
