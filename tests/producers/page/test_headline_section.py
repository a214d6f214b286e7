"""The sentence on top, as a pure function of a snapshot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openfall.config import load
from openfall.producers.outage_text import Away, Wait
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections import headline_section
from openfall.producers.page.sections.cause import FleetHealth
from openfall.producers.page.sources import BUDGETS, CARD_STATES
from openfall.producers.redis_cli import redis_cli
from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.state.audit_log import AuditEntry
from openfall.router_core.state.budget_book import BudgetState
from openfall.router_core.state.card_state import CardState
from openfall.router_core.state.fleet_status import MemoryRefusals
from openfall.router_core.vocabulary import ErrorClass, HoldReason, Urgency
from tests.producers.page.snapshots import NOW, QUEUE, STATUS, WORKER, calm_snapshot, held_job, holding


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> PageSnapshot:
    return calm_snapshot(tmp_path_factory.mktemp("health"))


def health(snapshot: PageSnapshot) -> tuple[FleetHealth, str, str]:
    """The health, the sentence, and every cause with who waits in one text."""
    shown: Any = headline_section.context(snapshot)
    causes = (f"{'. '.join(filter(None, (c.text, c.effect)))} [{c.remedy or c.section}]" for c in shown["causes"])
    return shown["health"], shown["sentence"], " | ".join(causes)


def test_a_calm_fleet_answers(calm: PageSnapshot) -> None:
    assert health(calm) == (
        FleetHealth.GOOD,
        "People get answers: nothing is late, nothing waits, 1 worker ready.",
        "",
    )


def test_a_fleet_without_redis_answers_no_caller(calm: PageSnapshot) -> None:
    level, sentence, causes = health(replace(calm, redis_away_since=NOW - 9))
    assert (level, sentence) == (FleetHealth.FAILING, "No caller gets an answer: Redis does not answer.")
    assert causes.endswith("[openfall preflight]")


def test_waiting_jobs_without_a_worker_are_a_failure_and_name_the_command(calm: PageSnapshot) -> None:
    queue = replace(QUEUE, waiting=4, oldest_seconds=2.0)
    level, sentence, causes = health(replace(calm, status=replace(STATUS, queues=(queue,), workers=())))
    assert (level, sentence) == (FleetHealth.FAILING, "No caller gets an answer.")
    assert "No worker is alive. 4 jobs wait" in causes
    assert "openfall work POOL" in causes


@pytest.mark.parametrize(
    ("waited", "level"), [(3.0, FleetHealth.GOOD), (8.0, FleetHealth.IMPAIRED), (26.0, FleetHealth.FAILING)]
)
def test_the_age_of_the_oldest_interactive_job_decides(calm: PageSnapshot, waited: float, level: FleetHealth) -> None:
    queue = replace(QUEUE, waiting=1, oldest_seconds=waited)
    assert health(replace(calm, status=replace(STATUS, queues=(queue,))))[0] is level


def test_a_model_that_takes_no_calls_is_named_with_its_cause(calm: PageSnapshot) -> None:
    away = Away(
        model="tiny", backends=("rack",), since=NOW - 60, cause="timeout", until=NOW + 30, wait=Wait.PROBE,
        flat_plan=False,
    )  # fmt: skip
    level, sentence, causes = health(replace(calm, away=(away,)))
    assert (level, sentence) == (FleetHealth.FAILING, "No caller gets an answer.")
    assert "tiny@rack takes no calls: timeout [breakers]" in causes


def test_a_model_that_its_backend_does_not_have_is_an_operators_task(calm: PageSnapshot) -> None:
    away = Away(
        model="tiny", backends=("rack",), since=NOW - 60, cause="not_installed (HTTP 404)", until=NOW + 30,
        wait=Wait.PROBE, flat_plan=False, error=ErrorClass.NOT_INSTALLED,
    )  # fmt: skip
    (cause,) = headline_section.context(replace(calm, away=(away,)))["causes"]
    assert "correct `upstream` of the model" in cause.advice
    assert cause.remedy == "openfall preflight"


def test_the_switch_is_named_before_the_held_jobs(calm: PageSnapshot) -> None:
    jobs = [held_job(HoldReason.OUTAGE, "tiny", id=str(number)) for number in range(3)]
    _, sentence, causes = health(holding(calm, *jobs, local_only="audit"))
    assert sentence == "People get answers, but some things need attention."
    assert causes == (
        "Local only: no job leaves the local pools ('audit') [openfall local-only off] | "
        "3 jobs of chat held (outage), the first [open-fall]"
    )


def test_a_switch_that_leaves_no_model_is_a_failure(calm: PageSnapshot) -> None:
    pools = {name: pool.model_copy(update={"local": False}) for name, pool in calm.catalog.pools.items()}
    cloud = calm.catalog.model_copy(update={"pools": pools})
    level, sentence, _ = health(replace(calm, catalog=cloud, local_only="audit"))
    assert (level, sentence) == (FleetHealth.FAILING, "No caller gets an answer.")


def test_a_full_redis_says_that_no_job_is_accepted(calm: PageSnapshot) -> None:
    full = replace(calm, status=replace(STATUS, memory_pressure="92 % of maxmemory"))
    assert health(full)[1] == "No new job is accepted: Redis is nearly full."
    assert health(full)[2] == "92 % of maxmemory [redis-cli -h PRIMARY CONFIG SET maxmemory SIZE]"
    text = "Redis uses 57 MiB of its 64 MiB of memory (maxmemory)"
    refusals = MemoryRefusals(NOW - 60, 64 * 2**20, 3)
    status = replace(STATUS, memory_pressure=text, memory_refusals=refusals)
    named = replace(full, redis_url="redis://10.0.0.7:6380/0", status=status)
    assert health(named)[2].endswith("[redis-cli -h 10.0.0.7 -p 6380 CONFIG SET maxmemory 128mb]")


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("redis://127.0.0.1", "redis-cli -h 127.0.0.1 -p 6379"),
        ("rediss://ops:***@box:6390/2", "redis-cli -h box -p 6390 --tls --user ops --askpass"),
        ("unix:///run/valkey.sock", "redis-cli -s /run/valkey.sock"),
        ("the primary of Sentinel service of (a:26379)", "redis-cli -h PRIMARY"),
        ("", "redis-cli -h PRIMARY"),
    ],
)
def test_the_command_for_redis_has_its_address_and_no_password(url: str, command: str) -> None:
    assert redis_cli(url) == command


def test_a_held_job_of_its_own_fault_waits_for_an_operator_whatever_releases_others(calm: PageSnapshot) -> None:
    jobs = held_job(HoldReason.OUTAGE, "tiny", id="a"), held_job(HoldReason.POISONED)
    assert "1 job of chat held (poisoned) [open-fall]" in health(holding(calm, *jobs))[2]


def test_people_who_only_wait_too_long_are_not_called_unanswered(calm: PageSnapshot) -> None:
    queue = replace(QUEUE, waiting=1, oldest_seconds=26.0)
    sentence = health(replace(calm, status=replace(STATUS, queues=(queue,))))[1]
    assert sentence == "People wait too long for their answers."


def test_a_fleet_whose_workers_are_all_quiet_answers_no_new_caller(calm: PageSnapshot) -> None:
    status = replace(STATUS, queues=(replace(QUEUE, waiting=1),), workers=(replace(WORKER, quiet=True),))
    level, _, causes = health(replace(calm, status=status))
    assert level is FleetHealth.FAILING
    assert "An operator keeps w from further jobs [openfall workers resume w]" in causes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"suspended": True}, "Every worker is suspended [rq resume -u REDIS_URL]"),
        ({"memory_pressure": "92 % of maxmemory"}, "92 % of maxmemory"),
        (
            {"queues": (replace(QUEUE, waiting=2, paused=True),)},
            "The queue gpu.tiny.interactive is paused. 2 jobs wait",
        ),
        (
            {"queues": (replace(QUEUE, name="gpu.tiny.batch", waiting=2),)},
            "No worker serves gpu.tiny.batch. 2 jobs wait",
        ),
        (
            {"falling": 2, "workers": (replace(WORKER, queues=("gpu.tiny.interactive",)),)},
            "2 jobs without a model wait",
        ),
        (
            {"workers": (replace(WORKER, shortage="has no file descriptors"),)},
            "The worker w on host has no file descriptors",
        ),
        ({"workers": (replace(WORKER, catalog="abc"),)}, "The worker w on host reads another configuration"),
    ],
    ids=["suspended", "memory", "paused", "not served", "no degrade worker", "short", "another file"],
)
def test_each_fault_is_named_with_what_helps(calm: PageSnapshot, change: dict[str, Any], words: str) -> None:
    assert words in health(replace(calm, status=replace(STATUS, **change)))[2]


def test_a_spent_budget_is_named_with_its_end_and_the_command_that_raises_it(calm: PageSnapshot) -> None:
    budget = Budget.model_construct(name="cloud-day")
    state = BudgetState(
        budget=budget, window="day", ends_at=NOW + 60, limit=5_000_000_000, spent=5_000_000_000, refused=3
    )
    causes = health(replace(calm, sources={BUDGETS.name: [state]}))[2]
    assert causes == "The budget cloud-day is spent ($5.00 of $5.00) [openfall budgets raise cloud-day USD]"
    twelve: Any = headline_section.context(replace(calm, sources={BUDGETS.name: [state] * 12}))
    assert (len(twelve["causes"]), twelve["more"], len(twelve["problems"])) == (10, 2, 12), "a monitor gets them all"
    problem = twelve["problems"][0]
    assert (problem.code, problem.severity, problem.subject) == ("budget_spent", "warning", "cloud-day")
    almost = replace(state, spent=4_990_000_000, needed=20_000_000)
    causes = health(replace(calm, sources={BUDGETS.name: [almost]}))[2]
    assert "is spent ($4.99 of $5.00; the next call may cost up to $0.02)" in causes
    assert health(replace(calm, sources={BUDGETS.name: [replace(almost, needed=0)]}))[2] == ""


def test_a_card_whose_models_take_turns_is_named(calm: PageSnapshot) -> None:
    turns = CardState(loads=[(NOW - 100 * number, 50.0) for number in range(5)])
    once = CardState(loads=[(NOW - 100, 500.0)])
    causes = health(replace(calm, sources={CARD_STATES.name: {"gpu0": turns, "gpu1": once}}))[2]
    assert "The card gpu0 loaded models 5 times in 10 minutes, 250 s in all: they take turns" in causes
    assert "gpu1" not in causes


def test_a_card_whose_models_take_turns_names_the_model_with_the_most_urgent_jobs(tmp_path: Path) -> None:
    text = (
        "redis: redis://127.0.0.1:1\npools: {gpu: {local: yes}}\n"
        "backends: {rack: {protocol: ollama, url: 'http://127.0.0.1:9', pool: gpu, vram_gb: 10}}\n"
        "models: {big: {upstream: b, backends: [rack], vram_gb: 8},"
        " small: {upstream: s, backends: [rack], vram_gb: 5}}\n"
        "roles: {chat: {chain: [small]}}\n"
    )
    (tmp_path / "openfall.yaml").write_text(text)
    queues = (
        replace(QUEUE, name="gpu.big.batch", waiting=40, oldest_seconds=90.0),
        replace(QUEUE, name="gpu.small.interactive", waiting=2, oldest_seconds=3.0),
    )
    turns = CardState(loads=[(NOW - 100 * number, 50.0) for number in range(5)])
    snapshot = PageSnapshot(
        now=NOW, catalog=load(tmp_path / "openfall.yaml").catalog, catalog_digest="",
        status=replace(STATUS, queues=queues), sources={CARD_STATES.name: {"rack": turns}},
    )  # fmt: skip
    causes = health(snapshot)[2]
    assert "Jobs wait: 2 interactive for small, 40 batch for big. big (8 GB) and small (5 GB) do not fit" in causes
    assert "do not fit together into its 10 GB [openfall models pin small, or openfall models pin big]" in causes


CHAINS = {"chat": ("tiny",), "coder": ("big", "tiny"), "cloudy": ("cloud",)}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> PageSnapshot:
    """Two local models, one in the cloud; every queue has a worker."""
    file = tmp_path_factory.mktemp("mixed") / "openfall.yaml"
    roles = ", ".join(f"{name}: {{chain: [{', '.join(chain)}]}}" for name, chain in CHAINS.items())
    file.write_text(
        "redis: redis://127.0.0.1:1\npools: {gpu: {local: yes}, web: {}}\n"
        "backends: {rack: {protocol: openai, url: 'http://127.0.0.1:9', pool: gpu},"
        " far: {protocol: openai, url: 'http://127.0.0.1:9', pool: web}}\n"
        "models: {tiny: {upstream: t, backends: [rack]}, big: {upstream: b, backends: [rack]},"
        f" cloud: {{upstream: c, backends: [far]}}}}\nroles: {{{roles}}}\n"
    )
    catalog = load(file).catalog
    queues = tuple(catalog.queue(model, urgency) for model in catalog.models for urgency in Urgency)
    status = replace(STATUS, queues=(), workers=(replace(WORKER, queues=(*queues, "degrade")),))
    return PageSnapshot(now=NOW, catalog=catalog, catalog_digest="", status=status)


def away_from(model: str | None, backend: str, wait: Wait = Wait.PROBE) -> Away:
    return Away(
        model=model, backends=(backend,), since=NOW, cause="timeout", until=NOW, wait=wait, flat_plan=False
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "sentence", "cause"),
    [
        ({"away": (away_from("tiny", "rack"),)}, "The role chat gets", "tiny@rack takes no calls: timeout"),
        ({"away": (away_from(None, "rack"),)}, "The roles chat and coder get", "the key of rack takes no calls"),
        ({"away": (away_from("cloud", "far"),)}, "The role cloudy gets", "cloud@far takes no calls"),
        ({"local_only": "audit"}, "The role cloudy gets", "Local only: no job leaves the local pools"),
    ],
    ids=["a model", "the key of a backend", "a cloud model", "the switch"],
)  # fmt: skip
def test_a_role_whose_whole_chain_is_away_is_named_in_the_headline_and_its_cause_in_one_line(
    mixed: PageSnapshot, change: dict[str, Any], sentence: str, cause: str
) -> None:
    level, shown, causes = health(replace(mixed, **change))
    assert (level, shown) == (FleetHealth.FAILING, f"{sentence} no answer; other roles have a model that takes calls.")
    assert causes.startswith(cause)
    assert " | " not in causes


def test_where_several_causes_stop_roles_each_role_names_its_own(mixed: PageSnapshot) -> None:
    paused = replace(mixed.status, queues=(replace(QUEUE, name="web.cloud.background", paused=True),))
    away = (away_from("tiny", "rack"),)
    causes = health(replace(mixed, status=paused, away=away))[2]
    assert "No model of the role chat takes calls (tiny: timeout) [queues]" in causes
    assert "No model of the role cloudy takes calls (cloud: paused) [queues]" in causes
    (worker,) = mixed.status.workers
    local = replace(worker, queues=tuple(queue for queue in worker.queues if queue.startswith("gpu.")))
    missing = replace(mixed.status, workers=(local,))
    assert "(cloud: no worker)" in health(replace(mixed, status=missing, away=away))[2]


def test_a_role_that_is_kept_local_by_its_own_rule_has_a_line(mixed: PageSnapshot) -> None:
    roles = {**mixed.catalog.roles, "cloudy": mixed.catalog.roles["cloudy"].model_copy(update={"local_only": True})}
    catalog = mixed.catalog.model_copy(update={"roles": roles})
    assert "No model of the role cloudy takes calls (cloud: local only)" in health(replace(mixed, catalog=catalog))[2]


@pytest.mark.parametrize(
    ("scope", "is_silent"),
    [({}, True), ({"model": "cloud"}, True), ({"group": "bots"}, False), ({"each": "group"}, False)],
)
def test_a_spent_budget_of_everybody_silences_a_role_whose_models_it_counts(
    tmp_path: Path, scope: dict[str, Any], is_silent: bool
) -> None:
    file = tmp_path / "openfall.yaml"
    terms = "".join(f", {name}: {value}" for name, value in scope.items())
    file.write_text(
        "redis: redis://127.0.0.1:1\nbackends: {far: {protocol: openai, url: 'http://127.0.0.1:9', pool: cloud}}\n"
        "models: {cloud: {upstream: c, backends: [far], max_tokens: 9, usd_per_mtok: {in: 1, out: 1}}}\n"
        "groups: [{name: bots, match: ['bots:*']}]\nroles: {cloudy: {chain: [cloud], urgency: interactive}}\n"
        f"budgets: [{{name: house, usd: 5{terms}}}]\n"
    )
    catalog = load(file).catalog
    worker = replace(WORKER, queues=("cloud.cloud.interactive",))
    budget = BudgetState(budget=catalog.budgets[0], window="ever", ends_at=NOW, limit=5, spent=5)
    snapshot = PageSnapshot(
        now=NOW, catalog=catalog, catalog_digest="", status=replace(STATUS, queues=(), workers=(worker,)),
        sources={BUDGETS.name: [budget]},
    )  # fmt: skip
    assert (health(snapshot)[1] == "No caller gets an answer.") == is_silent


def test_a_pause_and_the_switch_say_who_and_since_when(calm: PageSnapshot) -> None:
    pause = AuditEntry(actor="mika", via="cli", action="queue.pause", subject="gpu.*", at=NOW - 60)
    switch = AuditEntry(actor="anna", via="page", action="local_only.on", subject="fleet", at=NOW - 30)
    status = replace(STATUS, queues=(replace(QUEUE, waiting=2, paused=True),))
    shown: Any = headline_section.context(replace(calm, status=status, local_only="audit", audit=(switch, pause)))
    since = {cause.text: cause.since for cause in shown["causes"] if not cause.is_consequence}
    assert since == {
        "The queue gpu.tiny.interactive is paused (mika)": NOW - 60,
        "Local only: no job leaves the local pools (anna: 'audit')": NOW - 30,
    }


def test_a_cooldown_after_a_429_silences_no_role(mixed: PageSnapshot) -> None:
    cooling = away_from("cloud", "far", Wait.COOLDOWN)
    assert health(replace(mixed, away=(cooling,)))[0] is FleetHealth.IMPAIRED


def test_without_any_worker_no_caller_gets_an_answer(mixed: PageSnapshot) -> None:
    level, sentence, causes = health(replace(mixed, status=replace(mixed.status, workers=())))
    assert (level, sentence) == (FleetHealth.FAILING, "No caller gets an answer.")
    assert causes == "No worker is alive [openfall up, or openfall work POOL]"


def test_waiting_jobs_in_time_are_no_fault(calm: PageSnapshot) -> None:
    queue = replace(QUEUE, waiting=3, oldest_seconds=1.0)
    sentence = health(replace(calm, status=replace(STATUS, queues=(queue,))))[1]
    assert sentence == "People get answers: nothing is late, 3 wait, 1 worker ready."
