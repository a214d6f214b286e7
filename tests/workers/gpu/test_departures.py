"""Models that leave the memory of a card by themselves, and loads that failed: when they are tried again."""

from __future__ import annotations

import pytest

from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.state.card_state import CardState, FailedLoad, ModelOnCard, Switch
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.gpu.card_engine import EngineContent
from openfall.workers.gpu.card_switch import SwitchOutcome, adopt_content, apply_outcome
from openfall.workers.gpu.failed_loads import STEADY_SECONDS

NOW = 1000.0
EMPTY, LOADED = EngineContent({}), EngineContent({"alpha": 10.0})


def loaded(ready_at: float, refused: FailedLoad | None = None) -> CardState:
    state = CardState(models={"alpha": ModelOnCard("tower", ready_at, 10.0)})
    if refused is not None:
        state.refused["alpha"] = refused
    return state


def test_a_model_that_leaves_soon_after_each_load_is_tried_less_and_less_and_given_up_at_the_third_time() -> None:
    state, waits, given_up, now = CardState(), [], [], NOW
    for _ in range(9):
        switch = Switch("alpha", "tower", (), now, "a job waits", 1.0)
        apply_outcome(state, SwitchOutcome(switch, LOADED, 1.0), now)
        given_up.append(adopt_content(state, "tower", EMPTY, now + 7) == ["alpha"])
        waits.append(state.refused["alpha"].seconds)
        now = state.refused["alpha"].until
    assert waits == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    assert given_up == [False, False, *[True] * 7]
    assert "it left the memory by itself 7 s after its load" in state.refused["alpha"].why


@pytest.mark.parametrize(
    ("content", "stayed"),
    [(EMPTY, STEADY_SECONDS), (EMPTY, 3600.0), (EngineContent({}, is_away=True), 1.0)],
    ids=["it had stayed", "it had stayed for long", "its engine is away"],
)
def test_a_model_that_is_not_to_blame_is_tried_again_at_once(content: EngineContent, stayed: float) -> None:
    state = loaded(NOW - stayed)
    assert adopt_content(state, "tower", content, NOW) == []
    assert (state.models, state.refused) == ({}, {})
    assert len(state.departures) == (0 if content.is_away else 1)


def test_a_model_that_stays_in_memory_starts_again() -> None:
    before = FailedLoad(NOW - 100, 40.0, "it crashed")
    state = loaded(NOW - STEADY_SECONDS + 1, before)
    adopt_content(state, "tower", LOADED, NOW)
    assert state.refused == {"alpha": before}, "it may still crash"
    adopt_content(state, "tower", LOADED, NOW + 1)
    assert state.refused == {}


def test_a_model_that_is_evicted_for_another_starts_again() -> None:
    state = loaded(NOW - 10, FailedLoad(NOW - 20, 5.0, "it crashed"))
    apply_outcome(state, SwitchOutcome(Switch("", "tower", ("alpha",), NOW, "", 1.0), EMPTY, 0.0), NOW)
    assert state.refused == {}


@pytest.mark.parametrize(
    ("error", "waits"),
    [(ErrorClass.NO_VRAM, [60, 120, 240, 480, 600, 600]), (ErrorClass.OTHER, [60, 120, 240, 480, 600, 600]),
     (ErrorClass.CONNECTION, [2, 4, 8, 8, 8, 8])],
)  # fmt: skip
def test_a_load_that_fails_again_is_tried_after_twice_the_time(error: ErrorClass, waits: list[float]) -> None:
    state, lengths, now = CardState(), [], NOW
    for _ in range(len(waits)):
        failure = Failure(error_class=error, detail="cannot")
        switch = Switch("alpha", "tower", (), now, "a job waits", 1.0)
        apply_outcome(state, SwitchOutcome(switch, EMPTY, 1.0, failure), now)
        lengths.append(state.refused["alpha"].seconds)
        now = state.refused["alpha"].until
    assert lengths == waits
