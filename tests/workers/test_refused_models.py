"""A plan that refuses one of its models for a day: the other model answers. A plan that is out: neither is called."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.vocabulary import Urgency
from tests.faults import COMPLETION, FaultServer, answer
from tests.worker_harness import running_fleet

MODEL_LIMITS = {
    "a long wait alone": "free is temporarily busy. Please retry later.",
    "upstream": "free is temporarily rate-limited upstream. Please retry shortly.",
    "openrouter": "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
    "groq": "Rate limit reached for model `free` in organization `org_1` on tokens per day (TPD): Limit 100000",
    "copilot": "You have exceeded your premium request allowance",
}
KEY_LIMITS = {
    "claude": "Claude AI usage limit reached",
    "ollama": "you (haruka) have reached your weekly usage limit",
    "glm": "Usage limit reached for 5 hour. Your limit will reset at 2026-12-01 05:38:28",
    "quota": "Your organization has used its quota of the month",
}


class Provider(FaultServer):
    """Refuses the model `free`."""

    def __init__(self, words):
        super().__init__([self.answer_by_model])
        self.refusal = answer({"error": {"message": words, "code": 429}}, 429, retry_after="86400")

    async def answer_by_model(self, writer):
        await (self.refusal if self.model_of(self.calls_received[-1]) == "free" else answer(COMPLETION))(writer)

    @staticmethod
    def model_of(call):
        return json.loads(call.body)["model"]


def ask(redis_url, home, words):
    """Two interactive jobs for `free`, then `paid`, of one plan, then `own`: who answers, and the calls by model."""
    provider = Provider(words)

    async def main():
        server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        plan = Backend(url=url, pool="cloud", billing=Billing.FLAT, api_key="sk-one-of-the-plan")
        models = {name: ModelSpec(upstream=name, backends=("plan",), timeout=5) for name in ("free", "paid")}
        own = {"own": ModelSpec(upstream="own", backends=("box",), timeout=5)}
        catalog = Catalog(backends={"plan": plan, "box": Backend(url=url, pool="cloud")}, models=models | own)
        async with server, running_fleet(redis_url, home, catalog, "cloud", slots=1) as fleet:
            chain, results = ("free", "paid", "own"), []
            for number in range(2):
                job_id = await fleet.accept(f"job-{number:05}", chain, Urgency.INTERACTIVE)
                results.append((await fleet.until(job_id, "done")).result)
            return [result.model for result in results]

    answered_by = asyncio.run(main())
    return answered_by, Counter(map(provider.model_of, provider.calls_received))


@pytest.mark.parametrize("words", MODEL_LIMITS.values(), ids=MODEL_LIMITS)
def test_while_one_model_of_a_plan_is_refused_for_a_day_the_next_model_of_the_plan_answers(redis_url, tmp_path, words):
    assert ask(redis_url, tmp_path, words) == (["paid", "paid"], {"free": 1, "paid": 2})


@pytest.mark.parametrize("words", KEY_LIMITS.values(), ids=KEY_LIMITS)
def test_a_plan_that_is_used_up_gets_one_refused_call_whatever_models_it_has(redis_url, tmp_path, words):
    assert ask(redis_url, tmp_path, words) == (["own", "own"], {"free": 1, "own": 2})
