from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.model_index import model_index
from openfall.router_core.catalog.prices import Prices
from openfall.router_core.catalog.roles_and_tasks import TaskType
from openfall.router_core.catalog.urgency_policy import Cloud, Order, UrgencyPolicy
from openfall.router_core.routing.fleet_state import FOREVER, Blocked, FleetState, ModelState
from openfall.router_core.routing.rank import Entry, RankContext, considered_model, rank
from openfall.router_core.routing.requirements import Requirements
from openfall.router_core.vocabulary import BlockReason, Urgency

NOW = 1_000_000.0
POLICY = UrgencyPolicy(start_within=30, expires_after=3600)
BACKENDS = {
    "tower": Backend(url="http://127.0.0.1:8080", pool="gpu", slots=2),
    "provider": Backend(url="https://example.invalid", pool="cloud", slots=8),
}


def local(**fields: Any) -> ModelSpec:
    return ModelSpec(upstream="m", backends=("tower",), **fields)


def cloud(**fields: Any) -> ModelSpec:
    return ModelSpec(upstream="m", backends=("provider",), **fields)


def blocked(seconds: float) -> Blocked:
    return Blocked(BlockReason.BREAKER, NOW + seconds, f"its breaker is open for {seconds:.0f} s more")


def cooling(seconds: float) -> Blocked:
    return Blocked(BlockReason.COOLDOWN, NOW + seconds, f"it cools down for {seconds:.0f} s more")


def entries(models: dict[str, ModelSpec]) -> list[Entry]:
    members = model_index(
        Catalog(backends=BACKENDS, models=models, tasks={"code": TaskType(chain=tuple(models))} if models else {})
    )
    return [(number, alias, members[alias]) for number, alias in enumerate(models, 1)]


def context(urgency: Urgency, order: Order = Order.BY_URGENCY, **fields: Any) -> RankContext:
    return RankContext(
        **{"urgency": urgency, "policy": POLICY, "order": order, "place": "role ace", "now": NOW, **fields}
    )


def ranked(models: dict[str, ModelSpec], states: dict[str, ModelState], on: RankContext) -> dict[str, str]:
    """The order, each with its reason."""
    return {
        considered.model: considered.reason
        for considered in (considered_model(s, on) for s in rank(entries(models), FleetState(models=states), on))
    }


INTERACTIVE, BACKGROUND, BATCH = Urgency


