"""The rule of the cards, a sentence a test."""

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
from openfall.router_core.placement.plan_cards import MAX_COMPARED, plan_cards

FACTS = {
    "a": ModelFacts(10, 20, 4, 5),
    "b": ModelFacts(10, 30, 4, 5),
    "c": ModelFacts(4, 8, 4, 5),
    "big": ModelFacts(20, 40, 2, 10),
}
UNUSED = (-NEVER, -NEVER, -NEVER)


def resident(model, ready_at=0.0, last_used=UNUSED, calls=(), **more):
    return ResidentModel(model, True, ready_at, last_used, tuple(calls), **more)


def demand(model, urgency, oldest_at, count=1):
    return Demand(model, urgency, count, oldest_at, oldest_at + (5, 30, 3600)[urgency])


def plan(demands, models, now, vram_gb=20, facts=FACTS, **more):
    card = Card("card", vram_gb, tuple(models), **more)
    return plan_cards(CardsView(facts, tuple(demands), (card,)), now)["card"]


def test_what_fits_beside_is_loaded_at_once():
    step = plan([demand("a", BATCH, 0), demand("c", BATCH, 0)], [resident("a", calls=[CallInFlight("1", BATCH, 1)])], 1)
    assert (step.load, step.evict) == ("c", ())
    assert step.admitted == {"a": BATCH}


def test_a_card_without_demand_changes_nothing():
    assert plan([], [resident("a")], 100).admitted == {"a": BATCH}


def test_a_demand_for_a_resident_model_changes_nothing():
    step = plan([demand("a", INTERACTIVE, 99)], [resident("a")], 100)
    assert (step.load, step.evict, step.draining) == (None, (), ())


def test_an_idle_model_leaves_for_any_job():
    step = plan([demand("big", BATCH, 0)], [resident("a"), resident("c")], 100)
    assert step.load == "big"
    assert set(step.evict) == {"a", "c"}


def test_the_model_with_the_most_urgent_job_comes_next_and_among_equals_the_one_that_is_due_first():
    batch, early, late = demand("a", BATCH, -9000), demand("b", BACKGROUND, 50), demand("big", BACKGROUND, 51)
    assert plan([batch, late, early], [], 100).load == "b"
    assert plan([batch, late], [], 100).load == "big"
    assert plan([batch, replace(late, due_at=60.0), early], [], 100).load == "big", "its deadline needs it"
    assert plan([batch, late, early, demand("c", INTERACTIVE, 99)], [], 100).load == "c"


def test_the_cheapest_set_that_makes_room_leaves():
    used = (-NEVER, -NEVER, 90.0)
    step = plan(
        [demand("b", BATCH, 0)], [resident("a", last_used=used), resident("c", last_used=used)], 100, vram_gb=15
    )
    assert step.evict == ("a",), "c alone is not enough"


def test_of_many_models_the_cheapest_leave():
    small = {f"s{n}": ModelFacts(2, 2 + n, 4, 5) for n in range(MAX_COMPARED + 2)}
    models = [resident(name, last_used=(-NEVER, -NEVER, 90.0)) for name in reversed(small)]
    step = plan([demand("c", BATCH, 0)], models, 100, vram_gb=2 * len(small), facts={**FACTS, **small})
    assert step.evict == ("s0", "s1")


def test_a_batch_is_served_before_another_that_waits_as_long():
    step = plan(
        [demand("a", BATCH, 0, 500), demand("b", BATCH, 0, 500)], [resident("a", ready_at=20)], 5000, vram_gb=12
    )
    assert step.load is None
    assert step.admitted == {"a": BATCH}
    assert step.next_model == "b"
    assert step.reason == "b is next, after the earlier jobs of a"


def test_newcomers_of_a_batch_give_way_once_the_other_is_due():
    demands = [demand("a", BATCH, 4000, 500), demand("b", BATCH, 0, 500)]
    now = 3600 + 51  # it was due at 3600, and then the loads there and back
    step = plan(demands, [resident("a", ready_at=20)], now, vram_gb=12)
    assert step.load == "b"
    assert step.evict == ("a",)


