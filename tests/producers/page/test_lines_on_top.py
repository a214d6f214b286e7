"""The lines on top: causes before consequences, what to do about each, and what releases held jobs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from openfall.producers.amount_text import describe_waiting
from openfall.producers.breaker_names import find_target, model_at_backend
from openfall.producers.outage_text import Away, Wait
from openfall.producers.page.page_actions import ACTIONS
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.rendering import render
from openfall.producers.page.sections import breaker_section, headline_section
from openfall.producers.page.sections.cause import Cause, FleetHealth
from openfall.producers.page.sources import BUDGETS
from openfall.producers.runbook import RunbookSection
from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.catalog.prices import Prices
from openfall.router_core.jobs.over_budget import OverBudget, OverCause
from openfall.router_core.state.audit_log import AuditEntry
from openfall.router_core.state.budget_book import BudgetState
from openfall.router_core.state.held_jobs import summarize_held
from openfall.router_core.vocabulary import HoldReason
from tests.producers.page.snapshots import NOW, QUEUE, STATUS, WORKER, calm_snapshot, held_job, holding

AWAY = Away(
    model="tiny", backends=("rack",), since=NOW - 60, cause="timeout", until=NOW + 20, wait=Wait.PROBE, flat_plan=False
)
PAUSED = replace(STATUS, queues=(replace(QUEUE, paused=True),))
OTHER_WORKER = replace(STATUS, workers=(replace(WORKER, queues=("degrade",)),))


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> PageSnapshot:
    return calm_snapshot(tmp_path_factory.mktemp("lines"))


def lines(snapshot: PageSnapshot) -> Sequence[Cause]:
    shown: Any = headline_section.context(snapshot)
    causes: Sequence[Cause] = shown["causes"]
    return causes


def page_of(snapshot: PageSnapshot) -> str:
    html = render("sections/health.html", now=NOW, actions=ACTIONS, **headline_section.context(snapshot))
    return " ".join(html.split())


@pytest.mark.parametrize(
    ("reason", "change", "first", "advice"),
    [
        (
            HoldReason.OUTAGE,
            {"away": (AWAY,)},
            "tiny@rack takes no calls: timeout",
            "It returns by itself when tiny accepts calls again",
        ),
        (
            HoldReason.OUTAGE,
            {"status": OTHER_WORKER},
            "No worker serves the pool gpu",
            "It returns by itself when a worker of the pool gpu runs",
        ),
        (
            HoldReason.PAUSED,
            {"status": PAUSED},
            "The queue gpu.tiny.interactive is paused",
            "It returns by itself when gpu.tiny.interactive is resumed",
        ),
    ],
    ids=["an open breaker", "no worker", "a paused queue"],
)
def test_a_cause_stands_before_its_consequences_and_each_says_what_releases_the_jobs(
    calm: PageSnapshot, reason: HoldReason, change: dict[str, Any], first: str, advice: str
) -> None:
    cause, held = lines(holding(calm, held_job(reason, "tiny"), **change))
    assert (cause.text, cause.health) == (first, FleetHealth.FAILING)
    assert (held.text, held.advice) == (f"1 job of chat held ({reason})", advice)


def test_every_line_about_a_model_says_what_to_do(calm: PageSnapshot) -> None:
    advice = {
        (wait, model): lines(replace(calm, away=(replace(AWAY, wait=wait, model=model),)))[0].advice
        for wait in Wait
        for model in ("tiny", None)
    }
    assert advice[Wait.PROBE, "tiny"].startswith("Nothing to do: its breaker closes by itself")
    assert advice[Wait.COOLDOWN, "tiny"].startswith("Nothing to do")
    assert advice[Wait.CHECK, "tiny"].startswith("Look at the backend")
    assert advice[Wait.PROBE, None].startswith("Renew the key or its credit.")


def test_the_line_of_a_refused_key_has_the_command_and_the_button_that_probe_it(calm: PageSnapshot) -> None:
    backends = {"rack": calm.catalog.backends["rack"].model_copy(update={"api_key": SecretStr("secret")})}
    catalog = calm.catalog.model_copy(update={"backends": backends})
    refused = replace(calm, catalog=catalog, away=(replace(AWAY, model=None, cause="auth (HTTP 401)"),))
    (line,) = lines(refused)
    assert line.remedy == "openfall breakers reset key:rack"
    assert 'formaction="/page/act/reset-breaker" name="subject" value="key:rack"' in page_of(refused)


def test_a_line_names_its_section_and_has_the_button_that_helps(calm: PageSnapshot) -> None:
    assert '<a href="#breakers">Show breakers</a>' in page_of(replace(calm, away=(AWAY,)))
    assert "when a probe is answered, next probe in at least <time" in page_of(replace(calm, away=(AWAY,)))
    paused = page_of(replace(calm, status=PAUSED))
    assert 'formaction="/page/act/resume" name="subject" value="gpu.tiny.interactive"' in paused
    assert ">Resume gpu.tiny.interactive</button>" in paused
    assert ">Switch off local only…</a>" in page_of(replace(calm, local_only="guests"))
    assert "</span> <span>Resume to end it" in paused, "a space between the parts"
    assert '</span> <a href="#open-fall">Show held jobs' in page_of(holding(calm, held_job(HoldReason.PAUSED, "tiny")))
    no_worker = page_of(replace(calm, status=OTHER_WORKER))
    assert '<code class="remedy">openfall work gpu</code>' in no_worker


def test_a_switch_in_the_configuration_has_no_button(calm: PageSnapshot) -> None:
    catalog = calm.catalog.model_copy(update={"local_only": True})
    (line,) = lines(replace(calm, catalog=catalog, local_only="set in the configuration"))
    assert (line.action, line.advice) == ("", "Set privacy: {local_only: no} in the configuration to end it")


def test_the_queues_of_one_pause_are_one_line_that_names_the_pattern_to_resume(calm: PageSnapshot) -> None:
    names = ("gpu.tiny.interactive", "gpu.tiny.background", "gpu.a.batch", "gpu.b.batch")
    queues = tuple(replace(QUEUE, name=name, waiting=1, paused=True) for name in names)
    worker = replace(WORKER, queues=names)
    pause = AuditEntry(actor="mika", via="cli", action="queue.pause", subject="gpu.*", why="dust", at=NOW - 90_000)
    line = lines(replace(calm, status=replace(STATUS, queues=queues, workers=(worker,)), audit=(pause,)))[0]
    paused = f"The queues {', '.join(names[:3])} and 1 more are paused"
    assert (line.text, line.since, line.effect) == (f"{paused} (mika: 'dust')", NOW - 90_000, "4 jobs wait")
    assert "(mika: 'dust') for 25h. 4 jobs wait. Resume to end it. -> openfall queues resume 'gpu.*'" in line.line(NOW)
    assert (line.buttons, line.remedy) == ((("gpu.*", "Resume gpu.*"),), "openfall queues resume 'gpu.*'")


def test_what_an_operator_keeps_from_calls_waits_for_no_probe(calm: PageSnapshot) -> None:
    forced = replace(AWAY, cause="new fan", wait=Wait.OPERATOR, until=None)
    (line,) = lines(replace(calm, away=(forced,)))
    assert line.text == "An operator keeps calls from tiny@rack: new fan"
    assert (line.advice, line.until, line.action, line.buttons[0][0]) == (
        "Automatic ends it",
        None,
        "reset-breaker",
        "rack/tiny",
    )
    (timed,) = lines(replace(calm, away=(replace(forced, until=NOW + 60),)))
    assert (timed.advice, timed.until) == ("Automatic ends it at once, else it ends", NOW + 60)
    (key,) = lines(replace(calm, away=(replace(forced, model=None),)))
    assert (key.action, key.remedy) == ("", "openfall breakers reset NAME")


def test_an_outage_stands_before_a_job_that_is_at_fault_and_before_notifications(calm: PageSnapshot) -> None:
    own = holding(calm, held_job(HoldReason.OWN_FAULT), away=(AWAY,), dead_letters=2)
    assert [line.runbook for line in lines(own)] == [
        RunbookSection.BREAKER_OPEN,
        RunbookSection.OWN_FAULT,
        RunbookSection.NOTIFIER_FAILS,
    ]


def over_budget(calm: PageSnapshot, over: OverBudget | None, limit: int, **sums: int) -> PageSnapshot:
    """A job of a metered model is held for a budget that counts it."""
    name = "studio" if over is None else over.name
    budget = Budget(name=name, usd=1, per="day")
    models = {"tiny": calm.catalog.models["tiny"].model_copy(update={"usd_per_mtok": Prices(input=1, output=5)})}
    backends = {"rack": calm.catalog.backends["rack"].model_copy(update={"billing": Billing.METERED})}
    pools = {"gpu": calm.catalog.pools["gpu"].model_copy(update={"local": False})}
    counted = {"budgets": (budget,), "models": models, "backends": backends, "pools": pools}
    state = BudgetState(budget=budget, window="day", ends_at=NOW + 60, limit=limit, **sums)
    held = held_job(HoldReason.BUDGET, "tiny", over=over)
    return holding(
        replace(calm, catalog=calm.catalog.model_copy(update=counted)), held, sources={BUDGETS.name: [state]}
    )


def over(budget: str, cause: OverCause) -> OverBudget:
    return OverBudget(budget, NOW + 60, cause, 24_660_000, 0, 0, 50_000_000, 30_300_000)


def test_a_role_that_a_budget_keeps_from_every_call_is_red_and_the_budget_is_named(calm: PageSnapshot) -> None:
    snapshot = over_budget(calm, over("studio", OverCause.SPENT), 50_000_000, spent=24_660_000, refused=1)
    spent, held = lines(snapshot)
    words = "has $0.02534 of $0.05 left, and the next call of tiny may cost up to $0.0303"
    assert spent.text == f"The budget studio {words}"
    assert (spent.health, spent.action, spent.buttons[0][0]) == (FleetHealth.FAILING, "raise-budget", "studio")
    assert (spent.advice, spent.remedy) == (
        "Raise it by $0.01 or more (in whole cents) for the next call; calls of other jobs may use it up before. "
        "Or wait until it resets",
        "openfall budgets raise studio 0.01",
    )
    assert held.text == "1 job of chat held (budget)"


@pytest.mark.parametrize(
    ("held", "waiting", "advice", "usd"),
    [
        (19, 0, "$0.56 for one call of each of the 19 held jobs, or by $0.01 for the next call", "0.56"),
        (2, 3, "$0.13 for one call of each of the 2 held and 3 waiting jobs, or by $0.01 for the next call", "0.13"),
        (0, 0, "$0.01 or more (in whole cents) for the next call", "0.01"),
        (0, 2, "$0.04 for one call of each of the 2 waiting jobs, or by $0.01 for the next call", "0.04"),
    ],
)
def test_a_budget_names_an_amount_and_what_it_covers(
    calm: PageSnapshot, held: int, waiting: int, advice: str, usd: str
) -> None:
    snapshot = over_budget(calm, over("studio", OverCause.SPENT), 50_000_000, spent=24_660_000, needed=30_300_000)
    jobs = [replace(snapshot.held_jobs[0], id=f"job-{number}") for number in range(held)]
    queues = (replace(QUEUE, waiting=waiting), replace(QUEUE, name="gpu.other.batch", waiting=50))
    shown = lines(holding(replace(snapshot, status=replace(STATUS, queues=queues)), *jobs))
    (line,) = (line for line in shown if line.runbook is RunbookSection.BUDGET_SPENT)
    rest = "calls of other jobs may use it up before. Or wait until it resets"
    assert (line.advice, line.remedy) == (f"Raise it by {advice}; {rest}", f"openfall budgets raise studio {usd}")


def test_a_budget_that_is_exceeded_names_by_how_much_so_that_its_raise_adds_up(calm: PageSnapshot) -> None:
    snapshot = over_budget(calm, over("studio", OverCause.SPENT), 50_000_000, spent=62_000_000, needed=30_300_000)
    (line,) = (line for line in lines(holding(snapshot, snapshot.held_jobs[0])) if line.subject == "studio")
    assert "The budget studio has used $0.012 more than its $0.05, and the next call of" in line.text
    assert line.text.endswith("may cost up to $0.0303")
    assert line.remedy == "openfall budgets raise studio 0.05"  # 0.012 + 0.0303, in whole cents
    assert line.subject == "studio"


def test_of_a_long_list_of_held_jobs_a_line_says_that_it_knows_the_first_only(calm: PageSnapshot) -> None:
    snapshot = over_budget(calm, over("studio", OverCause.SPENT), 50_000_000, spent=24_660_000, needed=30_300_000)
    jobs = [replace(snapshot.held_jobs[0], id=f"job-{number}") for number in range(3)]
    budget, held = lines(replace(snapshot, held=summarize_held(5000, jobs), held_jobs=tuple(jobs)))
    assert "for one call of each of the first 3 held jobs" in budget.advice
    assert held.text == "At least 3 jobs of chat held (budget), the first"


@pytest.mark.parametrize(
    ("over", "is_named"),
    [
        (over("house:bots", OverCause.SPENT), False),
        (over("house", OverCause.ABOVE_LIMIT), True),
        (over("house", OverCause.RESERVED), True),
        (over("house", OverCause.UNPRICED), False),
        (None, False),
    ],
)
def test_only_a_budget_of_every_job_keeps_a_whole_role_from_calls(
    calm: PageSnapshot, over: OverBudget | None, is_named: bool
) -> None:
    snapshot = over_budget(calm, over, 50_000_000)
    assert (headline_section.context(snapshot)["sentence"] == "No caller gets an answer.") == is_named


def test_held_jobs_name_their_roles(calm: PageSnapshot) -> None:
    roles = ("chat", "coder", "titles", "acts", "voices")
    jobs = [held_job(HoldReason.POISONED, id=role, role=role) for role in roles]
    assert lines(holding(calm, *jobs[:2]))[0].text == "2 jobs of chat and coder held (poisoned), the first"
    assert lines(holding(calm, *jobs))[0].text == "5 jobs of acts, chat, coder and 2 more held (poisoned), the first"


def test_a_line_about_poisoned_jobs_names_the_log_and_host_of_each(calm: PageSnapshot) -> None:
    job = held_job(HoldReason.POISONED, crashes=5, crash_log="/var/w 1.log", crash_host="rack-2")
    assert lines(holding(calm, job))[0].advice == (
        "5 workers died while they ran it, so no worker runs it again. An operator decides: read the end of the log of "
        "its last worker ('/var/w 1.log' on rack-2), then replay it once or drop it"
    )
    other = held_job(HoldReason.POISONED, id="k", crash_log="docker logs b0x", crash_host="rack-3")
    assert lines(holding(calm, job, other))[0].advice == (
        "Workers died while they ran each of them, so no worker runs them again. An operator decides: read the end of "
        "the log of their last worker ('/var/w 1.log' on rack-2 and docker logs b0x on rack-3), then replay them once "
        "or drop them"
    )


@pytest.mark.parametrize(("local_only", "workers"), [(None, ()), (None, (replace(WORKER, queues=("degrade",)),))])
def test_without_a_worker_that_probes_no_line_promises_a_probe(
    calm: PageSnapshot, local_only: str | None, workers: Any
) -> None:
    status = replace(STATUS, workers=workers)
    shown = lines(replace(calm, away=(AWAY,), status=status, local_only=local_only))
    (line,) = (line for line in shown if line.runbook is RunbookSection.BREAKER_OPEN)
    assert (line.advice, line.until) == ("No worker probes it now, so its breaker stays open", None)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("anthropic/haiku", "haiku@anthropic"),
        ("anthropic/haiku with key 2", "haiku@anthropic with key 2"),
        ("key:anthropic", "key:anthropic"),
        ("key:anthropic/2", "key:anthropic/2"),
        ("key:(of no backend in this configuration)", "key:(of no backend in this configuration)"),
    ],
)
def test_a_breaker_is_named_as_jobs_name_its_model(name: str, shown: str) -> None:
    assert model_at_backend(name) == shown


def test_an_operator_may_name_a_breaker_either_way(calm: PageSnapshot) -> None:
    assert find_target(calm.catalog, "rack/tiny") == find_target(calm.catalog, "tiny@rack") == "rack/tiny"


def test_closed_breakers_are_not_called_well(calm: PageSnapshot) -> None:
    html = render("sections/breakers.html", now=NOW, actions=ACTIONS, **breaker_section.context(calm))
    assert "No breaker is open" in html
    assert "takes calls" not in html


@pytest.mark.parametrize(("waiting", "text"), [(0, ""), (1, "1 job waits"), (4000, "4,000 jobs wait")])
def test_waiting_jobs_are_counted_in_words(waiting: int, text: str) -> None:
    assert describe_waiting(waiting) == text


def test_no_number_of_a_line_stands_in_the_line_before(calm: PageSnapshot) -> None:
    jobs = [held_job(HoldReason.PAUSED, "tiny", id=f"job-{number}") for number in range(7)]
    status = replace(STATUS, queues=(replace(QUEUE, paused=True, waiting=3),))
    pause, held = (line.line(NOW) for line in lines(holding(calm, *jobs, status=status)))
    assert ("3 jobs wait" in pause, "7 jobs of chat held" in held) == (True, True)
    assert re.findall(r"\d+ jobs?", f"{pause} {held}") == ["3 jobs", "7 jobs"]


@pytest.mark.parametrize("reason", [HoldReason.POISONED, HoldReason.OWN_FAULT, HoldReason.UNREADABLE])
def test_the_headline_says_that_a_held_job_waits_for_an_operator(calm: PageSnapshot, reason: HoldReason) -> None:
    sentence = headline_section.context(holding(calm, held_job(reason)))["sentence"]
    assert sentence == "Other people get answers, but a held job waits for the decision of an operator."
