"""The sums of money in Redis: tokens of caches, unconfirmed and saved costs, unexpected spend, and their one reader."""

from __future__ import annotations

from dataclasses import replace

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.budgets import Budget, Each
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.prices import Prices
from openfall.router_core.deciding.savings import Savings
from openfall.router_core.deciding.unexpected_spend import UnexpectedCall
from openfall.router_core.jobs.token_usage import Usage
from openfall.router_core.state.call_money import CallMoney
from openfall.router_core.state.ledger import LedgerEntry
from openfall.router_core.state.ledger_sums import UsageKey, usage_rows
from openfall.router_core.state.money_report import read_money
from openfall.router_core.state.reap_and_sweep import reap
from openfall.router_core.state.savings_rows import savings_rows
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.vocabulary import ErrorClass
from tests.budget_sums import pack_sums
from tests.router_core.state.test_budgets import CALL, HOUSE, claimed, ended, settle, start, submit

CATALOG = Catalog(
    backends={"api": Backend(url="http://127.0.0.1:1", pool="cloud")},
    models={
        "haiku": ModelSpec(
            upstream="haiku", backends=("api",), max_tokens=500, usd_per_mtok=Prices(input=1.0, output=1.0)
        )
    },
    budgets=(HOUSE, Budget(name="each", usd=1, each=Each.PRODUCER)),
)


async def money(f, days=1):
    return await read_money(f.link, CATALOG, f.clock.now, days)


async def settle_with(f, worker, delivery, **more):
    outcome = ended(f, delivery)
    call = replace(outcome.call, money=CallMoney(**more))
    await worker.settle(worker.settlement(delivery, replace(outcome, call=call)))


def test_the_ledger_has_what_may_have_been_billed_until_its_cost_is_known(fleet):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 3, group="my family")
        (timed_out, died, known), _ = await claimed(worker)
        await settle(f, worker, timed_out, cost=None, error=ErrorClass.TIMEOUT)
        await settle(f, worker, known)
        await f.pass_time(11)
        await reap(f.link)
        (row,) = [entry for entry in (await money(f)).entries if entry.group == "my family"]
        assert (row.model, row.backend, row.unconfirmed_nusd, row.nusd) == ("haiku", "api", 2 * CALL, 0)
        await settle(f, worker, died, cost=7)
        report = await money(f)
        assert sum(entry.unconfirmed_nusd for entry in report.entries) == CALL == report.budgets[0].unconfirmed
        assert report.nusd == CALL // 4 + 7 == report.budgets[0].spent

    fleet(story)


def test_tokens_of_caches_reasoning_and_savings_are_summed_and_a_dearer_tier_counts_below_0(fleet):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 3)
        deliveries, _ = await claimed(worker)
        usage = Usage(cache_read_tokens=3, cache_write_tokens=2, reasoning_tokens=5)
        for delivery, saved in zip(deliveries, (100, -400, 0), strict=True):
            await settle_with(f, worker, delivery, usage=usage, savings=Savings(saved, 10))
        (row,) = (await money(f)).usage(UsageKey.MODEL)
        assert (row.cached_tokens, row.cache_write_tokens, row.reasoning_tokens) == (9, 6, 15)
        assert (row.saved_nusd, row.cache_saved_nusd) == (-300, 30)
        (saved,) = savings_rows((await money(f)).entries, CATALOG)
        assert (saved.paid_as, saved.total.live_nusd) == ("metered", saved.total.nusd - 270)
        assert (await money(f)).saved_nusd == -270

    fleet(story)


def test_unexpected_spend_is_summed_by_the_model_that_should_have_answered_and_the_cause(fleet):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 4)
        deliveries, _ = await claimed(worker)
        causes = [UnexpectedCall("flat", "rate_limited (HTTP 429)")] * 2 + [UnexpectedCall("smol", "timeout"), None]
        for delivery, cause in zip(deliveries, causes, strict=True):
            await settle_with(f, worker, delivery, unexpected=cause)
        (day,) = (await money(f)).unexpected
        assert [(row.instead_of, row.model, row.group, row.cause, row.calls, row.nusd) for row in day.rows] == [
            ("flat", "haiku", None, "rate_limited (HTTP 429)", 2, CALL // 2),
            ("smol", "haiku", None, "timeout", 1, CALL // 4),
        ]
        assert day.last_at == f.clock.now
        assert day.nusd == 3 * CALL // 4
        f.store.hset("of:unexpected:" + day.rows[0].day, "calls without fields", 5)
        assert len((await money(f)).unexpected[0].rows) == 2, "what cannot be read is left out"

    fleet(story)


def test_a_forecast_reads_the_same_weekday_of_earlier_weeks(fleet):
    async def story(f):
        f.clock.now = 1_800_014_400.0  # 2027-01-15, 12:00 UTC
        for day, spent in (("08", 2), ("01", 4), ("14", 900), ("15", 1)):
            f.store.hset("of:budget-sums", f"house:2027-01-{day}", pack_sums(spent * CALL, 0, 0, 1))
        (state, *_) = (await money(f)).budgets
        assert (state.used, state.left) == (CALL, 4 * CALL)
        assert state.forecast is not None
        assert state.forecast.nusd == CALL + (2 * CALL + 3 * CALL) // 4, "half of the mean of 2, its pace, and of 3"

    fleet(story)


def test_the_days_of_a_report_end_today(fleet):
    async def story(f):
        worker = await start(f, HOUSE)
        await submit(f, 1)
        (delivery,), _ = await claimed(worker)
        await worker.settle(worker.settlement(delivery, DeliveryOutcome(next_step=None)))
        report = await money(f, days=3)
        assert len(report.days) == len(report.unexpected) == 3
        assert report.days == tuple(sorted(report.days))
        assert (report.nusd, report.usage(UsageKey.DAY)) == (0, [])

    fleet(story)


def test_the_days_of_a_month_are_one_row_and_months_are_in_their_order():
    days = {"2026-12-01": 5, "2026-11-30": 7, "2026-11-01": 1, "2025-11-30": 3}
    entries = [
        LedgerEntry(day=day, model=f"m-{nusd}", backend="b", group=None, calls=1, nusd=nusd)
        for day, nusd in days.items()
    ]
    rows = usage_rows(entries, UsageKey.MONTH)
    assert [(row.name, row.calls, row.nusd) for row in rows] == [
        ("2025-11", 1, 3),
        ("2026-11", 2, 8),
        ("2026-12", 1, 5),
    ]
