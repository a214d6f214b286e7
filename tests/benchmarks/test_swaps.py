"""The benchmark of swaps: its simulator, the rules of others, and what it calls broken."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from click.testing import CliRunner

from benchmarks.swaps.__main__ import main
from benchmarks.swaps.card_simulator import BATCH, INTERACTIVE, SimJob, SimModel, Simulation, Trace
from benchmarks.swaps.job_traces import CHAT, CODE, REASON, abab, bots, flooded, night, studio
from benchmarks.swaps.our_rule import Clairvoyant, CloudBehind, OurRule
from benchmarks.swaps.peer_rules import LlamaSwapRule, OllamaRule
from benchmarks.swaps.simulated_runs import LLAMA_SWAP, OURS, RULES, Measured, Waits, end_bound, simulate
from benchmarks.swaps.swap_promises import promises
from tests.fakes.shared_compute import SharedCompute

A, B = SimModel("a", 10, 10, 2, 10, 100), SimModel("b", 10, 20, 2, 10, 100)


def trace(*jobs: tuple[SimModel, int, float, float]) -> Trace:
    written = [SimJob(n, model.name, urgency, at, work) for n, (model, urgency, at, work) in enumerate(jobs)]
    return Trace((A, B), (("card", 16.0),), written)


def ends(jobs: Trace, rule: OurRule | LlamaSwapRule | OllamaRule) -> Sequence[float]:
    return [round(job.ended_at, 1) for job in Simulation(jobs, rule, 1).run().jobs]


def test_calls_of_a_model_do_not_slow_each_other_and_two_models_share_the_card():
    small = replace(B, vram_gb=4.0, name="b")
    together = Trace((A, small), (("card", 16.0),), trace((A, BATCH, 0, 30), (A, BATCH, 0, 30), (B, BATCH, 0, 30)).jobs)
    sim = Simulation(together, OurRule(), 1).run()
    first, second, third = (job.ended_at for job in sim.jobs)
    assert first == second
    loads = sim.cards[0].load_seconds
    assert third == pytest.approx(loads + 30 + max(0.0, 30 - sim.models["b"].load_seconds), rel=0.05)


def test_our_rule_lets_people_break_in_and_serves_the_batch_afterwards():
    jobs = trace((A, BATCH, 0, 60), (A, BATCH, 0, 60), (A, BATCH, 0, 60), (B, INTERACTIVE, 13, 5))
    people = Simulation(jobs, OurRule(), 1).run().jobs[3]
    assert people.waited < 30, "the young batch calls are put back"
    assert Simulation(jobs, LlamaSwapRule(), 1).run().open_jobs == 0


@pytest.mark.parametrize("rule", [OurRule, LlamaSwapRule, OllamaRule, Clairvoyant])
@pytest.mark.parametrize("make", [lambda: night(1, 60), lambda: abab(1, each=10), lambda: bots(1, 0.1),
                                  lambda: studio(1, 0.02)], ids=["night", "abab", "bots", "studio"])  # fmt: skip
def test_every_rule_does_every_job(rule, make):
    sim = Simulation(make(), rule(), 1).run()
    assert sim.open_jobs == 0
    assert all(job.ended_at >= job.started_at >= job.accepted_at for job in sim.jobs)


def test_a_night_loads_each_model_once_and_ends_near_the_bound():
    measured = simulate(night(1, 300), OurRule(), 1)
    assert measured.loads == measured.models == 6
    assert 1.0 <= measured.end_seconds / measured.bound_seconds < 1.10
    assert simulate(night(1, 300), OllamaRule(), 1).loads > 20


def test_a_job_without_time_leaves_and_its_model_is_loaded_all_the_same():
    jobs = flooded(1, REASON, batch=200)
    measured = simulate(jobs, CloudBehind(), 1, until=3600.0)
    assert measured.waits[INTERACTIVE].late == 0
    assert 0 < measured.left < 1
    assert measured.loads > 1


def test_no_schedule_ends_before_the_bound():
    jobs = trace((A, BATCH, 0, 30), (B, BATCH, 0, 60))
    assert end_bound(jobs, jobs.jobs) == 30 / 2 + 60 / 2 + 10 + 20, "models that cannot share the card load once"
    assert max(ends(jobs, OurRule())) > end_bound(jobs, jobs.jobs)
    beside = Trace((CHAT, CODE), (("one", 24.0), ("two", 24.0)), jobs.jobs)
    assert end_bound(beside, jobs.jobs) == 0, "of several cards none is known"


def measured(**more: float) -> Measured:
    waits = [Waits(p50=10, p95=20), Waits(), Waits()]
    figures = {"loads": 6, "models": 6, "end_seconds": 100, "batch_end_seconds": 100, "bound_seconds": 100}
    zero = dict.fromkeys(("batch_bound_seconds", "first_share", "usual_call", "left", "put_back"), 0)
    return Measured(waits=waits, **{**figures, **zero, **more})


def test_a_broken_promise_is_named_with_its_figure():
    night_of = {("night", rule): measured(loads=7) for rule in RULES}
    broken = [promise for promise in promises(night_of) if not promise.kept]
    assert [(promise.text, promise.figure, promise.limit) for promise in broken] == [("night: loads", 7, 6)]
    assert all(promise.kept for promise in promises({("night", rule): measured() for rule in RULES}))


def test_bots_must_be_sooner_than_llama_swap():
    figures = {("bots", rule): measured() for rule in RULES}
    broken = [promise.text for promise in promises(figures) if not promise.kept]
    assert broken == ["bots: people's p50, of llama-swap's"]
    figures["bots", LLAMA_SWAP] = measured(end_seconds=90)
    figures["bots", OURS] = replace(measured(), waits=[Waits(p50=7), Waits(past_deadline=0.1), Waits()])
    broken = [promise.text for promise in promises(figures) if not promise.kept]
    assert broken == ["bots: end, of llama-swap's", "bots: background and batch past their deadline"]


def test_the_slowest_decision_of_our_rule_is_checked_and_that_of_other_rules_is_not():
    simulated = simulate(night(1, 60), OurRule(), 1)
    assert simulated.decision_us > 0
    figures = {("abab", rule): measured() for rule in RULES}
    figures["abab", LLAMA_SWAP] = measured(decision_us=1000)
    assert all(promise.kept for promise in promises(figures))
    figures["abab", OURS] = measured(decision_us=101)
    broken = [promise.text for promise in promises(figures) if not promise.kept]
    assert broken == ["a decision: CPU µs, 95th percentile of the slowest trace"]


def test_an_unknown_trace_is_refused_with_the_known_ones():
    result = CliRunner().invoke(main, ["--traces", "day"])
    assert result.exit_code == 2
    assert "Known: night" in result.output


def test_models_that_run_at_once_share_the_compute_of_a_card():
    async def seconds(*models: str) -> list[float]:
        compute, loop = SharedCompute(), asyncio.get_running_loop()
        began = loop.time()

        async def one(model: str) -> float:
            await compute.run(model, 0.05)
            return loop.time() - began

        return await asyncio.gather(*map(one, models))

    alone, together = asyncio.run(seconds("a", "a")), asyncio.run(seconds("a", "b"))
    assert min(alone) >= 0.05
    assert min(together) >= 0.0999, "two models take twice as long"
