"""64 workers at random under one budget: claims, settles, unknown costs, deaths in mid-call, late settles.

The provider keeps an invoice of every call that was made, whatever the workers hear of it. It never exceeds a limit."""

from __future__ import annotations

import random

from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.state.budget_book import audit_budgets, list_budgets
from openfall.router_core.state.reap_and_sweep import reap
from openfall.router_core.state.settlement import DeliveryOutcome
from openfall.router_core.vocabulary import ErrorClass
from tests.router_core.state.test_budgets import CALL, ended, start, submit

HOUSE = Budget(name="house", usd=0.12)
BOTS = Budget(name="bots", usd=0.03, group="bots")
LIMITS = {"house": 120_000_000, "bots": 30_000_000}
JOBS, WORKERS = 400, 64


class Race:
    def __init__(self, f, seed):
        self.f, self.chance = f, random.Random(seed)
        self.invoice = {"house": 0, "bots": 0}
        self.running, self.late, self.refused = [], [], 0

    async def claim(self, worker):
        for delivery in (await worker.claim(2, 0)).deliveries:
            if delivery.over is not None:
                self.refused += 1
                ending = ended(self.f, delivery, cost=0, error=ErrorClass.BUDGET)
                await worker.settle(worker.settlement(delivery, DeliveryOutcome(next_step=ending.next_step)))
                continue
            cost = self.chance.randint(0, CALL)
            group = self.f.record_field(delivery.id, "group")
            for name in ("house", "bots") if group == "bots" else ("house",):
                self.invoice[name] += cost
                assert self.invoice[name] <= LIMITS[name], "the invoice of the provider"
            self.running.append((worker, delivery, cost))

    async def end(self):
        worker, delivery, cost = self.running.pop(self.chance.randrange(len(self.running)))
        fate = self.chance.random()
        if fate < 0.05:  # its worker dies in mid-call; half of these settle late, from the spool
            in_flight: dict[object, list[object]] = {}
            for other, running, _ in self.running:
                in_flight.setdefault(other, []).append(running)
            await self.f.pass_time(11, *in_flight.items())
            self.late.append((worker, delivery, cost))
            await reap(self.f.link)
        else:
            known = None if fate < 0.09 else cost
            error = ErrorClass.TIMEOUT if known is None else None
            await worker.settle(worker.settlement(delivery, ended(self.f, delivery, cost=known, error=error)))

    async def settle_late(self):
        worker, delivery, cost = self.late.pop()
        if self.chance.random() < 0.5:
            await worker.settle(worker.settlement(delivery, ended(self.f, delivery, cost=cost)))


def test_the_invoice_never_exceeds_a_budget_whatever_dies_and_nothing_stays_reserved(fleet):
    async def story(f):
        race = Race(f, 7)
        workers = [await start(f, HOUSE, BOTS, name=f"w{number}") for number in range(WORKERS)]
        await submit(f, JOBS // 2, group="bots")
        await submit(f, JOBS // 2, group="family")
        for _ in range(JOBS * 3):
            if race.running and race.chance.random() < 0.45:
                await race.end()
            elif race.late and race.chance.random() < 0.3:
                await race.settle_late()
            else:
                await race.claim(race.chance.choice(workers))
        while race.running:
            await race.end()
        while race.late:
            await race.settle_late()
        await f.pass_time(11)
        await reap(f.link)
        for state in await list_budgets(f.link, [HOUSE, BOTS], f.clock.now):
            assert state.reserved == 0, state.budget.name
            assert state.spent + state.unconfirmed <= state.limit
            assert state.spent + state.unconfirmed >= race.invoice[state.budget.name], "each call that was made counts"
        assert race.refused > 0
        assert await audit_budgets(f.link) == []
        assert f.store.hget("of:counters", "budget_drift") is None

    fleet(story)
