"""Models that wait for their card: what they wait for and when, on top of the page and for held jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from openfall.config import load
from openfall.producers.outage_text import Away, Wait
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections import headline_section, open_fall_section
from openfall.producers.page.sections.cause import Cause, FleetHealth
from openfall.producers.page.sources import CARD_STATES
from openfall.router_core.state.card_state import CardState, FailedLoad, ModelOnCard, Switch
from openfall.router_core.vocabulary import HoldReason
from tests.producers.page.snapshots import NOW, STATUS, WORKER, held_job, holding

CONFIG = """
redis: redis://127.0.0.1:1
pools: {gpu: {local: yes}}
backends: {rack: {protocol: ollama, url: "http://127.0.0.1:9", pool: gpu, vram_gb: 24}}
models:
  tiny: {upstream: t, backends: [rack], vram_gb: 6}
  big: {upstream: b, backends: [rack], vram_gb: 20}
roles: {chat: {chain: [tiny], urgency: interactive}, coder: {chain: [big], urgency: interactive}}
"""
QUEUES = ("gpu.tiny.interactive", "gpu.big.interactive")
HAS_BIG = CardState(models={"big": ModelOnCard("rack", NOW)}, starts={"tiny": ((NOW + 40, 0.0),) * 3})


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> PageSnapshot:
    """Two models that one card cannot hold together, and a worker of their queues."""
    file = tmp_path_factory.mktemp("cards") / "openfall.yaml"
    file.write_text(CONFIG)
    status = replace(STATUS, queues=(), workers=(replace(WORKER, queues=(*QUEUES, "degrade")),))
    return PageSnapshot(now=NOW, catalog=load(file).catalog, catalog_digest="", status=status)


def on_card(fleet: PageSnapshot, state: CardState, **more: Any) -> PageSnapshot:
    return replace(fleet, sources={CARD_STATES.name: {"rack": state}}, **more)


def lines(snapshot: PageSnapshot) -> Sequence[Cause]:
    shown: Any = headline_section.context(snapshot)
    causes: Sequence[Cause] = shown["causes"]
    return causes


def late(fleet: PageSnapshot, *names: str) -> PageSnapshot:
    queues = tuple(replace(QUEUE, name=name) for name in names)
    return replace(fleet, status=replace(fleet.status, queues=queues))


QUEUE = replace(STATUS.queues[0], waiting=2, oldest_seconds=26.0)


@pytest.mark.parametrize(
    ("state", "text", "until"),
    [
        (HAS_BIG, "tiny waits for the card rack, which has big", NOW + 40),
        (replace(HAS_BIG, starts={}), "tiny waits for the card rack, which has big", None),
        (CardState(), "tiny waits for the card rack, which has no model in memory", None),
        (
            CardState(switch=Switch("tiny", "rack", ("big",), NOW - 3, "", 20.0)),
            "tiny waits for the card rack, which is loading it",
            None,
        ),
        (
            CardState(switch=Switch("big", "rack", (), NOW - 3, "", 20.0)),
            "tiny waits for the card rack, which is loading big",
            None,
        ),
        (
            CardState(too_large={"tiny": (6.0, 4.0)}),
            "tiny waits for the card rack: it needs 6.0 GB, and others leave 4.0 GB",
            None,
        ),
        (
            CardState(refused={"tiny": FailedLoad(NOW + 60, 60.0, "no memory")}),
            "The card rack could not load tiny: its last load failed: no memory",
            NOW + 60,
        ),
    ],
)
def test_late_jobs_of_a_model_that_waits_for_its_card_say_so_before_that_they_are_late(
    fleet: PageSnapshot, state: CardState, text: str, until: float | None
) -> None:
    cause, consequence = lines(on_card(late(fleet, QUEUES[0]), state))
    assert (cause.text, cause.until) == (text, until)
    assert cause.until_text in ("in", "") or "the manager of the card expects" in cause.until_text
    assert "Nothing to do" not in cause.advice
    assert (consequence.is_consequence, consequence.text.startswith("Interactive jobs start late")) == (True, True)


@pytest.mark.parametrize(
    "change",
    [
        {"models": {"tiny": ModelOnCard("rack", NOW)}},
        {"models": {"big": ModelOnCard("rack", NOW)}, "loads": [(NOW - 60 * n, 50.0) for n in range(5)]},
    ],
    ids=["it is loaded", "the card swaps too often"],
)
def test_no_line_says_that_a_model_waits_for_its_card_where_it_does_not_or_another_says_why(
    fleet: PageSnapshot, change: dict[str, Any]
) -> None:
    shown = lines(on_card(late(fleet, QUEUES[0]), CardState(**change)))
    assert not any("waits for the card" in cause.text for cause in shown)


@pytest.mark.parametrize("change", ["paused", "quiet", "no worker"])
def test_jobs_that_no_worker_would_take_do_not_wait_for_their_card(fleet: PageSnapshot, change: str) -> None:
    snapshot = late(fleet, QUEUES[0])
    if change == "paused":
        queues = tuple(replace(queue, paused=True) for queue in snapshot.status.queues)
        status = replace(snapshot.status, queues=queues)
    else:
        workers = tuple(replace(worker, quiet=True) for worker in snapshot.status.workers)
        status = replace(snapshot.status, workers=workers if change == "quiet" else ())
    shown = lines(on_card(replace(snapshot, status=status), HAS_BIG))
    assert not any("waits for the card" in cause.text or "expects" in cause.until_text for cause in shown)


def test_a_held_job_that_waits_for_its_card_is_not_ready(fleet: PageSnapshot) -> None:
    shown = open_fall_section.context(on_card(holding(fleet, held_job(HoldReason.OUTAGE, "tiny")), HAS_BIG))
    assert shown["why_not_ready"] == "None can run: they return when tiny is loaded on card rack."
    shown = open_fall_section.context(on_card(holding(fleet, held_job(HoldReason.OUTAGE, "big")), HAS_BIG))
    assert shown["why_not_ready"] == ""


def test_a_model_that_is_in_the_memory_of_no_managed_card_is_not_said_to_wait_for_one(fleet: PageSnapshot) -> None:
    assert not any("waits for the card" in cause.text for cause in lines(late(fleet, QUEUES[0])))


@pytest.mark.parametrize(
    ("models", "state", "advice", "until"),
    [
        (("tiny",), HAS_BIG, "It returns by itself when tiny is loaded on card rack", NOW + 40),
        (("big",), HAS_BIG, "It returns by itself when big has a free slot", None),
        (("tiny",), replace(HAS_BIG, starts={}), "It returns by itself when tiny is loaded on card rack", None),
        (("tiny", "big"), CardState(), "It returns by itself when tiny or big is loaded on card rack", None),
    ],
)
def test_a_held_job_names_the_card_that_it_waits_for_and_when(
    fleet: PageSnapshot, models: tuple[str, ...], state: CardState, advice: str, until: float | None
) -> None:
    snapshot = on_card(holding(fleet, held_job(HoldReason.OUTAGE, *models)), state)
    (line,) = lines(snapshot)
    assert (line.advice, line.until) == (advice, until)
    (group,) = open_fall_section.context(snapshot)["groups"]
    condition = advice.partition(" when ")[2]
    assert (group.first.release, group.first.release_at) == (f"Returns by itself when {condition}", until)


def test_a_model_that_takes_no_calls_is_waited_for_before_its_card(fleet: PageSnapshot) -> None:
    away = Away(
        model="tiny", backends=("rack",), since=NOW, cause="timeout", until=NOW, wait=Wait.PROBE, flat_plan=False
    )
    snapshot = on_card(holding(fleet, held_job(HoldReason.OUTAGE, "tiny"), away=(away,)), HAS_BIG)
    held = lines(snapshot)[-1]
    assert (held.advice, held.until) == (
        "It returns by itself when tiny accepts calls again",
        None,
    )


@pytest.mark.parametrize(
    ("waited", "is_failing"),
    [(26.0, True), (10.1, True), (9.9, False), (1.0, False)],
    ids=["late", "just", "soon", "not"],
)
def test_a_card_that_swaps_is_as_bad_as_the_wait_that_it_causes_and_a_pin_has_its_cost(
    fleet: PageSnapshot, waited: float, is_failing: bool
) -> None:
    queues = (replace(QUEUE, name=QUEUES[1], oldest_seconds=waited), replace(QUEUE, name=QUEUES[0], oldest_seconds=0.5))
    turns = CardState(loads=[(NOW - 60 * number, 50.0) for number in range(5)])
    held = holding(fleet, held_job(HoldReason.OUTAGE, "big"), status=replace(fleet.status, queues=queues))
    cause = next(line for line in lines(on_card(held, turns)) if line.text.startswith("The card rack loaded"))
    assert (cause.health is FleetHealth.FAILING) == is_failing
    assert "Jobs wait: 2 interactive for big, 2 interactive for tiny" in cause.text
    assert "jobs for the others then wait until it is unpinned" in cause.advice


@pytest.mark.parametrize("waiting", [QUEUES, (QUEUES[1],), ()], ids=["both", "one", "none"])
def test_each_model_that_takes_turns_on_a_card_can_be_pinned(fleet: PageSnapshot, waiting: tuple[str, ...]) -> None:
    turns = CardState(loads=[(NOW - 60 * number, 50.0) for number in range(5)])
    cause = lines(on_card(late(fleet, *waiting), turns))[0]
    first, second = ("tiny", "big") if len(waiting) != 1 else ("big", "tiny")
    assert cause.buttons == ((first, f"Pin {first}"), (second, f"Pin {second}"))
    assert cause.remedy == f"openfall models pin {first}, or openfall models pin {second}"
