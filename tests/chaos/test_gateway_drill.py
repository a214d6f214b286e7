"""A small run at the HTTP gateway keeps every promise; a seed repeats its plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.chaos_support import run_to_verdict
from tests.chaos.gateway_plan import LEAVING, GatewayPlan


def test_a_seed_repeats_the_requests_and_the_kills() -> None:
    plan, same, other = GatewayPlan(1_000, 7), GatewayPlan(1_000, 7), GatewayPlan(1_000, 8)
    assert (plan.plans(), plan.faults()) == (same.plans(), same.faults())
    assert plan.faults() != other.faults()
    assert {row["kind"] for row in plan.plans()} >= {"chat", "background_stream", *LEAVING}


@pytest.mark.slow
def test_nothing_is_lost_or_bought_twice_while_clients_gateways_and_workers_are_killed(short_directory: Path) -> None:
    verdict = run_to_verdict(["gateway", "--requests", "100", "--seed", "3", "--json"], short_directory)
    assert verdict["figures"]["requests"] == 100
