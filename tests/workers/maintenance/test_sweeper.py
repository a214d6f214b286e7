"""No worker can claim from a queue: its jobs of every urgency are moved or fall, and the reason is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Pool
from openfall.router_core.catalog.urgency_policy import Cloud, UrgencyPolicy
from openfall.router_core.state.breakers import BreakerOverride, force_breaker
from openfall.router_core.state.operator_switches import pause_queue
from openfall.router_core.state.worker_queue import WorkerQueue
from openfall.router_core.state.worker_registry import register
from openfall.router_core.state.worker_subscription import BackendCapacity, QueueSubscription, WorkerIdentity
from openfall.router_core.vocabulary import BreakerState, Urgency
from tests.worker_harness import Fleet, Upstream, healthy_upstream, running_fleet

START_WITHIN = {Urgency.INTERACTIVE: 5.0, Urgency.BACKGROUND: 1.0, Urgency.BATCH: 2.0}
"""An interactive job that moves before its 5 s was not late yet; the others move when they are late."""

Prepare = Callable[[Fleet], Awaitable[object]]


def build_catalog(url: str, **others: float) -> Catalog:
    start_within = START_WITHIN | {Urgency(word): seconds for word, seconds in others.items()}
    return Catalog(
        backends={"box": Backend(url=url, pool="gpu"), "sky": Backend(url=url, pool="cloud", slots=16)},
        models={
            "first": ModelSpec(upstream="first", backends=("box",)),
            "spare": ModelSpec(upstream="spare", backends=("sky",)),
        },
        urgency={
            urgency: UrgencyPolicy(start_within=start_within[urgency], expires_after=600, allow_cloud=Cloud.YES)
            for urgency in Urgency
        },
        breakers=BreakerPolicy(probe_successes=1, jitter=0, slow_start=0, open_for=1),
    )  # fmt: skip


async def check_moves(fleet: Fleet, first: str, words: str, reason: str = "outage") -> dict[str, float]:
    """Accept, for each urgency, a job with a second model and one without, and check that both leave the queue.

    Returns the delay of each move in seconds, by job id.
    """
    jobs = {
        urgency: [await fleet.accept(f"{urgency}-{name}", chain, urgency, queue=f"gpu.{first}.{urgency}")
                  for name, chain in (("two", (first, "spare")), ("one", (first,)))]
        for urgency in Urgency
    }  # fmt: skip
    delays = {}
    for pair, single in jobs.values():
        record = await fleet.until(pair, "done")
        assert record.result is not None
        assert (record.result.answered, record.result.backend) == (True, "sky")
        move, *rest = await fleet.moves(pair)
        assert (move["event"], words in move["why"], rest) == ("queued", True, []), move
        delays[pair] = move["at"] / 1000 - record.accepted_at
        record = await fleet.until(single, "held")
        assert (record.held_for, words in record.hold_detail) == (reason, True), record.hold_detail
        held, *rest = await fleet.moves(single)
        assert (held["event"], words in held["detail"], rest) == ("held", True, [])
        delays[single] = held["at"] / 1000 - record.accepted_at
    return delays


def only_interactive_moved_early(delays: dict[str, float]) -> bool:
    """Whether the interactive jobs moved before they were late, and the others when they were late."""
    return all(
        (seconds < START_WITHIN[urgency]) == (urgency is Urgency.INTERACTIVE)
        for urgency in Urgency
        for job, seconds in delays.items()
        if job.startswith(urgency)
    )


def run(
    redis_url: str, home: Path, story: Callable[[Fleet, Upstream], Awaitable[None]], *pools: str, **more: float
) -> None:
    async def main() -> None:
        async with (
            healthy_upstream() as upstream,
            running_fleet(redis_url, home, build_catalog(upstream.url, **more), *pools) as fleet,
        ):
            await story(fleet, upstream)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("model", "why"),
    [("first", "no live worker serves its queue"), ("gone", "not in the catalog any more")],
    ids=["a pool without workers", "a removed model"],
)
def test_jobs_that_no_worker_serves_are_moved_when_late(redis_url, tmp_path, model, why):
    async def story(fleet, upstream):
        delays = await check_moves(fleet, model, why)
        # A pool whose only worker restarts has the time that its jobs may wait, interactive ones too. A fleet reloads
        # its configuration one worker at a time: the jobs of a new model look the same as those of a removed one.
        assert all(seconds >= 1.0 for seconds in delays.values())
        assert len(upstream.calls) == len(Urgency)

    run(redis_url, tmp_path, story, "cloud", "degrade", interactive=1.5)


def test_jobs_follow_a_model_to_another_pool(redis_url, tmp_path):
    async def story(fleet, upstream):
        jobs = [
            await fleet.accept(f"{urgency}-one", ("spare",), urgency, queue=f"gpu.spare.{urgency}")
            for urgency in Urgency
        ]
        for job in jobs:
            record = await fleet.until(job, "done")
            assert (record.result.backend, len(record.attempts)) == ("sky", 1)
            assert [move["why"] for move in await fleet.moves(job)] == [
                f"{move_from(job)}: not in the catalog any more"
            ]

    run(redis_url, tmp_path, story, "cloud", "degrade", interactive=1.5)


def move_from(job: str) -> str:
    return f"gpu.spare.{job.removesuffix('-one')}"


def test_a_queue_that_a_worker_of_another_configuration_serves_is_left_alone(redis_url, tmp_path):
    async def story(fleet, upstream):
        newer = fleet.catalog.model_copy(update={
            "backends": fleet.catalog.backends | {"desk": Backend(url=upstream.url, pool="desk")},
            "models": fleet.catalog.models | {"new": ModelSpec(upstream="new", backends=("desk",))},
            "pools": fleet.catalog.pools | {"desk": Pool(local=True)},
        })  # fmt: skip
        identity = WorkerIdentity("of-desk-there-1-abcdef", "desk", ("desk.new.background",), ("desk",))
        await register(fleet.link, identity)
        deliveries = WorkerQueue(
            fleet.link, identity, [QueueSubscription("desk.new.background", (BackendCapacity("desk", 4),))]
        )
        await deliveries.beat([])
        job = await fleet.accept("served-elsewhere", ("new",), Urgency.BACKGROUND, queue="desk.new.background")
        late = (await fleet.store.record(job)).accepted_at + START_WITHIN[Urgency.BACKGROUND]
        async with asyncio.timeout(60):
            while float(await fleet.link.command("ZSCORE", "of:unfinished", job)) <= late * 1000:  # not swept as late
                await asyncio.sleep(0.05)
        # The one worker sweeps again only when it has moved every job of this sweep.
        marker = await fleet.accept(
            "marker-00001", ("first", "spare"), Urgency.BACKGROUND, queue="gpu.first.background"
        )
        await fleet.until(marker, "done")
        assert (await fleet.store.record(job)).state == "queued"
        assert await fleet.moves(job) == []
        async with running_fleet(redis_url, tmp_path, newer, "desk"):
            assert (await fleet.until(job, "done")).result.backend == "desk"

    run(redis_url, tmp_path, story, "cloud")


def test_interactive_jobs_of_a_paused_queue_are_moved_at_once_but_fall_only_when_late(redis_url, tmp_path):
    async def story(fleet, upstream):
        for urgency in Urgency:
            await pause_queue(fleet.link, f"gpu.first.{urgency}")
        delays = await check_moves(fleet, "first", "is paused", "paused")
        assert delays.pop("interactive-one") >= START_WITHIN[Urgency.INTERACTIVE]
        assert only_interactive_moved_early(delays)
        assert len(upstream.calls) == len(Urgency)

    run(redis_url, tmp_path, story, "gpu", "cloud", "degrade")


def test_jobs_of_an_open_breaker_go_on_or_fall_at_once(redis_url, tmp_path, caplog):
    async def story(fleet, upstream):
        await force_breaker(
            fleet.link, "box/first", BreakerOverride(BreakerState.OPEN, "the fan is off"), fleet.catalog.breakers
        )
        delays = await check_moves(fleet, "first", "its breaker is kept open by an operator (the fan is off)")
        assert all(seconds < (5 if job.startswith("interactive") else 8) for job, seconds in delays.items()), delays
        assert len(upstream.calls) == len(Urgency)

    run(redis_url, tmp_path, story, "gpu", "cloud", "degrade", background=8, batch=8)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert sum(warning.startswith("fell: ") for warning in warnings) == 3
    assert not [warning for warning in warnings if "; falling" in warning], "the record is the one warning of a fall"


@pytest.mark.parametrize("urgency", [Urgency.BACKGROUND, Urgency.BATCH])
def test_a_job_with_hours_does_not_wait_for_a_breaker_beside_an_idle_model(redis_url, tmp_path, urgency):
    async def story(fleet, upstream):
        word = BreakerOverride(BreakerState.OPEN, "the fan is off", 1200.0)
        await force_breaker(fleet.link, "box/first", word, fleet.catalog.breakers)
        job = await fleet.accept("patient-two", ("first", "spare"), urgency, queue=f"gpu.first.{urgency}")
        record = await fleet.until(job, "done")
        assert record.result.backend == "sky"

    run(redis_url, tmp_path, story, "gpu", "cloud", "degrade", background=3600, batch=3600)


def test_jobs_fall_and_do_not_expire_when_a_breaker_is_open_beyond_their_deadline(redis_url, tmp_path):
    async def story(fleet, upstream):
        word = BreakerOverride(BreakerState.OPEN, "the fan is off", 300.0)
        await force_breaker(fleet.link, "box/first", word, fleet.catalog.breakers)
        jobs = [await fleet.accept(f"{urgency}-one", ("first",), urgency, give_up=60) for urgency in Urgency]
        for job in jobs:
            record = await fleet.until(job, "held")
            assert (record.held_for, "the fan is off" in record.hold_detail) == ("outage", True)
        assert upstream.calls == []

    run(redis_url, tmp_path, story, "gpu", "cloud", "degrade")


def test_jobs_that_wait_for_a_breaker_are_answered_when_it_closes(redis_url, tmp_path):
    async def story(fleet, upstream):
        word = BreakerOverride(BreakerState.OPEN, "the fan is off", 3.0)
        await force_breaker(fleet.link, "box/first", word, fleet.catalog.breakers)
        jobs = [await fleet.accept(f"{urgency}-one", ("first",), urgency) for urgency in Urgency]
        for job in jobs:
            record = await fleet.until(job, "done")
            assert (record.result.backend, len(record.attempts)) == ("box", 1)
        assert len(upstream.calls) == len(jobs) + 1  # the health prompt

    # longer than the block, and than the lease of a probe that follows it
    run(redis_url, tmp_path, story, "gpu", "cloud", "degrade", interactive=60, background=60, batch=60)
