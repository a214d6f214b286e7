"""A model that hangs: its caller has the next model's answer, or a reply, and sees only what is true."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.open_fall_policy import OpenFallPolicy
from openfall.router_core.catalog.urgency_policy import URGENCY_DEFAULTS
from openfall.router_core.jobs.result import Status
from openfall.router_core.state import job_events, keys
from openfall.router_core.vocabulary import ErrorClass, Remedy, Urgency
from tests.chaos.silent_upstream import serving
from tests.worker_harness import running_fleet

CHAIN = ("local", "near", "far")
POLICY = URGENCY_DEFAULTS[Urgency.INTERACTIVE].model_copy(
    update={"reply_within": 10.0, "first_token_timeout": 8.0, "stall_timeout": 8.0}
)
SHORT = {"first_token_timeout": 0.4, "stall_timeout": 0.4}


def build(url: str, hanging: Collection[str]) -> Catalog:
    """An Ollama, Anthropic's and OpenAI's protocol, all in one pool. The limits of the models that hang are short."""
    limits = {name: SHORT if name in hanging else {} for name in CHAIN}
    return Catalog(
        backends={
            "tower": Backend(protocol="ollama", url=url, pool="gpu"),
            "maker": Backend(protocol="anthropic", url=url, pool="gpu"),
            "rack": Backend(protocol="openai", url=url, pool="gpu"),
        },
        models={
            "local": ModelSpec(upstream="local", backends=("tower",), load_time=0.3, **limits["local"]),
            "near": ModelSpec(upstream="near", backends=("maker",), **limits["near"]),
            "far": ModelSpec(upstream="far", backends=("rack",), **limits["far"]),
        },
        urgency=URGENCY_DEFAULTS | {Urgency.INTERACTIVE: POLICY},
        breakers=BreakerPolicy(consecutive_failures=100),
        open_fall=OpenFallPolicy(remedies=OpenFallPolicy().remedies | {Urgency.INTERACTIVE: (Remedy.CANNED_REPLY,)}),
    )


@pytest.fixture
def serve(redis_url, tmp_path):
    """`serve(prompt)`: the result of a job with this prompt, its events, and the counts in the breakers' windows."""

    def run(prompt: str, *, loaded=("local",), chain=CHAIN, hanging=("local",), urgency=Urgency.INTERACTIVE):
        async def main():
            async with AsyncExitStack() as stack:
                upstream = await stack.enter_async_context(serving(loaded))
                catalog = build(upstream.url, hanging)
                fleet = await stack.enter_async_context(running_fleet(redis_url, tmp_path, catalog, "gpu", "degrade"))
                job_id = await fleet.accept("job-00001", chain, urgency, prompt=prompt)
                await fleet.until(job_id, "done")
                counts = await fleet.link.command("HGETALL", keys.BREAKER_WINDOW + "tower/local")
                names = {name.decode().partition(":")[2] for name in counts[::2]}
                return await fleet.store.result(job_id), await job_events.read_events(fleet.link, job_id), names

        return asyncio.run(main())

    return run


@pytest.mark.parametrize("fault", ["hang_before_head", "hang_after_head", "drip", "refuse"])
def test_when_the_first_model_hangs_an_interactive_caller_has_the_answer_of_the_next(serve, fault):
    result, events, _ = serve(f"fault={fault}@local")
    assert (result.status, result.model) == (Status.ANSWERED, "near")
    first = result.attempts[0]
    if fault != "refuse":
        assert first.error is ErrorClass.TIMEOUT
        assert first.detail == "no first token within 0.4 s"
    assert not {event["event"] for event in events} & {"loading", "writing"}, "nothing is claimed of a hang"
    assert any(first.detail in event.get("why", "") for event in events), "the next event says why it goes on"


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["hang_before_head", "hang_after_head", "drip"])
def test_when_every_model_hangs_an_interactive_caller_has_the_reply_of_open_fall(serve, fault):
    result, _, _ = serve(f"fault={fault}@*", hanging=CHAIN)
    assert (result.status, result.degraded_by) == (Status.DEGRADED, Remedy.CANNED_REPLY)
    assert {attempt.error for attempt in result.attempts} == {ErrorClass.TIMEOUT}
    assert set(CHAIN) == {attempt.model for attempt in result.attempts}


def test_a_hanging_call_counts_as_failed_and_as_slow(serve):
    _, _, counts = serve("fault=hang_before_head@local")
    assert {"n", "f", "s"} <= counts


def test_the_caller_sees_at_once_that_a_model_is_loaded_first(serve):
    result, events, _ = serve("fault=load@local", loaded=())
    assert (result.status, result.model) == (Status.ANSWERED, "near")
    names = [event["event"] for event in events]
    assert names[:3] == ["queued", "started", "loading"]
    load = events[2]
    assert (load["model"], load["backend"], load["seconds"], load["expected_seconds"]) == ("local", "tower", 0, 0.3)
    assert result.attempts[0].detail == "no first token within 0.7 s, of which 0.3 s are for loading the model"


def test_a_model_in_memory_is_not_waited_for_as_if_it_were_loaded(serve):
    result, _, _ = serve("fault=hang_before_head@local", loaded=("local",))
    assert result.attempts[0].detail == "no first token within 0.4 s"


def test_an_interactive_caller_who_wants_no_stream_gets_the_whole_answer_with_its_usage(serve):
    result, _, _ = serve("no fault", chain=("near",))
    assert (result.status, result.input_tokens, result.output_tokens) == (Status.ANSWERED, 9, 9)
