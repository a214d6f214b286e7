"""An outage by each kind of failure: the notice on Discord, the breaker and the next job name what really happened."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.open_fall_policy import OpenFallPolicy
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.catalog.urgency_policy import UrgencyPolicy
from openfall.router_core.jobs.outcome import cause_in_brackets
from openfall.router_core.state.breakers import list_breakers
from openfall.router_core.state.fleet_snapshot import fetch_fleet_snapshot
from openfall.router_core.state.incidents import open_incidents
from openfall.router_core.vocabulary import ErrorClass, Remedy, Urgency
from openfall.workers.outbox.outbox_settings import OutboxSettings
from tests.fakes.discord import DiscordFake, running
from tests.faults import answer, fault_server, stall
from tests.worker_harness import Fleet, eventually, running_fleet, unused_url


def build_catalog(url: str, timeout: float = 30.0) -> Catalog:
    return Catalog(
        backends={"api": Backend(url=url, pool="cloud", api_key="a-revoked-key")},  # type: ignore[arg-type]
        models={"opus": ModelSpec(upstream="opus-4", backends=("api",), timeout=timeout)},
        roles={"ace": Role(chain=("opus",))},
        urgency={word: UrgencyPolicy(start_within=30.0, expires_after=120) for word in Urgency},
        breakers=BreakerPolicy(consecutive_failures=1, open_for=60, jitter=0),
        open_fall=OpenFallPolicy(remedies=dict.fromkeys(Urgency, (Remedy.HOLD,))),
    )  # fmt: skip


def outage(
    redis_url: str, home: Path, catalog: Catalog, story: Callable[[Fleet, DiscordFake], Awaitable[object]]
) -> Awaitable[None]:
    async def run() -> None:
        async with running(DiscordFake()) as discord:
            outbox = OutboxSettings(discord=discord.url)
            async with running_fleet(redis_url, home, catalog, "cloud", "degrade", outbox=outbox) as fleet:
                await story(fleet, discord)

    return run()


async def fall_twice(fleet: Fleet, discord: DiscordFake, cause: str) -> None:
    """One job falls after a call, and one because nothing may be called any more. Both have the same cause."""
    for number in (1, 2):
        job = await fleet.accept(f"job-0000{number}", ("opus",), Urgency.INTERACTIVE, role="ace")
        await fleet.until(job, "held")
    (incident,) = await open_incidents(fleet.link)
    assert dict(incident.causes) == {cause: 2}
    await eventually(lambda: discord.embeds)
    fields = {field["name"]: field["value"] for field in discord.embeds[0]["fields"]}
    assert fields["Causes"].removeprefix("1 × ").removeprefix("2 × ") == cause


STATUSES = [
    (529, "overloaded (HTTP 529)"),
    (502, "connection (HTTP 502)"),
    (504, "timeout (HTTP 504)"),
    (429, "rate_limited (HTTP 429)"),
    (401, "auth (HTTP 401)"),
    (402, "out_of_credits (HTTP 402)"),
    (403, "forbidden (HTTP 403)"),
]


@pytest.mark.parametrize(("status", "cause"), STATUSES, ids=[str(status) for status, _ in STATUSES])
def test_the_notice_names_the_cause_that_opened_the_breaker(
    redis_url: str, tmp_path: Path, status: int, cause: str
) -> None:
    async def story(fleet: Fleet, discord: DiscordFake) -> None:
        await fall_twice(fleet, discord, cause)
        blocked = (
            (await fetch_fleet_snapshot(fleet.link, fleet.catalog)).fleet_state(Urgency.BATCH).model("opus").blocked
        )
        assert blocked is not None
        assert blocked.cause_text == cause
        assert cause in blocked.detail or f"({cause_in_brackets(cause)})" in blocked.detail
        assert cause.startswith(blocked.error_class)

    async def main() -> None:
        refusal = answer({"error": {"message": "not now"}}, status, retry_after="600")
        async with fault_server(refusal) as server:
            await outage(redis_url, tmp_path, build_catalog(server.url), story)

    asyncio.run(main())


def test_the_notice_names_a_refused_connection(redis_url: str, tmp_path: Path) -> None:
    async def story(fleet: Fleet, discord: DiscordFake) -> None:
        await fall_twice(fleet, discord, "connection (connection refused)")

    asyncio.run(outage(redis_url, tmp_path, build_catalog(unused_url()), story))  # type: ignore[arg-type]


def test_the_notice_names_a_timeout_and_the_breaker_keeps_its_class(redis_url: str, tmp_path: Path) -> None:
    async def story(fleet: Fleet, discord: DiscordFake) -> None:
        await fall_twice(fleet, discord, "timeout")
        (breaker,) = await list_breakers(fleet.link)
        assert (breaker.error, breaker.http_status, breaker.cause) == (ErrorClass.TIMEOUT, None, "timeout")

    async def main() -> None:
        async with fault_server(stall) as server:
            await outage(redis_url, tmp_path, build_catalog(server.url, timeout=0.5), story)

    asyncio.run(main())


def test_an_incident_counts_each_cause_and_not_connection_for_all(redis_url: str, tmp_path: Path) -> None:
    async def story(fleet: Fleet, discord: DiscordFake) -> None:
        job = await fleet.accept("job-00001", ("opus", "sonnet", "haiku"), Urgency.INTERACTIVE, role="ace")
        await fleet.until(job, "held")
        later = await fleet.accept("job-00002", ("opus", "sonnet", "haiku"), Urgency.INTERACTIVE, role="ace")
        await fleet.until(later, "held")
        (incident,) = await open_incidents(fleet.link)
        assert dict(incident.causes) == {f"overloaded (HTTP {status})": 2 for status in (500, 503, 529)}

    async def main() -> None:
        refusals: list[Any] = [answer({"error": {"message": "not now"}}, status) for status in (529, 500, 503)]
        async with fault_server(*refusals) as server:
            catalog = build_catalog(server.url)
            models = {name: ModelSpec(upstream=name, backends=("api",)) for name in ("opus", "sonnet", "haiku")}
            roles = {"ace": Role(chain=("opus", "sonnet", "haiku"))}
            by = catalog.model_copy(update={"models": models, "roles": roles})
            async with running_fleet(redis_url, tmp_path, by, "cloud", "degrade") as fleet:
                await story(fleet, DiscordFake())

    asyncio.run(main())
