"""A probe never loads a model on a machine of the owner, and its breaker recovers all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from benchmarks.server import find_free_port
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.retry_policy import RetryPolicy
from openfall.router_core.jobs.outcome import Completion, Failure, Outcome
from openfall.router_core.state.breakers import list_breakers
from openfall.router_core.vocabulary import BreakerState, ErrorClass, Urgency
from openfall.workers.backends.health_check import check, probe_without_load
from tests.fakes.ollama import FakeModel, OllamaFake, ollama_fake
from tests.worker_harness import Fleet, running_fleet
from tests.workers.backends.conftest import engine as engine
from tests.workers.backends.protocol_clients import MODEL, adapter, adapter_to, run

SPEC = ModelSpec(upstream=MODEL, backends=("tower",), context=1024, timeout=20, max_tokens=4)
GIANT = FakeModel("llama3.1:70b")


def probe_at(engine: str, spec: ModelSpec, *models: FakeModel, load: bool = False) -> tuple[Outcome | None, list[str]]:
    """The outcome of a probe, and what it loaded."""

    async def work() -> tuple[Outcome | None, list[str]]:
        async with ollama_fake(engine, models) as fake, adapter("ollama", fake.url) as backend:
            if load:
                assert await backend.load(spec.upstream, spec.context, 10) is None
            before = len(fake.memory.loads)
            return await probe_without_load(backend, spec), fake.memory.loads[before:]

    return run(work())


def test_a_probe_of_a_40_gb_model_that_is_not_in_memory_loads_nothing(engine: str) -> None:
    spec = ModelSpec(upstream="llama3.1:70b", backends=("tower",), vram_gb=40)
    assert probe_at(engine, spec, FakeModel(MODEL), GIANT) == (None, [])


def test_a_model_in_memory_gets_the_prompt(engine: str) -> None:
    outcome, loads = probe_at(engine, SPEC, FakeModel(MODEL), load=True)
    assert isinstance(outcome, Completion)
    assert loads == []


def test_a_model_that_its_endpoint_does_not_list_is_not_installed(engine: str) -> None:
    outcome, _ = probe_at(engine, SPEC, GIANT)
    assert isinstance(outcome, Failure)
    assert outcome.error_class is ErrorClass.NOT_INSTALLED


def test_a_health_check_says_that_a_model_is_not_installed_and_loads_nothing() -> None:
    async def work() -> tuple[list[tuple[bool, bool | None]], list[str]]:
        async with ollama_fake("http://127.0.0.1:9", [GIANT]) as fake, adapter("ollama", fake.url) as backend:
            specs = (SPEC, ModelSpec(upstream=GIANT.name, backends=("tower",)))
            checks = [await check(backend, spec) for spec in specs]
            return [(result.ok, result.failure is None) for result in checks], fake.memory.loads

    assert run(work()) == ([(False, False), (True, True)], [])


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
def test_an_endpoint_that_does_not_say_what_is_in_memory_gets_the_prompt(engine: str, protocol: str) -> None:
    async def work() -> Outcome | None:
        async with adapter_to(protocol, engine) as backend:  # type: ignore[arg-type]
            return await probe_without_load(backend, SPEC)

    assert isinstance(run(work()), Completion)


def test_an_endpoint_that_is_gone_fails_the_probe() -> None:
    async def work() -> Outcome | None:
        async with adapter("ollama", f"http://127.0.0.1:{find_free_port()}") as backend:
            return await probe_without_load(backend, SPEC)

    outcome = run(work())
    assert isinstance(outcome, Failure)
    assert outcome.error_class is ErrorClass.CONNECTION


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.02)


def test_a_breaker_of_a_model_that_failed_to_load_recovers_with_the_job_that_wants_it(
    engine: str, redis_url: str, tmp_path: Path
) -> None:
    """Its probes load nothing; the first job loads it. While that fails, each trial is one call."""

    async def story(fake: OllamaFake, fleet: Fleet) -> None:
        async def state() -> BreakerState:
            return (await list_breakers(fleet.link))[0].state

        async def has_closed() -> bool:
            return await state() is BreakerState.CLOSED

        await fleet.accept("job-00000001", ("small",), Urgency.INTERACTIVE)
        await until(lambda: has_opened(fleet))
        loads = len(fake.memory.loads)
        await until(has_closed)
        assert len(fake.memory.loads) == loads, "a probe loads nothing"
        (own,) = fake.models.values()
        own.fault = None
        await fleet.accept("job-00000002", ("small",), Urgency.INTERACTIVE)
        await fleet.until("job-00000002", "done", seconds=60)
        assert await has_closed()

    async def has_opened(fleet: Fleet) -> bool:
        return any(record.state is not BreakerState.CLOSED for record in await list_breakers(fleet.link))

    async def main() -> None:
        async with ollama_fake(engine, [FakeModel(MODEL, fault="oom")]) as fake:
            catalog = Catalog(
                backends={"tower": Backend(url=fake.url, pool="gpu", protocol="ollama")},
                models={"small": SPEC},
                breakers=BreakerPolicy(open_for=0.5, jitter=0, slow_start=0),
                retry=RetryPolicy(max_retries=0),
            )
            async with running_fleet(redis_url, tmp_path, catalog, "gpu") as fleet:
                await story(fake, fleet)

    asyncio.run(main())