class TestAsWritten:
    def test_a_chain_without_data_keeps_its_order(self) -> None:
        models = {"opus": cloud(), "haiku": cloud(), "tiny": local()}
        for urgency in Urgency:
            assert ranked(models, {}, context(urgency, Order.AS_WRITTEN)) == {
                "opus": "1st in role ace",
                "haiku": "2nd in role ace",
                "tiny": "3rd in role ace",
            }

    def test_an_interactive_job_goes_first_where_it_can_start_in_time(self) -> None:
        models = {"stuck": cloud(), "busy": local(), "haiku": cloud()}
        states = {
            "stuck": ModelState(blocked=blocked(24)),
            "busy": ModelState(waiting=40, latency=2.0, loaded=True),
        }
        assert ranked(models, states, context(INTERACTIVE, Order.AS_WRITTEN)) == {
            "haiku": "3rd in role ace",
            "busy": "moved back: about 40 s for 40 waiting jobs",
            "stuck": "moved back: its breaker is open for 24 s more",
        }

    @pytest.mark.parametrize("urgency", Urgency)
    def test_a_local_model_that_is_not_loaded_is_called_as_written_and_so_is_loaded(self, urgency: Urgency) -> None:
        models = {"mermaid": local(load_time=45), "gemini": cloud()}
        states = {"mermaid": ModelState(loaded=False)}
        assert ranked(models, states, context(urgency, Order.AS_WRITTEN)) == {
            "mermaid": "1st in role ace, not loaded",
            "gemini": "2nd in role ace",
        }

    def test_an_interactive_job_stays_where_it_starts_exactly_in_time(self) -> None:
        models = {"busy": local(), "haiku": cloud()}
        states = {"busy": ModelState(waiting=2, latency=POLICY.start_within)}
        assert list(ranked(models, states, context(INTERACTIVE, Order.AS_WRITTEN))) == ["busy", "haiku"]

    def test_among_blocked_models_the_first_to_be_free_comes_first(self) -> None:
        models = {"a": cloud(), "b": cloud(), "c": cloud()}
        states = {"a": ModelState(blocked=blocked(FOREVER)), "b": ModelState(blocked=blocked(9))}
        states["c"] = ModelState(blocked=blocked(3))
        reasons = ranked(models, states, context(INTERACTIVE, Order.AS_WRITTEN))
        assert list(reasons) == ["c", "b", "a"]
        assert reasons["c"] == "3rd in role ace; its breaker is open for 3 s more"

    @pytest.mark.parametrize("urgency", [BACKGROUND, BATCH])
    def test_a_job_with_time_bears_loading_and_a_short_block(self, urgency: Urgency) -> None:
        models = {"cold": local(load_time=35), "stuck": cloud(), "shut": cloud(), "free": cloud()}
        states = {
            "cold": ModelState(loaded=False),
            "stuck": ModelState(blocked=cooling(30)),
            "shut": ModelState(blocked=cooling(31)),
            "free": ModelState(loaded=True),
        }
        assert ranked(models, states, context(urgency, Order.AS_WRITTEN)) == {
            "cold": "1st in role ace, not loaded",
            "stuck": "2nd in role ace; it cools down for 30 s more",
            "free": "4th in role ace, loaded",
            "shut": "moved back: it cools down for 31 s more",
        }

    @pytest.mark.parametrize("urgency", [BACKGROUND, BATCH])
    @pytest.mark.parametrize("order", Order)
    def test_a_job_with_time_does_not_wait_for_a_breaker_beside_a_model_that_takes_calls(
        self, urgency: Urgency, order: Order
    ) -> None:
        models = {"a": local(quality={"default": 0.9}), "b": local(quality={"default": 0.5}), "c": local()}
        states = {"a": ModelState(blocked=blocked(20)), "b": ModelState(loaded=True), "c": ModelState(loaded=True)}
        assert list(ranked(models, states, context(urgency, order))) == ["b", "c", "a"]

    def test_the_wait_of_the_oldest_job_counts_if_it_is_longer(self) -> None:
        states = {"slow": ModelState(waiting=1, latency=1.0, oldest=50)}
        reasons = ranked({"slow": local(), "next": cloud()}, states, context(INTERACTIVE, Order.AS_WRITTEN))
        assert list(reasons) == ["next", "slow"]

    def test_without_measurements_a_call_is_assumed_to_take_five_seconds(self) -> None:
        states = {"new": ModelState(waiting=13)}  # at 2 slots: 32.5 s
        reasons = ranked({"new": local(), "next": cloud()}, states, context(INTERACTIVE, Order.AS_WRITTEN))
        assert reasons["new"] == "moved back: about 32 s for 13 waiting jobs"


