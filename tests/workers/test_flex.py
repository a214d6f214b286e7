"""The service tier `flex` with a real worker and a real upstream: half the price, and back without capacity."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.prices import Prices, TokenPrices
from openfall.router_core.state.ledger import ledger_day, read_ledger
from openfall.router_core.vocabulary import Urgency
from tests.faults import COMPLETION, answer, fault_server
from tests.worker_harness import running_fleet

BUSY = {"error": {"message": "resource unavailable", "code": "resource_unavailable", "type": "rate_limit_error"}}
FLEX = {**COMPLETION, "service_tier": "flex"}


def test_a_batch_pays_the_price_of_the_tier_that_the_response_names_and_a_429_goes_back_to_the_standard_tier(
    redis_url: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with fault_server(answer(BUSY, 429), answer(COMPLETION), answer(FLEX)) as upstream:
            prices = Prices(input=2, output=10, flex=TokenPrices(input=1, output=5))
            catalog = Catalog(
                backends={"api": Backend(url=upstream.url, pool="cloud", slots=1)},
                models={"cheap": ModelSpec(upstream="gpt", backends=("api",), usd_per_mtok=prices, flex=True)},
            )
            async with running_fleet(redis_url, tmp_path, catalog, "cloud") as fleet:
                for name in ("job-busy1", "job-flex1"):
                    await fleet.accept(name, ("cheap",), Urgency.BATCH)
                    await fleet.until(name, "done")
                first = await fleet.store.result("job-busy1")
                assert first is not None
                assert [attempt.service_tier for attempt in first.attempts] == ["flex", ""]
                tiers = [json.loads(call.body).get("service_tier") for call in upstream.calls_received]
                assert tiers == ["flex", None, "flex"], "the refusal cooled nothing down"
                (row,) = await read_ledger(fleet.link, [ledger_day(await fleet.now())])
                usage = COMPLETION["usage"]
                flex = usage["prompt_tokens"] * 1_000 + usage["completion_tokens"] * 5_000
                assert (row.nusd, row.saved_nusd) == (3 * flex, flex)
                assert await fleet.link.command("HGETALL", "of:blocked") in ([], {}, None)

    asyncio.run(story())