def test_an_interactive_job_does_not_wait_for_a_batch():
    busy = resident("a", calls=[CallInFlight("7", BATCH, 1), CallInFlight("8", BATCH, 60)])
    step = plan([demand("a", BATCH, 0, 500), demand("b", INTERACTIVE, 99)], [busy], 100, vram_gb=12)
    assert step.draining == ("a",)
    assert step.admitted == {}
    assert step.put_back == ("7",), "the call that has run for long ends by itself"


def test_no_job_is_put_back_twice():
    busy = resident("a", calls=[CallInFlight("7", BATCH, 1, was_put_back=True)])
    assert plan([demand("b", INTERACTIVE, 99)], [busy], 100, vram_gb=12).put_back == ()


def test_no_call_is_put_back_beside_calls_that_are_waited_for_anyway():
    busy = resident("a", calls=[CallInFlight("7", BATCH, 1), CallInFlight("8", INTERACTIVE, 1)])
    assert plan([demand("b", INTERACTIVE, 50)], [busy], 200, vram_gb=12).put_back == ()


def test_no_call_is_put_back_while_the_card_is_thrashing():
    loads = tuple((at, 30.0) for at in range(0, 500, 50))
    busy = resident("a", calls=[CallInFlight("7", BATCH, 1)])
    step = plan([demand("b", INTERACTIVE, 99)], [busy], 500, vram_gb=12, recent_loads=loads)
    assert step.draining == ("a",)
    assert step.put_back == ()


def test_no_call_is_put_back_for_a_background_job():
    busy = resident("a", calls=[CallInFlight("7", BATCH, 1)])
    assert plan([demand("b", BACKGROUND, 50)], [busy], 100, vram_gb=12).put_back == ()


def test_the_switch_waits_for_the_calls_in_flight():
    busy = resident("a", calls=[CallInFlight("8", BATCH, 60)])
    step = plan([demand("b", INTERACTIVE, 99)], [busy], 100, vram_gb=12)
    assert step.load is None
    assert step.draining == ("a",)


def test_on_a_thrashing_card_a_model_with_waiting_jobs_stays():
    demands = [demand("a", BATCH, 0, 500), demand("b", INTERACTIVE, 99)]
    loads = tuple((at, 30.0) for at in range(0, 500, 50))
    step = plan(demands, [resident("a", ready_at=480)], 500, vram_gb=12, recent_loads=loads)
    assert step.draining == ()
    assert step.load is None
    assert step.check_at == 480 + 2 * 20
    assert step.admitted == {"a": BATCH}, "it serves everybody until then"


def test_an_idle_model_stays_warm_for_interactive_callers_for_a_minute():
    used = (100.0, -NEVER, -NEVER)
    batch = [demand("b", BATCH, 0, 500)]
    assert plan(batch, [resident("a", last_used=used)], 130, vram_gb=12).load is None
    assert plan(batch, [resident("a", last_used=used)], 161, vram_gb=12).load == "b"


def test_on_a_thrashing_card_no_idle_model_stays_warm_before_a_late_background_job():
    loads = tuple((at, 30.0) for at in range(0, 500, 50))
    used = (495.0, -NEVER, -NEVER)
    late, early = demand("b", BACKGROUND, 469), demand("b", BACKGROUND, 480)
    kept_warm = {**FACTS, "a": replace(FACTS["a"], keep_warm_seconds=60.0)}

    def load(waiting, recent_loads=loads, facts=FACTS, **more):
        model = resident("a", last_used=used, **more)
        return plan([waiting], [model], 500, vram_gb=12, recent_loads=recent_loads, facts=facts).load

    assert load(late) == "b"
    assert load(early) is None, "it is not late"
    assert load(late, recent_loads=()) is None, "the card is not thrashing"
    assert load(demand("b", BATCH, -4000)) is None, "it is a batch job"
    assert load(late, facts=kept_warm) is None, "its keep_warm is set"
    assert load(late, calls=[CallInFlight("1", INTERACTIVE, 1)]) is None, "people use it"


