"""Local-only jobs never leave the local pools; nor does any job while the local-only switch is on."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.urgency_policy import Cloud, UrgencyPolicy
from openfall.router_core.state import job_events
from openfall.router_core.state.fleet_snapshot import fetch_fleet_snapshot
from openfall.router_core.state.held_jobs import replay_held
from openfall.router_core.state.operator_switches import set_local_only
from openfall.router_core.vocabulary import Urgency
from tests.worker_harness import Fleet, eventually, healthy_upstream, running_fleet, unused_url

JOBS = 500
URGENCIES = tuple(Urgency)
SLOTS = 8


def build_catalog(local: str, cloud: str, start_within: float = 1.0) -> Catalog:
    """A local model and one in the cloud, with a short `start_within` for every urgency."""
    soon = {
        urgency: UrgencyPolicy(start_within=start_within, expires_after=600, allow_cloud=Cloud.YES)
        for urgency in Urgency
    }
    return Catalog(
        backends={
            "box": Backend(url=local, pool="gpu", slots=64),
            "sky": Backend(url=cloud, pool="cloud", slots=SLOTS),
        },
        models={
            "small": ModelSpec(upstream="small", backends=("box",), timeout=5),
            "big": ModelSpec(upstream="big", backends=("sky",), timeout=5),
        },
        urgency=soon,
    )


async def claims_at(fleet: Fleet, jobs: list[str], backend: str) -> dict[str, list[float]]:
    """When each job was claimed for that backend (epoch seconds, server clock)."""
    events = {job: await job_events.read_events(fleet.link, job) for job in jobs}
    return {
        job: [row["at"] / 1000 for row in rows if row["event"] == "started" and row["backend"] == backend]
        for job, rows in events.items()
    }


@pytest.mark.slow
def test_500_local_only_jobs_stay_local_though_every_local_backend_is_down(redis_url, tmp_path):
    async def story():
        async with (
            healthy_upstream() as cloud,
            running_fleet(
                redis_url, tmp_path, build_catalog(unused_url(), cloud.url), "gpu", "cloud", "degrade"
            ) as fleet,
        ):
            jobs = [
                await fleet.accept(
                    f"local-{n:05}", ("small", "big"), URGENCIES[n % 3], local_only=True, stream=n % 2 == 0
                )
                for n in range(JOBS)
            ]
            await wait_until_late_and_swept(fleet, jobs)
            records = [await fleet.store.record(job) for job in jobs]
            assert {record.state for record in records} <= {"queued", "scheduled", "held"}
            assert not [record.queue for record in records if record.queue.startswith("cloud.")]
            assert not any(any(times) for times in (await claims_at(fleet, jobs, "sky")).values())
            assert {attempt.backend for record in records for attempt in record.attempts} == {"box"}
            # The reason is visible: a held job has its own, the others have that of their model.
            assert all(record.hold_detail for record in records if record.state == "held")
            for urgency in Urgency:
                blocked = (
                    (await fetch_fleet_snapshot(fleet.link, fleet.catalog)).fleet_state(urgency).model("small").blocked
                )
                assert blocked is not None
                assert "failures in a row (connection" in blocked.detail or "its probe failed" in blocked.detail
            assert cloud.calls == []

    asyncio.run(story())


async def wait_until_late_and_swept(fleet: Fleet, jobs: list[str]) -> None:
    """Return when every job is past its `start_within` and a sweep has looked after it since."""
    last = await fleet.store.record(jobs[-1])
    late = (last.accepted_at + 1.0) * 1000

    async def unswept() -> int:
        return int(await fleet.link.command("ZCOUNT", "of:unfinished", "-inf", late))

    async with asyncio.timeout(60):
        while await fleet.now() * 1000 <= late or await unswept():
            await asyncio.sleep(0.05)


def test_a_local_only_job_in_a_cloud_queue_is_held_and_so_is_its_replay(redis_url, tmp_path):
    async def story():
        async with (
            healthy_upstream() as cloud,
            running_fleet(redis_url, tmp_path, build_catalog(unused_url(), cloud.url), "cloud", "degrade") as fleet,
        ):
            jobs = [
                await fleet.accept(f"wired-{n:05}", ("small", "big"), URGENCIES[n % 3], local_only=True,
                                  queue=f"cloud.big.{URGENCIES[n % 3]}")
                for n in range(12)
            ]  # fmt: skip
            for _ in range(2):
                for job in jobs:
                    record = await fleet.until(job, "held")
                    assert (record.held_for, record.attempts) == ("local_only", ())
                    assert "may not leave the local pools" in record.hold_detail
                    assert await replay_held(fleet.link, job) == "queued"
            for job in jobs:
                await fleet.until(job, "held")
            # By hand, with a Redis command: onto a list that a cloud worker drains.
            stray = await fleet.accept("stray-00001", ("small", "big"), Urgency.BACKGROUND, local_only=True)
            await fleet.link.command("RPUSH", "rq:queue:cloud.big.background", stray)
            await fleet.link.command("RPUSH", "of:wakeup:cloud.big.background", "1")
            await wait_until_empty(fleet, "cloud.big.background")
            assert (await fleet.store.record(stray)).queue == "gpu.small.background"
            assert cloud.calls == []

    asyncio.run(story())


async def wait_until_empty(fleet: Fleet, queue: str) -> None:
    async with asyncio.timeout(60):
        while await fleet.link.command("LLEN", f"rq:queue:{queue}"):
            await asyncio.sleep(0.02)


@pytest.mark.slow
def test_the_local_only_switch_stops_cloud_calls_and_moves_jobs_to_local_models(redis_url, tmp_path):
    async def story():
        async with (
            healthy_upstream(latency=0.05) as cloud,
            healthy_upstream() as local,
            running_fleet(
                redis_url, tmp_path, build_catalog(local.url, cloud.url, 4.0), "gpu", "cloud", "degrade"
            ) as fleet,
        ):
            chains = (("big", "small"), ("big",))
            jobs = [await fleet.accept(f"cloud-{n:05}", chains[n % 2], URGENCIES[n % 3]) for n in range(JOBS)]
            await eventually(lambda: len(cloud.calls) >= 3 * SLOTS)
            await set_local_only(fleet.link, True, "the line is tapped")
            acknowledged = await fleet.now()
            # Jobs claimed before may still be in flight, at most one per slot. No other is.
            claims = sorted(at for times in (await claims_at(fleet, jobs, "sky")).values() for at in times)
            in_flight = int(await fleet.link.command("ZCARD", "of:leases:sky"))
            assert in_flight <= SLOTS
            await wait_until_settled(fleet, jobs)
            assert [
                at for times in (await claims_at(fleet, jobs, "sky")).values() for at in times if at > acknowledged
            ] == []
            assert sum(at > acknowledged for at in cloud.calls) <= SLOTS
            ended = {job: await fleet.store.record(job) for job in jobs}
            outcomes = Counter((chain_kind(n), outcome(ended[job])) for n, job in enumerate(jobs))
            assert set(outcomes) <= {("both", "sky"), ("both", "box"), ("alone", "sky"), ("alone", "held")}
            assert outcomes["both", "box"] == len(local.calls)
            assert outcomes["both", "box"] > 0
            assert outcomes["both", "sky"] + outcomes["alone", "sky"] == len(cloud.calls) >= len(claims)
            held = [record for record in ended.values() if record.state == "held"]
            assert {record.held_for for record in held} == {"local_only"}
            assert all("local-only switch is on" in record.hold_detail for record in held)
            moved = [job for n, job in enumerate(jobs) if chain_kind(n) == "both" and outcome(ended[job]) == "box"]
            reasons = [(await fleet.moves(job))[0]["why"] for job in moved]  # on a busy machine some were late before
            assert any("local-only switch is on" in reason for reason in reasons)
            # With the switch off again, a held job is answered by its own model.
            await set_local_only(fleet.link, False)
            assert outcome(await fleet.until(held[0].id, "done")) == "sky"

    asyncio.run(story())


def chain_kind(number: int) -> str:
    return ("both", "alone")[number % 2]


def outcome(record) -> str:
    """The backend that answered, or the state of a job without an answer."""
    return record.result.backend if record.result is not None else record.state


async def wait_until_settled(fleet: Fleet, jobs: list[str]) -> None:
    async with asyncio.timeout(90):
        for job in jobs:
            while (await fleet.link.command("HGET", f"of:job:{job}", "state")) not in (b"held", b"done"):
                await asyncio.sleep(0.02)
