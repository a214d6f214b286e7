"""What is so at one moment, and how little is changed when one thing changes."""

from openfall.router_core.deciding.breaker import breaker_target, credential_target
from openfall.router_core.routing.fleet_state import BLOCK_ERRORS, FOREVER, UNKNOWN, Blocked, FleetState, ModelState
from openfall.router_core.vocabulary import BlockReason

OPEN = ModelState(blocked=Blocked(BlockReason.BREAKER, FOREVER, "its breaker is open"), waiting=2)


def test_a_model_of_which_nothing_was_heard_is_taken_to_work():
    assert FleetState().model("coder") is UNKNOWN
    assert UNKNOWN.blocked is None


def test_a_claim_knows_better_than_a_survey_that_a_model_takes_calls():
    fleet = FleetState({"coder": OPEN, "haiku": OPEN}, local_only=True)
    taking = fleet.unblocked("coder")
    assert (taking.model("coder").blocked, taking.model("coder").waiting) == (None, 2)
    assert taking.model("haiku") == OPEN
    assert taking.local_only
    assert taking.unblocked("coder") is taking


def test_one_more_job_waits_for_the_model_that_it_was_sent_to():
    assert FleetState({"coder": OPEN}).with_one_more_waiting("coder").model("coder").waiting == 3


def test_every_obstacle_is_told_as_a_cause():
    assert set(BLOCK_ERRORS) == set(BlockReason)


def test_a_breaker_is_named_by_what_it_guards():
    assert breaker_target("tower", "coder") == "tower/coder"
    assert credential_target("a1b2") == "key:a1b2"
