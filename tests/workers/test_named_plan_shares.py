"""A subscription whose provider names its used share in answers: it is kept, shown and acted on."""

from __future__ import annotations

import asyncio

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.state.money_report import read_money
from openfall.router_core.state.subscription_plans import scarce_models
from openfall.router_core.vocabulary import PLAN_LOW, Urgency
from openfall.workers.maintenance.spend_watch import incidents_of
from tests.faults import COMPLETION, FaultServer, answer
from tests.worker_harness import running_fleet

CLAUDE = {"anthropic-ratelimit-unified-5h-utilization": "0.83", "anthropic-ratelimit-unified-7d-utilization": "0.1"}
CODEX = {"x-codex-primary-used-percent": "83", "x-codex-primary-window-minutes": "300",
         "x-codex-secondary-used-percent": "10", "x-codex-secondary-window-minutes": "10080"}  # fmt: skip
DAMAGED = {"anthropic-ratelimit-unified-5h-utilization": "most", "x-codex-primary-used-percent": "83"}


def call(redis_url, home, headers, *, windows=(), billing=Billing.FLAT, calls=1):
    """The plans after some calls that were answered with headers, the models that are scarce, and the incidents."""
    provider = FaultServer([answer(COMPLETION, **headers)])

    async def main():
        server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        plan = Backend(url=url, pool="cloud", billing=billing, api_key="sk-one-of-the-plan", plan_windows=windows)
        catalog = Catalog(backends={"plan": plan}, models={"m": ModelSpec(upstream="m", backends=("plan",))})
        async with server, running_fleet(redis_url, home, catalog, "cloud", slots=1) as fleet:
            for number in range(calls):
                job_id = await fleet.accept(f"job-{number:05}", ("m",), Urgency.BACKGROUND)
                assert (await fleet.until(job_id, "done")).result.answered
            seconds, _ = await fleet.link.command("TIME")
            report = await read_money(fleet.link, catalog, float(seconds))
            return report, scarce_models(report.plans, catalog), dict(incidents_of(report, catalog))

    return asyncio.run(main())


@pytest.mark.parametrize("headers", [CLAUDE, CODEX], ids=["claude", "codex"])
@pytest.mark.parametrize("windows", [(), (18_000.0, 604_800.0)], ids=["without plan_windows", "with plan_windows"])
def test_a_share_in_an_answer_is_that_of_the_plan_and_from_80_percent_on_it_is_scarce_and_people_are_notified(
    redis_url, tmp_path, headers, windows
):
    report, scarce, incidents = call(redis_url, tmp_path, headers, windows=windows, calls=2)
    shown = [(plan.window_seconds, plan.share, plan.calls) for plan in report.plans]
    calls = 2 if windows else None
    assert shown == [(18_000, 0.83, calls), (604_800, 0.1, calls)]
    assert all(0 < plan.resets_at - report.at <= plan.window_seconds + 60 for plan in report.plans)
    assert scarce == {"m"}
    assert incidents[PLAN_LOW] == {"m:plan (5 h)": 83}


def test_headers_that_cannot_be_read_change_nothing(redis_url, tmp_path):
    report, scarce, incidents = call(redis_url, tmp_path, DAMAGED, windows=(18_000.0,))
    assert [(plan.window_seconds, plan.share, plan.calls) for plan in report.plans] == [(18_000, None, 1)]
    assert (scarce, incidents) == (frozenset(), {})


def test_the_headers_of_a_key_that_pays_by_the_token_are_no_plan(redis_url, tmp_path):
    report, scarce, _ = call(redis_url, tmp_path, CLAUDE, billing=Billing.METERED)
    assert (report.plans, scarce) == ((), frozenset())
