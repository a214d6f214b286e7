"""Probes, calls that programs make by themselves, and requests that pass beside the queue: budgets count them too."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.budget_scope import CallOwner
from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.catalog.prices import Prices
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.over_budget import OverCause
from openfall.router_core.state.breakers import BreakerOverride, ProbeResult, force_breaker, report_probe, reset_breaker
from openfall.router_core.state.budget_book import audit_budgets, raise_budget
from openfall.router_core.state.external_calls import ExternalCall, book_passthrough_request, report_external_call
from openfall.router_core.state.ledger import ledger_day, read_ledger
from openfall.router_core.state.worker_subscription import PROBE_BOUND
from openfall.router_core.vocabulary import BreakerState, CallSignal, ErrorClass
from tests.router_core.state.test_budgets import CALL, HOUSE, PRICE, start, sums

TARGET = "api/haiku"
PROBE_COST = 256 * PRICE.input // 1000 + PRICE.answer * PRICE.output // 1000
OTHERS = Budget(name="others", usd=0.001, group="family")
CATALOG = Catalog(
    backends={
        "api": Backend(url="http://127.0.0.1:1", pool="cloud"),
        "flat": Backend(url="http://127.0.0.1:1", pool="cloud", billing=Billing.FLAT),
    },
    models={
        "haiku": ModelSpec(upstream="h", backends=("api",), max_tokens=500, usd_per_mtok=Prices(input=1.0, output=1.0))
    },
    roles={"chat": Role(chain=("haiku",))},
    budgets=(HOUSE, Budget(name="of-a-model", usd=1, model="haiku"), Budget(name="chat", usd=0.001, role="chat")),
)


async def probes_of(f, worker):
    await force_breaker(f.link, TARGET, BreakerOverride(BreakerState.OPEN, "x"), CATALOG.breakers)
    await reset_breaker(f.link, TARGET, CATALOG.breakers)
    f.clock.now += 1
    return list((await worker.claim(0, 0)).probes)


def paid(f, cost):
    error = ErrorClass.TIMEOUT if cost is None else None
    attempt = Attempt(model="haiku", backend="api", started_at=0, ended_at=1, cost_nusd=cost, error=error)
    return f.call_report(attempt, _Delivery())


class _Delivery:
    epoch = credential_epoch = "0"


def test_a_probe_reserves_the_most_that_it_can_cost_and_its_result_books_what_it_cost(fleet):
    async def story(f):
        worker = await start(f, HOUSE)
        (probe,) = await probes_of(f, worker)
        assert await sums(f) == (0, PROBE_COST, 0)
        assert await audit_budgets(f.link) == [], "the audit knows it"
        await report_probe(f.link, probe, ProbeResult(CallSignal.OK, "", 0.0, 0.5), CATALOG.breakers, paid(f, 77))
        assert await sums(f) == (77, 0, 0)

    fleet(story)


def test_a_probe_of_unknown_cost_and_one_whose_worker_died_may_have_been_billed(fleet):
    async def story(f):
        worker = await start(f, HOUSE)
        await probes_of(f, worker)  # its worker dies
        f.clock.now += 120
        (probe,) = (await worker.claim(0, 0)).probes
        assert await sums(f) == (0, PROBE_COST, PROBE_COST)
        result = ProbeResult(CallSignal.FAILURE, "x", 0.0, 0.5, error=ErrorClass.TIMEOUT)
        await report_probe(f.link, probe, result, CATALOG.breakers, paid(f, None))
        assert await sums(f) == (0, 0, 2 * PROBE_COST)

    fleet(story)


@pytest.mark.parametrize("damage", ["", "half_open x", "gone"])
def test_the_audit_ends_the_reserve_of_a_lost_probe_whose_target_no_worker_knows_any_more(fleet, damage):
    async def story(f):
        worker = await start(f, HOUSE)
        await probes_of(f, worker)  # its worker dies, and the next configuration does not name the model
        assert await audit_budgets(f.link) == []
        assert await sums(f) == (0, PROBE_COST, 0), "its lease is not over"
        if damage:
            f.store.hset("of:blocked", TARGET, damage)
        if damage == "gone":
            f.store.hdel("of:blocked", TARGET)
        f.store.delete("of:lock:budget-audit")
        f.clock.now += 3600
        await audit_budgets(f.link)
        assert await sums(f) == (0, 0, PROBE_COST)
        f.store.delete("of:lock:budget-audit")
        assert await audit_budgets(f.link) == []
        assert await sums(f) == (0, 0, PROBE_COST), "once"

    fleet(story)


def test_a_probe_that_made_no_call_gives_its_reserve_back_and_so_does_a_breaker_that_was_closed_meanwhile(fleet):
    async def story(f):
        worker = await start(f, HOUSE)
        (probe,) = await probes_of(f, worker)
        await report_probe(f.link, probe, ProbeResult(CallSignal.OK, "", 0.0, 0.5, on_trial=True), CATALOG.breakers)
        assert await sums(f) == (0, 0, 0)
        await probes_of(f, worker)
        await force_breaker(f.link, TARGET, BreakerOverride(BreakerState.CLOSED, "x"), CATALOG.breakers)
        await audit_budgets(f.link)
        assert await sums(f) == (0, 0, PROBE_COST)

    fleet(story)


def test_a_spent_budget_allows_no_probe_until_it_resets(fleet):
    async def story(f):
        worker = await start(f, Budget(name="house", usd=0))
        assert await probes_of(f, worker) == []
        assert (await worker.claim(0, 0)).probes == ()
        f.clock.now += 86400
        assert await probes_of(f, await start(f, HOUSE, name="wb")) != []

    fleet(story)


def test_a_spent_budget_that_is_raised_allows_a_probe_within_a_minute(fleet):
    async def story(f):
        f.clock.now -= f.clock.now % 86400
        worker = await start(f, Budget(name="house", usd=0))
        assert await probes_of(f, worker) == []
        await raise_budget(f.link, "house", PROBE_COST, f.clock.now + 3600)
        f.clock.now += 61
        assert len((await worker.claim(0, 0)).probes) == 1

    fleet(story)


def test_the_bound_of_a_probe_is_one_that_the_scripts_read():
    assert len(PROBE_BOUND.split(" ")) == 8


def test_a_call_that_a_program_made_by_itself_counts_in_the_budgets_of_its_group_and_role(fleet):
    async def story(f):
        catalog = CATALOG.model_copy(update={"budgets": (*CATALOG.budgets, OTHERS)})
        owner = CallOwner(group="family", role="chat")
        call = ExternalCall(model="haiku", backend="api", input_tokens=100, output_tokens=50, owner=owner)
        await report_external_call(f.link, catalog, call)
        await report_external_call(
            f.link, catalog, ExternalCall(model="haiku", backend="api", error=ErrorClass.TIMEOUT)
        )
        for budget in catalog.budgets:
            assert await sums(f, budget) == (150_000, 0, 0), budget.name

    fleet(story)


def test_a_request_that_passes_beside_the_queue_is_booked_before_it_is_sent_or_not_sent(fleet):
    async def story(f):
        owner = CallOwner(producer="bot")
        for _ in range(5):
            assert await book_passthrough_request(f.link, CATALOG, "api", CALL, owner) is None
        over = await book_passthrough_request(f.link, CATALOG, "api", CALL, owner)
        assert over is not None
        assert (over.name, over.cause) == ("house", OverCause.SPENT)
        assert await sums(f) == (5 * CALL, 0, 0)
        (row,) = await read_ledger(f.link, [ledger_day(f.clock.now)])
        assert (row.model, row.backend, row.calls, row.nusd) == ("-", "api", 5, 5 * CALL)
        assert await book_passthrough_request(f.link, CATALOG, "flat", CALL, owner) is None, "no budget counts it"

    fleet(story)
