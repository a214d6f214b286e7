"""The state of the fleet at one moment, and its changed copies."""

from openfall.router_core.deciding.call_signals import breaker_target, credential_target
from openfall.router_core.routing.fleet_state import BLOCK_ERRORS, FOREVER, UNKNOWN, Blocked, FleetState, ModelState
from openfall.router_core.vocabulary import BlockReason

OPEN = ModelState(blocked=Blocked(BlockReason.BREAKER, FOREVER, "its breaker is open"), waiting=2)


def test_a_model_without_data_is_assumed_to_work():
    assert FleetState().model("coder") is UNKNOWN
    assert UNKNOWN.blocked is None


def test_a_claim_is_newer_than_a_snapshot():
    fleet = FleetState({"coder": OPEN, "haiku": OPEN}, local_only=True)
    taking = fleet.unblocked("coder")
    assert (taking.model("coder").blocked, taking.model("coder").waiting) == (None, 2)
    assert taking.model("haiku") == OPEN
    assert taking.local_only
    assert taking.unblocked("coder") is taking


def test_a_job_that_is_handed_on_counts_as_waiting():
    assert FleetState({"coder": OPEN}).with_one_more_waiting("coder").model("coder").waiting == 3


def test_every_block_reason_has_an_error_class():
    assert set(BLOCK_ERRORS) == set(BlockReason)


def test_a_breaker_has_the_name_of_its_target():
    assert breaker_target("tower", "coder") == "tower/coder"
    assert credential_target("a1b2") == "key:a1b2"
