"""When a job could start on the cards: what routing is given."""

from dataclasses import replace

from openfall.router_core.placement.cards_view import (
    BACKGROUND,
    BATCH,
    INTERACTIVE,
    NEVER,
    CallInFlight,
    Card,
    CardsView,
    Demand,
    ModelFacts,
    ResidentModel,
)
from openfall.router_core.placement.start_estimate import estimate_starts

FACTS = {
    "a": ModelFacts(10, 20, 4, 5),
    "b": ModelFacts(10, 30, 4, 5),
    "c": ModelFacts(4, 8, 4, 5),
    "big": ModelFacts(20, 40, 2, 10),
}
WITHIN = (5.0, 30.0, 3600.0)


def resident(model, *calls, **more):
    return ResidentModel(model, **{"ready": True, "ready_at": 0.0, "calls": calls, **more})


def demand(model, urgency, oldest_at=0.0, count=1):
    return Demand(model, urgency, count, oldest_at, oldest_at + WITHIN[urgency])


def seconds(model, urgency, *cards, demands=(), now=100.0):
    starts = estimate_starts(CardsView(FACTS, tuple(demands), cards), now, WITHIN)
    return starts[model][urgency].seconds_from(now)


def card(*models, name="card", vram_gb=20.0, **more):
    return Card(name, vram_gb, models, **more)


def test_a_model_that_takes_calls_starts_at_once():
    assert seconds("a", BATCH, card(resident("a"))) == 0


def test_a_model_that_is_loading_starts_when_its_load_should_end():
    loading = ResidentModel("a", ready=False, ready_at=112.0)
    assert seconds("a", INTERACTIVE, card(loading, switching=True)) == 12
    assert seconds("a", INTERACTIVE, card(replace(loading, ready_at=90.0), switching=True)) == 0


def test_a_model_that_fits_beside_others_takes_its_load():
    assert seconds("c", BATCH, card(resident("a"))) == 8


def test_a_load_waits_for_the_load_that_is_under_way():
    loading = ResidentModel("a", ready=False, ready_at=112.0)
    assert seconds("c", BATCH, card(loading, switching=True)) == 12 + 8


def test_an_idle_model_that_is_kept_warm_for_people_keeps_the_others_waiting():
    warm = resident("a", last_used=(90.0, -NEVER, -NEVER))
    assert seconds("big", INTERACTIVE, card(warm)) == 40
    assert seconds("big", BATCH, card(warm)) == 50 + 40


def test_a_load_waits_for_the_calls_of_the_models_that_leave_but_for_those_that_are_put_back():
    old = resident("a", CallInFlight("1", BACKGROUND, 2.0))
    assert seconds("big", INTERACTIVE, card(old)) == 3 + 40
    young = resident("a", CallInFlight("1", BATCH, 2.0))
    assert seconds("big", INTERACTIVE, card(young)) == 40
    again = resident("a", CallInFlight("1", BATCH, 2.0, was_put_back=True))
    assert seconds("big", INTERACTIVE, card(again)) == 3 + 40


def test_jobs_that_are_served_first_count_with_their_calls():
    waiting = demand("a", BATCH, 0.0, count=40)
    assert seconds("big", BATCH, card(resident("a", last_used=(50.0,) * 3)), demands=[waiting]) == 40 * 5 / 4 + 40
    more_urgent = [waiting, demand("a", INTERACTIVE, 99.0)]
    assert seconds("big", BATCH, card(resident("a")), demands=more_urgent) > 1000, "only its share of the time is left"


def test_models_that_are_loaded_before_it_count_with_their_load_and_a_call():
    before = demand("b", INTERACTIVE, 90.0)
    assert seconds("big", INTERACTIVE, card(resident("c")), demands=[before]) == 30 + 5 + 40
    later = demand("b", BATCH, 90.0)
    assert seconds("big", INTERACTIVE, card(resident("c")), demands=[later]) == 40
    elsewhere = card(resident("c"), models=frozenset({"big", "c"}))
    assert seconds("big", INTERACTIVE, elsewhere, demands=[before]) == 40


def test_a_model_that_leaves_comes_back_after_the_next_one():
    leaving = resident("a", CallInFlight("1", BACKGROUND, 1.0))
    wanted = demand("big", INTERACTIVE, 99.0)
    assert seconds("a", BACKGROUND, card(leaving), demands=[wanted]) == 40 + 20 + 5
    ordered = resident("a", unload_ordered=True)
    assert seconds("a", BACKGROUND, card(ordered)) == 20 + 5, "an operator unloads it"


def test_a_model_that_fits_nowhere_never_starts():
    assert seconds("big", INTERACTIVE, card(vram_gb=16.0)) == NEVER
    assert seconds("big", INTERACTIVE) == NEVER


def test_a_model_whose_load_failed_is_tried_again_later():
    assert seconds("a", BATCH, card(refused_until={"a": 130.0})) == 30 + 20
    assert seconds("a", BATCH, card(refused_until={"a": 99.0})) == 20


def test_of_several_cards_the_soonest_counts():
    small = card(resident("c"), name="small", vram_gb=14.0)
    assert seconds("a", INTERACTIVE, card(resident("big"), vram_gb=24.0), small) == 20
