"""Bugs that users of other gateways met with budgets, replayed whole: a real gateway, a real worker, a real upstream.

- BerriAI/litellm#30522, #30330, #27639: a caller leaves in mid-stream, and what its call had reserved stays reserved.
- nika#1368, gbrain#2149: a model of unknown price costs 0, so that a budget never stops it.
- BerriAI/litellm#14004: a local model is refused because the money for the cloud is spent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx
import pytest

from openfall.router_core.state.budget_book import BudgetState, list_budgets
from tests.faults import COMPLETION, Script, answer, stall
from tests.producers.gateway.running_gateway import SAY, RunningGateway, open_gateway, run

CONFIG = """
redis: {redis}
pools: {{gpu: {{local: yes}}, cloud: {{}}}}
backends:
  box: {{protocol: {protocol}, url: "{upstream}", pool: gpu}}
  api: {{protocol: {protocol}, url: "{upstream}", pool: cloud}}
models:
  home: {{upstream: tiny-1, backends: [box], context: 8192, max_tokens: 50}}
  paid: {{upstream: tiny-1, backends: [api], context: 8192, max_tokens: 50, usd_per_mtok: {{in: 1, out: 5}}}}
  typo: {{upstream: claude-opus-4.1, backends: [api], context: 8192, max_tokens: 50}}
{models}
roles:
  chat: {{chain: [paid, home], urgency: interactive}}
{more}
"""


def budgets_of(usd: float, then: str = "[local, refuse]") -> str:
    return f"budgets: [{{name: house, usd: {usd}, then: {then}}}]"


def budget_gateway(
    redis_url: str, tmp_path: Path, *scripts: Script, more: str
) -> AbstractAsyncContextManager[RunningGateway]:
    """A gateway with a worker for each pool, before an upstream that answers by `scripts`."""
    pools = ("gpu", "cloud", "degrade")
    return open_gateway(redis_url, tmp_path, *scripts, config=CONFIG, pools=pools, more=more)


async def house(gateway: RunningGateway) -> BudgetState:
    """The sums of the budget, once no call is in flight."""
    catalog = gateway.instance.config.catalog
    seconds, _ = await gateway.link.command("TIME")
    (state,) = await list_budgets(gateway.link, catalog.budgets, float(int(seconds)))
    return state


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("streamed", [True, False], ids=["in mid-stream", "while it waits"])
def test_a_caller_that_leaves_leaves_no_reserve_behind(redis_url: str, tmp_path: Path, streamed: bool) -> None:
    async def main() -> None:
        more = budgets_of(1) + "\nurgency: {interactive: {timeout: 2s, first_token_timeout: 1s, stall_timeout: 1s}}"
        async with budget_gateway(redis_url, tmp_path, stall, answer(COMPLETION), more=more) as gateway:
            body = {"model": "chat", **SAY, "stream": streamed}
            async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as caller:
                leaving = asyncio.create_task(caller.post("/v1/chat/completions", json=body))
                await until(lambda: _is_reserved(gateway))
                leaving.cancel()
                await asyncio.gather(leaving, return_exceptions=True)
            await until(lambda: _is_free(gateway))
            state = await house(gateway)
            assert state.spent == 0
            assert state.unconfirmed > 0, "the provider may have billed the call that timed out"
            assert state.used + state.left == state.limit
            again = await gateway.chat()
            assert again.status_code == 200

    run(main)


async def _is_reserved(gateway: RunningGateway) -> bool:
    return (await house(gateway)).reserved > 0


async def _is_free(gateway: RunningGateway) -> bool:
    return (await house(gateway)).reserved == 0


def test_a_model_whose_price_is_not_known_is_refused_with_the_remedy_and_never_called(
    redis_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with budget_gateway(redis_url, tmp_path, answer(COMPLETION), more=budgets_of(5)) as gateway:
            refused = await gateway.http.post("/v1/chat/completions", json={"model": "typo", **SAY})
            state = await house(gateway)
            assert refused.status_code == 402
            assert "no price of this model is known; set its usd_per_mtok" in refused.text
            assert len(gateway.upstream.calls_received) == 0
            assert (state.refused, state.used) == (1, 0)

    run(main)


def test_a_spent_budget_leaves_the_models_of_an_own_machine_free(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with budget_gateway(redis_url, tmp_path, answer(COMPLETION), more=budgets_of(0)) as gateway:
            own = await gateway.http.post("/v1/chat/completions", json={"model": "home", **SAY})
            in_place = await gateway.chat()
            paid = await gateway.http.post("/v1/chat/completions", json={"model": "paid", **SAY})
            assert [reply.status_code for reply in (own, in_place, paid)] == [200, 200, 402]
            assert len(gateway.upstream.calls_received) == 2
            assert "budget house" in paid.text

    run(main)
