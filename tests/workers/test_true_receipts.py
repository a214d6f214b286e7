"""Who answered, whether in place of the first choice, and where: the same fact in results, statistics and receipts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from openfall import AsyncOpenfall
from openfall.config import LoadedConfig, Settings
from openfall.producers.cli.answer_text import show_answer
from openfall.producers.cli.render import receipt
from openfall.router_core.catalog.answer_policy import Ensemble
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.catalog.roles_and_tasks import Role, TaskType
from openfall.router_core.catalog.urgency_policy import UrgencyPolicy
from openfall.router_core.deciding.call_signals import credential_target
from openfall.router_core.jobs.result import Result
from openfall.router_core.state.breakers import BreakerOverride, force_breaker
from openfall.router_core.state.ledger import LedgerEntry, ledger_day, ledger_total, read_ledger
from openfall.router_core.state.operator_switches import set_local_only
from openfall.router_core.vocabulary import BreakerState, Remedy, ServedBy, Urgency
from tests.worker_harness import Fleet, healthy_upstream, running_fleet


def build_catalog(url: str, start_within: float) -> Catalog:
    return Catalog(
        backends={
            "box": Backend(url=url, pool="gpu", slots=8),
            "plan": Backend(url=url, pool="cloud", slots=8, billing=Billing.FLAT, api_key="plan-key"),  # type: ignore[arg-type]
            "api": Backend(url=url, pool="cloud", slots=8, api_key="api-key-of-its-own"),  # type: ignore[arg-type]
        },
        models={
            "own": ModelSpec(upstream="own:8b", backends=("box",), quality={"code": 0.5}),
            "small": ModelSpec(upstream="small:1b", backends=("box",), quality={"code": 0.9}, context=64),
            "flat": ModelSpec(upstream="flat:cloud", backends=("plan",)),
            "opus": ModelSpec(upstream="opus-4", backends=("api",)),
            "sonnet": ModelSpec(upstream="sonnet-4", backends=("api",)),
        },
        roles={
            "ace": Role(chain=("opus", "sonnet", "own")),
            "others": Role(chain=("flat", "opus")),
            "home": Role(chain=("own", "flat")),
            "brief": Role(chain=("small", "own")),
            "alone": Role(chain=("opus",), open_fall=(Remedy.DEFAULT_FALLBACK, Remedy.HOLD)),
            "several": Role(chain=("own", "small", "flat"), ensemble=Ensemble(answers=2)),
        },
        tasks={"code": TaskType(chain=("own", "small"))},
        urgency={word: UrgencyPolicy(start_within=start_within, expires_after=120) for word in Urgency},
        breakers=BreakerPolicy(open_for=60, jitter=0, slow_start=0),
    )  # fmt: skip


class Desk:
    """A producer beside running workers."""

    def __init__(self, fleet: Fleet, llm: AsyncOpenfall) -> None:
        self.fleet, self.llm = fleet, llm

    async def ask(self, prompt: str = "Haruka waves", **options: Any) -> Result:
        return await self.llm.ask(prompt, **options)

    async def open_breaker(self, *targets: str) -> None:
        override = BreakerOverride(BreakerState.OPEN, "repairs")
        for target in targets:
            await force_breaker(self.fleet.link, target, override, self.fleet.catalog.breakers)

    async def ledger(self) -> list[LedgerEntry]:
        return await read_ledger(self.fleet.link, [ledger_day(await self.fleet.now())])


def at_desk(
    redis_url: str, home: Path, story: Callable[[Desk], Awaitable[object]], *pools: str, start_within: float = 30.0
) -> None:
    async def main() -> None:
        async with healthy_upstream() as upstream:
            catalog = build_catalog(upstream.url, start_within)
            async with running_fleet(redis_url, home, catalog, *(pools or ("gpu", "cloud", "degrade"))) as fleet:
                loaded = LoadedConfig(
                    catalog, Settings(source=home, redis=RedisServer(url=redis_url), data_dir=home), home
                )
                async with AsyncOpenfall(redis_url, config=loaded) as llm:
                    await story(Desk(fleet, llm))

    asyncio.run(main())


async def check_fallback(desk: Desk, result: Result, model: str, *, left_home: bool) -> None:
    """The result, the exit code of `--strict` and the ledger state that the model answered in place of the first."""
    assert (result.answered, result.model, result.fallback_used) == (True, model, True), result
    assert show_answer(result, strict=True) == 6
    rows = await desk.ledger()
    assert {row.model: (row.as_fallback, row.left_home) for row in rows if row.as_fallback} == {model: (1, left_home)}


async def open_all_of_ace(desk: Desk) -> Result:
    await desk.open_breaker("api/opus", "api/sonnet")
    return await desk.ask(role="ace")


async def park_the_key_of_the_plan(desk: Desk) -> Result:
    (key,) = desk.fleet.catalog.credentials("plan")
    await desk.open_breaker(credential_target(key))
    return await desk.ask(role="others")


async def exclude_by_local_only(desk: Desk) -> Result:
    return await desk.ask(role="ace", local_only=True)


async def exclude_by_the_switch(desk: Desk) -> Result:
    await set_local_only(desk.fleet.link, True)
    return await desk.ask(role="ace")


async def exclude_by_length(desk: Desk) -> Result:
    return await desk.ask("word " * 80, role="brief")


async def rank_by_urgency(desk: Desk) -> Result:
    return await desk.ask(task="code", urgency="batch")


async def default_fallback(desk: Desk) -> Result:
    await desk.open_breaker("api/opus")
    return await desk.ask(role="alone")


async def replace_in_an_ensemble(desk: Desk) -> Result:
    await desk.open_breaker("box/own", "box/small")
    return await desk.ask(role="several")


async def move_by_the_sweep(desk: Desk) -> Result:
    job = await desk.fleet.accept("job-00001", ("own", "flat"), Urgency.INTERACTIVE, role="home")
    record = await desk.fleet.until(job, "done")
    assert record.result is not None
    return record.result


@pytest.mark.parametrize(
    ("story", "model", "left_home"),
    [
        pytest.param(open_all_of_ace, "own", False, id="open breakers"),
        pytest.param(park_the_key_of_the_plan, "opus", True, id="a parked key"),
        pytest.param(exclude_by_local_only, "own", False, id="local only"),
        pytest.param(exclude_by_the_switch, "own", False, id="the switch of the fleet"),
        pytest.param(exclude_by_length, "own", False, id="a prompt that does not fit"),
        pytest.param(rank_by_urgency, "small", False, id="ranked by urgency"),
        pytest.param(default_fallback, "own", False, id="a default fallback"),
        pytest.param(replace_in_an_ensemble, "flat", True, id="an ensemble without its first choices"),
    ],
)
def test_fallback_used_compares_with_the_first_of_the_configured_chain_whatever_passed_it_over(
    redis_url: str, tmp_path: Path, story: Callable[[Desk], Awaitable[Result]], model: str, left_home: bool
) -> None:
    async def run(desk: Desk) -> None:
        await check_fallback(desk, await story(desk), model, left_home=left_home)

    at_desk(redis_url, tmp_path, run)


def test_a_job_that_the_sweep_moves_before_its_first_call_counts_as_a_fallback_that_left_home(
    redis_url: str, tmp_path: Path
) -> None:
    async def run(desk: Desk) -> None:
        await check_fallback(desk, await move_by_the_sweep(desk), "flat", left_home=True)

    at_desk(redis_url, tmp_path, run, "cloud", start_within=1.0)


def test_an_answer_of_the_first_choice_is_no_fallback_in_any_place_and_costs_the_job_no_byte(
    redis_url: str, tmp_path: Path
) -> None:
    async def run(desk: Desk) -> None:
        queued = await desk.llm.submit("Haruka waves", role="home")
        assert b"configured_chain" not in (await desk.fleet.link.command("GET", f"of:prompt:{queued.id}") or b"")
        for result in (await desk.llm.wait(queued.id), await desk.ask(role="ace"), await desk.ask(role="several")):
            assert (result.fallback_used, show_answer(result, strict=True)) == (False, 0)
        total = ledger_total(await desk.ledger())
        assert (total.calls, total.as_fallback, total.left_home) == (4, 0, 0)

    at_desk(redis_url, tmp_path, run)


def test_every_answer_of_a_parked_flat_plan_is_counted_not_only_that_of_the_job_that_met_the_refusal(
    redis_url: str, tmp_path: Path
) -> None:
    async def run(desk: Desk) -> None:
        await park_the_key_of_the_plan(desk)
        results = [await desk.ask(role="others") for _ in range(4)]
        assert [result.fallback_used for result in results] == [True] * 4
        (row,) = await desk.ledger()
        assert (row.model, row.calls, row.as_fallback, row.left_home) == ("opus", 5, 5, 5)

    at_desk(redis_url, tmp_path, run)


def test_a_result_and_its_receipt_say_local_or_cloud_and_how_many_models_were_tried(
    redis_url: str, tmp_path: Path
) -> None:
    async def run(desk: Desk) -> None:
        local = await desk.ask(role="home")
        assert (local.served_by, local.as_json()["served_by"], local.models_tried) == (ServedBy.LOCAL, "local", 1)
        assert receipt(local).startswith(f"[{local.id[:8]} generated using own@box (local) in ")
        await desk.open_breaker("box/own")
        cloud = await desk.ask(role="home")
        assert (cloud.served_by, cloud.as_json()["served_by"]) == (ServedBy.CLOUD, "cloud")
        assert receipt(cloud).startswith(f"[{cloud.id[:8]} used flat@plan (cloud) instead of own in ")
        several = await desk.ask(role="brief", local_only=True)
        assert several.as_json()["models_tried"] == 1

    at_desk(redis_url, tmp_path, run)
