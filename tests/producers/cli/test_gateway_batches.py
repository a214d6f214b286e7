"""The batches of the HTTP gateway on the command line."""

from __future__ import annotations

import asyncio
import json

from redis import Redis

from openfall.producers.gateway_batch_status import explain_missing_runner
from openfall.router_core.batch_rules.batch_status import BatchStatus
from openfall.router_core.state import keys
from openfall.router_core.state.batch_claims import claim_batches
from openfall.router_core.state.batches import BatchTerms, create_batch, fetch_batch
from openfall.router_core.state.decoding import MAX_MOMENT_MS
from openfall.router_core.state.redis_connection import RedisConnection
from tests.producers.cli.conftest import Run

BATCH = "batch_0123456789abcdef"


def create(redis_url: str, total: int, **values: object) -> None:
    """A batch at the gateway of which some lines have ended."""

    async def main() -> None:
        async with RedisConnection(redis_url) as link:
            terms = BatchTerms(
                id=BATCH, form="openai", producer="discord", endpoint="/v1/chat/completions", directory="d",
                created_at=1, deadline=2, input_file_id="file-1",
            )  # fmt: skip
            await create_batch(link, terms)
            (claim,) = await claim_batches(link, "d", "runner", 1)
            status = BatchStatus.IN_PROGRESS, (BatchStatus.VALIDATING,)
            assert (await claim.renew(values={"total": total, **values}, status=status)).held

    asyncio.run(main())


def test_batches_of_the_gateway_are_listed_with_their_counts_and_what_stops_them(openfall: Run, redis_url: str) -> None:
    create(redis_url, 9, submitted=5, succeeded=2, errored=1, why="its results cannot be written: no space")
    (row,) = json.loads(openfall("batch", "list", "--json").stdout)
    counts = {name: row[name] for name in ("batch", "lines", "answered", "failed", "waiting", "not_submitted")}
    assert counts == {"batch": BATCH, "lines": 9, "answered": 2, "failed": 1, "waiting": 2, "not_submitted": 4}
    assert row["why"] == "in_progress: its results cannot be written: no space"
    assert BATCH in openfall("batch", "list").stdout


def test_a_batch_of_the_gateway_is_shown_and_cancelled_by_its_id(openfall: Run, redis_url: str) -> None:
    create(redis_url, 3, errors=json.dumps([{"line": 2, "message": "not JSON"}, {}]))
    shown = openfall("batch", "status", BATCH).stdout
    assert "discord" in shown
    assert "line 2: not JSON and 1 more" in shown
    assert openfall("batch", "cancel", BATCH).stdout.startswith(f"{BATCH} is cancelling")
    again = openfall("batch", "cancel", BATCH, "--json")
    assert json.loads(again.stdout) == {"batch": BATCH, "before": "cancelling", "status": "cancelling"}
    Redis.from_url(redis_url).zadd(f"{keys.OPEN_BATCHES}d", {BATCH: 1})
    last = openfall("batch", "cancel", BATCH)
    assert "nothing has changed" in last.stdout
    assert "no gateway runs" in last.stderr


def test_a_batch_without_a_runner_says_what_it_waits_for(redis_url: str) -> None:
    create(redis_url, 3)

    async def main() -> None:
        async with RedisConnection(redis_url) as link:

            async def why() -> str:
                batch = await fetch_batch(link, BATCH)
                assert batch is not None
                return await explain_missing_runner(link, batch)

            assert await why() == ""
            await link.command("ZADD", f"{keys.OPEN_BATCHES}d", 1, BATCH)
            assert "no gateway runs: start `openfall serve`" in await why()
            assert "its last runner was runner" in await why()
            await link.command("ZADD", keys.GATEWAYS, MAX_MOMENT_MS, "gateway-elsewhere")
            assert "no running gateway has its files" in await why()
            await link.command("ZADD", f"{keys.OPEN_BATCHES}d", MAX_MOMENT_MS, "batch_fedcba9876543210")
            assert "the end of one of 1 other batches" in await why()
            await link.command("HSET", f"{keys.BATCH}{BATCH}", "status", "completed")
            assert await why() == ""

    asyncio.run(main())


def test_an_unknown_batch_of_the_gateway_is_refused_in_words(openfall: Run) -> None:
    ran = openfall("batch", "cancel", BATCH)
    assert ran.returncode == 2
    assert "never created at the gateway" in ran.stderr
