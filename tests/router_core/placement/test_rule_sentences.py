"""Each sentence of the rule that users read has tests by name."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
RULE = {
    "Serve": (
        "test_a_demand_for_a_resident_model_changes_nothing",
        "test_no_job_of_a_model_that_its_card_does_not_admit_is_claimed",
    ),
    "Next": ("test_the_model_with_the_most_urgent_job_comes_next_and_among_equals_the_one_that_is_due_first",),
    "Beside": ("test_what_fits_beside_is_loaded_at_once",),
    "Room": (
        "test_an_idle_model_leaves_for_any_job",
        "test_an_interactive_job_does_not_wait_for_a_batch",
        "test_a_batch_is_served_before_another_that_waits_as_long",
        "test_newcomers_of_a_batch_give_way_once_the_other_is_due",
        "test_the_cheapest_set_that_makes_room_leaves",
    ),
    "Switch": (
        "test_the_switch_waits_for_the_calls_in_flight",
        "test_a_switching_card_makes_no_second_switch",
        "test_no_job_is_put_back_twice",
    ),
    "Pressure": (
        "test_on_a_thrashing_card_a_model_with_waiting_jobs_stays",
        "test_on_a_thrashing_card_no_idle_model_stays_warm_before_a_late_background_job",
    ),
    "Warm": (
        "test_an_idle_model_stays_warm_for_interactive_callers_for_a_minute",
        "test_keep_warm_of_a_model_says_another_time",
    ),
    "Unmet demand": (
        "test_a_model_that_is_passed_over_because_it_is_not_in_memory_is_unmet",
        "test_a_late_job_that_leaves_a_model_that_is_not_loaded_is_unmet_demand",
        "test_two_jobs_that_left_within_a_minute_are_one_background_job",
    ),
    "Shares": ("test_a_less_urgent_demand_gets_its_share_of_the_card",),
    "Copies": (
        "test_a_second_card_loads_the_same_model_if_its_queue_takes_longer_than_two_loads",
        "test_a_copy_displaces_no_model_in_use",
    ),
    "Pinned": ("test_a_pinned_model_never_leaves", "test_a_model_that_never_fits_beside_the_pinned_ones_is_refused"),
}


def test_the_document_has_these_sentences():
    words = re.findall(r"^\d+\. \*\*(.+?)\.\*\*", (ROOT / "docs" / "placement.md").read_text(), re.MULTILINE)
    assert words == list(RULE)


@pytest.mark.parametrize("sentence", RULE)
def test_a_sentence_has_its_tests(sentence):
    code = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__))
    assert [name for name in RULE[sentence] if f"def {name}(" not in code] == []