class TestByUrgency:
    def test_interactive_prefers_loaded_then_quick_then_good(self) -> None:
        models = {
            "cold": local(quality={"code": 1.0}, load_time=3),
            "slow": local(quality={"code": 0.9}),
            "worse": local(quality={"code": 0.2}),
            "better": local(quality={"code": 0.8}),
        }
        states = {
            "cold": ModelState(loaded=False),
            "slow": ModelState(loaded=True, latency=9.0),
            "worse": ModelState(loaded=True, latency=2.1),
            "better": ModelState(loaded=True, latency=3.8),
        }
        assert ranked(models, states, context(INTERACTIVE, task="code")) == {
            "better": "4th in role ace, loaded, 0.8 for code, answers within 4 s",
            "worse": "3rd in role ace, loaded, 0.2 for code, answers within 4 s",
            "slow": "2nd in role ace, loaded, 0.9 for code, answers within 16 s",
            "cold": "1st in role ace, not loaded, 1 for code",
        }

    def test_background_bears_a_wait_for_quality_but_not_any_wait(self) -> None:
        models = {"quick": local(quality={"default": 0.6}), "good": local(quality={"default": 0.9}, load_time=20)}
        good = ModelState(loaded=False)
        assert list(ranked(models, {"good": good}, context(BACKGROUND))) == ["good", "quick"]
        good = ModelState(loaded=False, waiting=100)
        assert list(ranked(models, {"good": good}, context(BACKGROUND))) == ["quick", "good"]

    def test_background_counts_a_short_block_as_a_wait(self) -> None:
        models = {"a": local(quality={"default": 0.6}), "b": local(quality={"default": 0.55})}
        assert list(ranked(models, {"a": ModelState(blocked=cooling(20))}, context(BACKGROUND))) == ["b", "a"]
        assert list(ranked(models, {"a": ModelState(blocked=blocked(-5))}, context(BACKGROUND))) == ["a", "b"]

    def test_background_weighs_the_price_and_an_unknown_one_most(self) -> None:
        models = {
            "unknown": cloud(quality={"default": 0.8}),
            "dear": cloud(quality={"default": 0.8}, usd_per_mtok=Prices(input=5, output=25)),
            "own": local(quality={"default": 0.8}),
            "cheap": cloud(quality={"default": 0.8}, usd_per_mtok=Prices(input=1, output=5)),
        }
        assert list(ranked(models, {}, context(BACKGROUND))) == ["own", "cheap", "dear", "unknown"]

    def test_of_equal_models_a_batch_goes_to_the_one_that_can_start_first(self) -> None:
        models = {"cold": local(), "busy": local(), "idle": local()}
        states = {"cold": ModelState(loaded=False), "busy": ModelState(waiting=2, latency=1.0), "idle": ModelState()}
        assert list(ranked(models, states, context(BATCH))) == ["idle", "busy", "cold"]

    def test_when_nothing_is_loaded_an_interactive_job_gets_the_quickest_to_start(self) -> None:
        models = {
            "best": local(quality={"code": 0.9}, load_time=35),
            "unknown": local(quality={"code": 0.8}),
            "quick": local(quality={"code": 0.5}, load_time=8),
        }
        states = {alias: ModelState(loaded=False) for alias in models}
        hurried = context(INTERACTIVE, task="code", policy=UrgencyPolicy(start_within=5, expires_after=60))
        assert list(ranked(models, states, hurried)) == ["quick", "best", "unknown"]

    def test_the_quickest_to_start_comes_first_and_an_unknown_load_time_is_not_zero(self) -> None:
        models = {"unknown": local(), "known": local(load_time=8, vram_gb=5), "large": local(vram_gb=20)}
        states = {alias: ModelState(loaded=False) for alias in models}
        early = context(INTERACTIVE, policy=UrgencyPolicy(start_within=8, expires_after=60))
        assert ranked(models, states, early) == {
            "known": "2nd in role ace, not loaded",
            "unknown": "1st in role ace, not loaded",
            "large": "moved back: about 40 s for its load",
        }

    def test_batch_prefers_quality_then_price_and_minds_no_load(self) -> None:
        models = {
            "unknown": cloud(quality={"code": 0.9}),
            "dear": cloud(quality={"code": 0.9}, usd_per_mtok=Prices(input=5, output=25)),
            "own": local(quality={"code": 0.9}, load_time=90),
            "best": cloud(quality={"code": 0.95}, usd_per_mtok=Prices(input=15, output=75)),
            "plain": local(quality={"default": 0.4}),
        }
        assert ranked(models, {"own": ModelState(loaded=False)}, context(BATCH, task="code")) == {
            "best": "4th in role ace, 0.95 for code, $90 per Mtok",
            "own": "3rd in role ace, not loaded, 0.9 for code",
            "dear": "2nd in role ace, 0.9 for code, $30 per Mtok",
            "unknown": "1st in role ace, 0.9 for code",
            "plain": "5th in role ace, 0.4 for code",
        }

    @pytest.mark.parametrize("urgency", list(Urgency))
    def test_without_scores_the_written_order_stays(self, urgency: Urgency) -> None:
        assert list(ranked({"b": local(), "a": local(), "c": local()}, {}, context(urgency))) == ["b", "a", "c"]

    def test_scores_without_a_task_are_for_any(self) -> None:
        reasons = ranked({"a": local(quality={"default": 0.5})}, {}, context(BATCH))
        assert reasons == {"a": "1st in role ace, 0.5 for any task"}


class TestLate:
    LATE = POLICY.model_copy(update={"allow_cloud": Cloud.WHEN_LATE})

    @pytest.mark.parametrize("order", list(Order))
    def test_local_models_come_first_where_jobs_leave_only_when_late(self, order: Order) -> None:
        models = {"opus": cloud(quality={"default": 1.0}), "tiny": local(), "shut": local()}
        states = {"shut": ModelState(blocked=blocked(9999))}
        reasons = ranked(models, states, context(BATCH, order, policy=self.LATE))
        assert list(reasons) == ["tiny", "shut", "opus"]
        assert reasons["opus"] == "behind the local models: batch jobs may leave the local pools only when late"

    def test_a_chain_without_local_models_is_not_held_up(self) -> None:
        reasons = ranked({"opus": cloud(), "haiku": cloud()}, {}, context(BATCH, Order.AS_WRITTEN, policy=self.LATE))
        assert list(reasons.values()) == ["1st in role ace", "2nd in role ace"]


