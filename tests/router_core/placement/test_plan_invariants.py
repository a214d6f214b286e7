"""What holds for the plan of any view."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from openfall.router_core.placement.cards_view import (
    BATCH,
    LONG_AGO,
    CallInFlight,
    Card,
    CardsView,
    Demand,
    ModelFacts,
    ResidentModel,
)
from openfall.router_core.placement.plan_cards import plan_cards
from openfall.router_core.placement.start_estimate import estimate_starts

NOW = 10_000.0
MODELS = ("a", "b", "c", "d", "e")
moments = st.sampled_from([LONG_AGO, NOW - 5000, NOW - 400, NOW - 61, NOW - 20, NOW - 1, NOW])
of_any_clock = moments | st.sampled_from([NOW + 1, NOW + 3600])
"""Also moments of a clock that was set back."""
urgencies = st.integers(0, BATCH)
facts = st.builds(
    ModelFacts,
    vram_gb=st.sampled_from([0.0, 2.5, 5, 9, 18, 20, 1e6]),
    load_seconds=st.sampled_from([4, 15, 35, 90]),
    slots=st.integers(1, 4),
    call_seconds=st.sampled_from([1, 8, 60]),
    pinned=st.sampled_from([False, False, False, True]),
    keep_warm_seconds=st.sampled_from([None, None, 0.0, 300.0]),
    preload=st.sampled_from([False, False, True]),
    expected_minutes=st.sampled_from([0.0, 0.0, 30.0]),
)
calls = st.builds(
    CallInFlight,
    id=st.sampled_from("123456789"),
    urgency=urgencies,
    elapsed_seconds=st.sampled_from([0.5, 10.0, 300.0]),
    was_put_back=st.booleans(),
)


@st.composite
def residents(draw, model, switching):
    ready = draw(st.booleans()) if switching else True
    return ResidentModel(
        model,
        ready,
        draw(of_any_clock),
        tuple(draw(of_any_clock) for _ in range(3)),
        tuple(draw(st.lists(calls, max_size=3))) if ready else (),
        draw(st.booleans()),
        draw(of_any_clock),
    )


@st.composite
def cards(draw, name, known):
    vram_gb, switching, held, left = draw(st.sampled_from([12.0, 24.0, 48.0])), draw(st.booleans()), [], 0.0
    max_models = draw(st.integers(1, 5))
    for model in draw(st.lists(st.sampled_from(MODELS), max_size=max_models, unique=True)):
        if left + known[model].vram_gb <= vram_gb:
            held.append(draw(residents(model, switching)))
            left += known[model].vram_gb
    return Card(
        name, vram_gb, tuple(held), switching, max_models,
        {model: draw(moments) for model in MODELS}, {model: draw(moments) + 1 for model in MODELS},
        tuple((at, 30.0) for at in draw(st.lists(of_any_clock, max_size=9))),
        draw(st.none() | st.frozensets(st.sampled_from(MODELS))), draw(st.sampled_from([1.0, 1.25])),
    )  # fmt: skip


@st.composite
def demands(draw):
    oldest_at = draw(moments.filter(lambda at: at > LONG_AGO))
    urgency = draw(urgencies)
    return Demand(
        draw(st.sampled_from(MODELS)), urgency, draw(st.sampled_from([1, 3, 900])), oldest_at,
        oldest_at + (5, 30, 3600)[urgency],
    )  # fmt: skip


@st.composite
def views(draw):
    known = {model: draw(facts) for model in MODELS}
    names = ("x", "y")[: draw(st.integers(1, 2))]
    waiting = draw(st.lists(demands(), max_size=8, unique_by=lambda demand: (demand.model, demand.urgency)))
    shares = draw(st.sampled_from([(0.0, 0.1, 0.05), (0.0, 0.0, 0.0), (0.5, 0.9, 0.9)]))
    return CardsView(known, tuple(waiting), tuple(draw(cards(name, known)) for name in names), shares)


@given(views())
def test_a_plan_fits_the_card_and_touches_no_model_in_use(view):
    plans = plan_cards(view, NOW)
    assert set(plans) == {card.name for card in view.cards}
    for card in view.cards:
        plan, held = plans[card.name], {model.model: model for model in card.resident}
        leaving = {*plan.evict, *plan.draining}
        assert leaving <= set(held), "only what is there leaves"
        assert not any(view.facts[model].pinned or not held[model].ready for model in leaving)
        assert not any(held[model].calls for model in plan.evict)
        assert not leaving & set(plan.admitted), "what leaves gets no new call"
        assert all(held[model].ready for model in plan.admitted)
        assert set(plan.put_back) <= {call.id for model in plan.draining for call in held[model].calls}
        if plan.load is None:
            continue
        assert plan.load not in held
        assert not card.switching
        assert card.refused_until[plan.load] <= NOW
        after = [model for model in held if model not in plan.evict] + [plan.load]
        assert sum(view.facts[model].vram_gb for model in after) <= card.vram_gb + 1e-6
        assert len(after) <= card.max_models
        if len(after) > 1:
            beside_gb = sum(view.facts[model].vram_gb for model in after[:-1])
            assert card.beside * view.facts[plan.load].vram_gb <= card.vram_gb - beside_gb + 1e-6
        assert card.models is None or plan.load in card.models


@given(views())
def test_a_start_is_a_time_from_now_on_or_never(view):
    starts = estimate_starts(view, NOW, (5, 30, 3600))
    assert set(starts) == set(MODELS)
    for by_urgency in starts.values():
        assert all(start.seconds_from(NOW) >= 0 for start in by_urgency)


@given(views(), st.permutations(range(8)))
def test_the_order_in_which_demand_is_listed_changes_no_plan(view, order):
    shuffled = tuple(view.demands[place] for place in order if place < len(view.demands))
    assert plan_cards(replace(view, demands=shuffled), NOW) == plan_cards(view, NOW)


@given(views(), st.sampled_from(MODELS), urgencies)
def test_a_newcomer_that_is_less_urgent_cancels_no_draining(view, model, urgency):
    before = plan_cards(view, NOW)
    draining = {name: plan for name, plan in before.items() if plan.draining}
    most_urgent = {
        name: min(demand.urgency for demand in view.demands if demand.model == plan.next_model)
        for name, plan in draining.items()
    }
    if any(demand.model == model and demand.urgency == urgency for demand in view.demands):
        return
    newcomer = Demand(model, urgency, 1, NOW, NOW + 3600)
    after = plan_cards(replace(view, demands=(*view.demands, newcomer)), NOW)
    for name in draining:
        held = next(card for card in view.cards if card.name == name).resident
        if urgency > most_urgent[name] and not any(entry.unused for entry in held) and len(view.cards) == 1:
            assert after[name].draining or after[name].load, "the card still makes room"
