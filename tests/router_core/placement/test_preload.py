"""What an idle card loads before a job waits for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from openfall.router_core.placement.cards_view import BATCH, INTERACTIVE, Card, CardsView, Demand, ModelFacts
from openfall.router_core.placement.plan_cards import plan_cards
from openfall.router_core.placement.use_by_hour import (
    HOUR_SECONDS,
    WEEK_SECONDS,
    HourOfUse,
    expected_minutes,
    hour_of_week,
    week_of,
    with_a_minute,
)
from tests.router_core.placement.test_plan_cards import resident

NOW = 1000.0
MODEL = ModelFacts(10, 20, 4, 5)
FACTS = {
    "fixed": replace(MODEL, preload=True),
    "busy": replace(MODEL, expected_minutes=30),
    "quiet": replace(MODEL, expected_minutes=5),
    "never": replace(MODEL, expected_minutes=0.5),
}


def plan(in_memory=(), demands=(), facts=FACTS, **more):
    card = Card("card", more.pop("vram_gb", 16), tuple(in_memory), **more)
    return plan_cards(CardsView(facts, tuple(demands), (card,)), NOW)["card"]


def test_a_model_that_is_to_be_preloaded_comes_first_then_the_most_used_one():
    step = plan()
    assert (step.load, step.evict, step.reason) == ("fixed", (), "preloaded: the configuration says so")
    step = plan([resident("fixed")], vram_gb=20)
    assert (step.load, step.reason) == ("busy", "preloaded: people use it at this hour, about 30 of 60 minutes")
    assert plan([resident("fixed"), resident("busy")], vram_gb=30).load == "quiet"


def test_a_model_that_people_hardly_use_is_not_preloaded():
    assert plan([resident("fixed"), resident("busy"), resident("quiet")], vram_gb=40).load is None


@pytest.mark.parametrize(
    ("in_memory", "more"),
    [
        ([resident("never")], {}),
        ([], {"demands": [Demand("never", BATCH, 1, 0.0, 9999.0)], "refused_until": {"never": NOW + 9}}),
        ([], {"switching": True}),
        ([], {"max_models": 0}),
        ([resident("never")], {"vram_gb": 20, "beside": 1.25}),
        ([], {"models": frozenset({"fixed"}), "refused_until": {"fixed": NOW + 9}}),
        ([], {"models": frozenset({"fixed"}), "kept_out": frozenset({"fixed"})}),
        ([], {"models": frozenset({"fixed"}), "recent_loads": ((NOW - 9, 1.0), (NOW - 5, 1.0))}),
    ],
    ids=[
        "it would displace a model", "a job waits", "a switch is made", "the engine is full", "too little beside",
        "its load failed", "an operator unloaded it", "what is loaded does not stay",
    ],
)  # fmt: skip
def test_nothing_is_preloaded(in_memory, more):
    assert plan(in_memory, **more).load is None


def test_a_job_that_waits_for_a_model_of_another_card_stops_no_preload():
    demands = [Demand("elsewhere", INTERACTIVE, 1, NOW, NOW)]
    facts = {**FACTS, "elsewhere": MODEL}
    assert plan(demands=demands, facts=facts, refused_until={"elsewhere": NOW + 9}).load is None
    card = Card("card", 16, models=frozenset({"fixed"}))
    assert plan_cards(CardsView(facts, tuple(demands), (card,)), NOW)["card"].load == "fixed"


def test_two_cards_do_not_preload_the_same_model():
    facts = {"fixed": FACTS["fixed"], "busy": FACTS["busy"]}
    plans = plan_cards(CardsView(facts, (), (Card("left", 16), Card("right", 16))), NOW)
    assert {plans["left"].load, plans["right"].load} == {"fixed", "busy"}


MONDAY = 4 * 86_400.0  # 1970-01-05


def test_the_week_begins_on_monday_at_midnight():
    assert (hour_of_week(MONDAY), hour_of_week(MONDAY - 1), hour_of_week(MONDAY + HOUR_SECONDS)) == (0, 167, 1)
    assert week_of(MONDAY) == week_of(MONDAY - 1) + 1


def test_use_of_every_week_is_expected_again_and_fades_when_it_stops():
    nine, use = MONDAY + 9 * HOUR_SECONDS, {}
    for week in range(10):
        for minute in range(20):
            use[9] = with_a_minute(use, nine + week * WEEK_SECONDS + minute * 60)
    following = nine + 10 * WEEK_SECONDS
    assert expected_minutes(use, following) == pytest.approx(20, abs=0.1)
    assert expected_minutes(use, following - WEEK_SECONDS) == pytest.approx(20, abs=0.1)
    assert expected_minutes(use, following + 5 * WEEK_SECONDS) < 1
    assert expected_minutes(use, following + 12 * HOUR_SECONDS) == 0


def test_half_an_hour_before_half_of_the_use_of_the_next_hour_is_expected():
    use = {9: HourOfUse(60.0, week_of(MONDAY) - 1)}
    assert expected_minutes(use, MONDAY + 8.5 * HOUR_SECONDS) == 15