def test_a_single_model_has_no_place_in_a_chain() -> None:
    assert ranked({"tiny": local()}, {}, context(BATCH, Order.AS_WRITTEN, place="")) == {"tiny": "requested by name"}


def test_ignored_parameters_are_named() -> None:
    models = {"opus": cloud(sampling_params=False), "tiny": local()}
    reasons = ranked(models, {}, context(BATCH, Order.AS_WRITTEN, needs=Requirements(sampling=("temperature",))))
    assert reasons == {
        "opus": "1st in role ace; without temperature, which it does not accept",
        "tiny": "2nd in role ace",
    }


QUALITIES = st.dictionaries(st.sampled_from(["code", "default"]), st.sampled_from([0.0, 0.5, 0.9, 1.0]), max_size=2)
PRICES = st.sampled_from([None, Prices(input=1, output=5), Prices(input=1)])
SPECS = st.builds(
    ModelSpec,
    upstream=st.just("m"),
    backends=st.sampled_from([("tower",), ("provider",)]),
    quality=QUALITIES,
    usd_per_mtok=PRICES,
    load_time=st.sampled_from([None, 3.0, 90.0]),
)
STATES = st.builds(
    ModelState,
    blocked=st.sampled_from([None, None, blocked(3), blocked(60), blocked(FOREVER)]),
    waiting=st.integers(0, 50),
    oldest=st.sampled_from([0.0, 2.0, 100.0]),
    loaded=st.sampled_from([None, True, False]),
    latency=st.sampled_from([None, 0.2, 4.0, 80.0]),
)
FLEETS = st.lists(st.tuples(SPECS, STATES), min_size=1, max_size=8)


@given(FLEETS, st.sampled_from(Urgency), st.sampled_from(Order), st.sampled_from(Cloud))
def test_every_model_is_ranked_once_and_what_must_come_first_does(
    fleet: list[tuple[ModelSpec, ModelState]], urgency: Urgency, order: Order, leave: Cloud
) -> None:
    models = {f"m{number}": spec for number, (spec, _) in enumerate(fleet)}
    states = {f"m{number}": state for number, (_, state) in enumerate(fleet)}
    on = context(urgency, order, task="code", policy=POLICY.model_copy(update={"allow_cloud": leave}))
    ranking = rank(entries(models), FleetState(models=states), on)
    assert sorted(model.alias for model in ranking) == sorted(models)
    assert all(considered_model(model, on).reason for model in ranking)
    places = [model.member.local for model in ranking]
    if leave is Cloud.WHEN_LATE and any(places):
        assert places == sorted(places, reverse=True)
    for place in (True, False) if leave is Cloud.WHEN_LATE else (None,):
        same = [model for model in ranking if place is None or model.member.local is place]
        if urgency is Urgency.INTERACTIVE:
            stuck = [model.state.blocked is not None for model in same]
            assert stuck == sorted(stuck)
            untils = [model.state.blocked.until for model in same if model.state.blocked]
            assert untils == sorted(untils)
        else:
            long = [model.state.blocked is not None and model.state.blocked.until > NOW + 30 for model in same]
            assert long == sorted(long)


def test_what_the_manager_of_a_card_expects_counts_in_place_of_the_time_of_a_load():
    models = {"near": local(load_time=2), "far": cloud()}
    moved = ranked(models, {"near": ModelState(loaded=False, starts_in=90.0)}, context(Urgency.INTERACTIVE))
    assert moved["near"] == "moved back: about 90 s for its load"
    assert list(moved) == ["far", "near"]
    soon = ranked({"near": local(load_time=600), "far": cloud()}, {"near": ModelState(loaded=False, starts_in=8.0)},
                  context(Urgency.INTERACTIVE))  # fmt: skip
    assert "moved back" not in soon["near"]


@pytest.mark.parametrize("urgency", list(Urgency))
@pytest.mark.parametrize("order", list(Order))
def test_a_model_that_its_card_cannot_load_is_last_also_as_written(urgency, order):
    never = ModelState(loaded=False, starts_in=FOREVER)
    moved = ranked({"near": local(quality={"default": 1.0}), "far": cloud()}, {"near": never}, context(urgency, order))
    assert list(moved) == ["far", "near"]
    assert moved["near"] == "moved back: the manager of its card names no time for its load"


def test_as_written_the_time_until_a_card_has_a_model_does_not_count():
    away = {"near": ModelState(loaded=False, starts_in=90.0)}
    order = ranked({"near": local(), "far": cloud()}, away, context(Urgency.INTERACTIVE, Order.AS_WRITTEN))
    assert list(order) == ["near", "far"]