def test_the_plan_says_why_a_model_waits():
    used = (90.0, -NEVER, -NEVER)
    warm = plan([demand("b", BATCH, 0), demand("big", BATCH, 1)], [resident("a", last_used=used)], 100, 15)
    assert warm.reason == "b waits: a is kept warm for more urgent callers"
    both = [resident("a", last_used=used), resident("c", last_used=used)]
    assert plan([demand("big", BATCH, 0)], both, 100).reason == "big waits: a, c are kept warm for more urgent callers"
    busy = [demand("a", INTERACTIVE, 99), demand("b", BACKGROUND, 50), demand("d", BACKGROUND, 51)]
    text = "b waits for its share of the card: more urgent jobs have a"
    assert plan(busy, [resident("a")], 100, 15, {**FACTS, "d": FACTS["b"]}).reason == text


def test_the_plan_says_that_a_model_does_not_fit_beside_pinned_ones():
    facts = {**FACTS, "a": replace(FACTS["a"], pinned=True)}
    waiting = [demand("big", INTERACTIVE, 0)]
    assert plan(waiting, [resident("a")], 100, facts=facts).reason == "big does not fit beside a, pinned"
    assert plan(waiting, [resident("a")], 100, refused_until={"big": 200.0}).reason == ""
    assert plan([demand("b", INTERACTIVE, 0)], [resident("a")], 100, facts=facts, beside=1.25).reason
    assert plan([demand("b", INTERACTIVE, 0)], [resident("a")], 100, facts=facts).load == "b"


def test_keep_warm_of_a_model_says_another_time():
    facts = {**FACTS, "a": replace(FACTS["a"], keep_warm_seconds=5.0)}
    model = resident("a", last_used=(100.0, -NEVER, -NEVER))
    assert plan([demand("b", BATCH, 0)], [model], 106, vram_gb=12, facts=facts).load == "b"
    background = resident("a", last_used=(-NEVER, 100.0, -NEVER))
    assert plan([demand("b", BATCH, 0)], [background], 104, vram_gb=12, facts=facts).load is None


def test_no_model_is_kept_from_interactive_callers_by_interactive_callers():
    step = plan([demand("b", INTERACTIVE, 110)], [resident("a", last_used=(109.0, -NEVER, -NEVER))], 110, vram_gb=12)
    assert step.load == "b"


def test_background_waits_for_interactive_callers_who_have_the_card():
    demands = [demand("a", INTERACTIVE, 100), demand("b", BACKGROUND, 0)]
    step = plan(demands, [resident("a", calls=[CallInFlight("1", INTERACTIVE, 1)] * 4)], 100, vram_gb=12)
    assert step.draining == ()


def test_a_less_urgent_demand_gets_its_share_of_the_card():
    step = plan([demand("a", INTERACTIVE, 5000), demand("b", BACKGROUND, 0)], [resident("a")], 5000, vram_gb=12)
    assert step.load == "b"
    assert step.protected_seconds == 30, "a load's time, for which it keeps its place"
    assert step.reason == "1 job waits for b, whose share of the card is due"


def test_a_model_that_got_its_place_by_its_share_keeps_it_for_a_while():
    demands = [demand("a", INTERACTIVE, 100), demand("b", BACKGROUND, 0)]
    step = plan(demands, [resident("b", ready_at=90, protected_until=120)], 110, vram_gb=12)
    assert step.load is None
    assert step.admitted == {"b": BATCH}


def test_a_protected_model_is_not_displaced_by_the_share_of_another():
    demands = [demand("a", INTERACTIVE, 9000), demand("b", BACKGROUND, 0)]
    step = plan(demands, [resident("a", ready_at=8990, protected_until=9020)], 9000, vram_gb=12)
    assert step.load is None


def test_a_new_model_starts_its_first_call_before_it_leaves():
    demands = [demand("a", BATCH, 0, 9), demand("b", INTERACTIVE, 99)]
    assert plan(demands, [resident("a", ready_at=100, unused=True)], 100, vram_gb=12).admitted == {"a": BATCH}


def test_jobs_less_urgent_than_the_next_model_do_not_start_meanwhile():
    demands = [demand("a", INTERACTIVE, 90), demand("a", BATCH, 0), demand("b", INTERACTIVE, 99)]
    assert plan(demands, [resident("a", ready_at=50)], 100, vram_gb=12).admitted == {"a": INTERACTIVE}


