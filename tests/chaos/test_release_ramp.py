"""How slowly held jobs came back is read from their stories."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.judge.release_ramp import max_overlap, ramp, releases


def released(job: str, began: float, ended: float, *, end: str = "answered") -> list[dict[str, Any]]:
    why = {"event": "queued", "at": began, "queue": "gpu.alpha.batch", "why": "released: alpha takes calls again"}
    return [why, {"event": "done", "at": ended, "status": end}]


def test_the_allowance_grows_by_one_for_each_answered_and_starts_again_when_the_breaker_opens():
    stories = {"a": released("a", 0, 10), "b": released("b", 10, 30), "c": released("c", 20, 40)}
    assert ramp("alpha", releases(stories), [], 1, 9).breaches == ()
    assert ramp("alpha", releases(stories), [15], 1, 9).breaches == ("c: 2 at once of 1 at 20",)
    assert ramp("alpha", releases(stories), [], 1, 1).breaches == ("c: 2 at once of 1 at 20",)
    assert ramp("alpha", releases(stories), [], 1, 9).peak == 2


def test_a_release_that_came_to_nothing_allows_no_more():
    stories = {"a": released("a", 0, 10, end="expired"), "b": released("b", 10, 30), "c": released("c", 20, 40)}
    assert ramp("alpha", releases(stories), [], 1, 9).breaches == ("c: 2 at once of 1 at 20",)


@pytest.mark.parametrize(
    ("event", "over"),
    [
        ({"event": "queued", "queue": "gpu.alpha.batch", "why": "its worker died"}, False),
        ({"event": "queued", "queue": "gpu.beta.batch", "why": "alpha@one: timeout"}, True),
        ({"event": "scheduled", "queue": "gpu.alpha.batch"}, False),
        ({"event": "started"}, False),
        ({"event": "fallen"}, True),
    ],
)
def test_a_release_lasts_until_its_job_has_left_the_model(event, over):
    story = [released("a", 0, 99)[0], {**event, "at": 5}, {"event": "done", "at": 99, "status": "answered"}]
    (release,) = releases({"a": story})
    assert release.ended == (5 if over else 99)


def test_intervals_that_meet_do_not_overlap():
    assert max_overlap([(0, 10), (10, 20), (5, 12)]) == 2