def test_a_switching_card_makes_no_second_switch():
    step = plan([demand("b", INTERACTIVE, 0)], [ResidentModel("a", False, NEVER)], 100, vram_gb=12, switching=True)
    assert step.load is None
    assert step.admitted == {}


def test_a_model_that_could_not_be_loaded_is_not_tried_before_its_time():
    assert plan([demand("b", INTERACTIVE, 0)], [], 100, refused_until={"b": 200.0}).load is None
    assert plan([demand("b", INTERACTIVE, 0)], [], 201, refused_until={"b": 200.0}).load == "b"


def test_a_pinned_model_never_leaves():
    facts = {**FACTS, "a": replace(FACTS["a"], pinned=True)}
    step = plan([demand("b", INTERACTIVE, 0)], [resident("a")], 100, vram_gb=12, facts=facts)
    assert step.load is None
    assert step.draining == ()


def test_a_card_whose_engine_holds_one_model_holds_one():
    step = plan([demand("c", BATCH, 0)], [resident("a")], 100, vram_gb=40, max_models=1)
    assert step.load == "c"
    assert step.evict == ("a",)


def test_an_engine_may_need_more_free_memory_beside_other_models():
    step = plan([demand("c", BATCH, 0)], [resident("a")], 100, vram_gb=14.5, beside=1.25)
    assert step.evict == ("a",), "4 GB are free, and it takes 5 beside another model"
    assert plan([demand("a", BATCH, 0)], [], 100, vram_gb=10, beside=1.25).load == "a"


def test_a_card_loads_only_models_that_its_engines_have():
    cards = (Card("x", 20, models=frozenset({"b"})), Card("y", 20, models=frozenset({"a"})))
    steps = plan_cards(CardsView(FACTS, (demand("a", BATCH, 0),), cards), 1)
    assert (steps["x"].load, steps["y"].load) == (None, "a")


def test_two_cards_do_not_load_the_same_model():
    cards = (Card("x", 20), Card("y", 20))
    steps = plan_cards(CardsView(FACTS, (demand("a", BATCH, 0), demand("b", BATCH, 0)), cards), 1)
    assert {steps["x"].load, steps["y"].load} == {"a", "b"}


def test_a_second_card_loads_the_same_model_if_its_queue_takes_longer_than_two_loads():
    cards = (Card("x", 20, (resident("a"),)), Card("y", 20))
    few = plan_cards(CardsView(FACTS, (demand("a", BATCH, 0, 5),), cards), 1)
    many = plan_cards(CardsView(FACTS, (demand("a", BATCH, 0, 500),), cards), 1)
    assert few["y"].load is None
    assert many["y"].load == "a"


def test_no_copy_is_loaded_while_the_model_is_being_loaded():
    cards = (Card("x", 20, (ResidentModel("a", False, NEVER),), switching=True), Card("y", 20))
    assert plan_cards(CardsView(FACTS, (demand("a", BATCH, 0, 500),), cards), 1)["y"].load is None


def test_a_copy_displaces_no_model_in_use():
    cards = (Card("x", 12, (resident("a"),)), Card("y", 12, (resident("b", calls=[CallInFlight("1", BATCH, 1)]),)))
    step = plan_cards(CardsView(FACTS, (demand("a", BACKGROUND, 0, 500),), cards), 1)["y"]
    assert step.draining == ()


def test_an_operator_unloads_a_model_when_its_calls_have_ended():
    busy = resident("a", calls=[CallInFlight("1", INTERACTIVE, 1)], unload_ordered=True)
    step = plan([demand("a", INTERACTIVE, 0)], [busy, resident("c")], 1)
    assert step.draining == ("a",)
    assert step.admitted == {"c": BATCH}
    step = plan([demand("a", INTERACTIVE, 0)], [replace(busy, calls=()), resident("c")], 1)
    assert step.evict == ("a",)
    assert step.load is None


def test_the_same_view_gives_the_same_plan():
    view = CardsView(FACTS, (demand("a", BATCH, 0, 5), demand("b", INTERACTIVE, 1)), (Card("x", 20, (resident("c"),)),))
    assert plan_cards(view, 9) == plan_cards(view, 9)
