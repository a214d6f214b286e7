"""Time limits that contradict each other are reported with both places and a remedy."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.urgency_policy import URGENCY_DEFAULTS
from openfall.router_core.vocabulary import Urgency

BACKENDS = {"tower": Backend(url="http://127.0.0.1:8080", pool="gpu")}


def problems_of(urgency=None, **model) -> list[tuple[str, str, str]]:
    """The problems of a catalog with one model, as (path, the path that it contradicts, message)."""
    interactive = URGENCY_DEFAULTS[Urgency.INTERACTIVE].model_copy(update=urgency or {})
    try:
        Catalog(
            backends=BACKENDS,
            models={"coder": ModelSpec(upstream="x", backends=("tower",), **model)},
            urgency=URGENCY_DEFAULTS | {Urgency.INTERACTIVE: interactive},
        )
    except ValidationError as caught:
        problems = caught.errors()[0]["ctx"]["error"].problems
        assert all(problem.remedy for problem in problems)
        return [(problem.path, problem.other_path, problem.message) for problem in problems]
    return []


def test_the_defaults_have_no_contradiction():
    assert problems_of() == []
    assert problems_of(timeout=60, first_token_timeout=14, stall_timeout=20) == []


def test_a_timeout_that_uses_up_the_time_of_the_other_models_is_refused():
    assert problems_of(timeout=120) == [
        (
            "models.coder.timeout",
            "urgency.interactive.expires_after",
            "one call would leave no time for the other models: "
            "120 s is not shorter than urgency.interactive.expires_after, which is 120 s",
        )
    ]
    assert [path for path, *_ in problems_of(timeout=3600)] == ["models.coder.timeout"] * 2, "of background as well"


@pytest.mark.parametrize("name", ["timeout", "reply_within"])
def test_a_limit_of_an_urgency_is_shorter_than_its_deadline(name):
    ((path, other, message),) = problems_of({name: 120.0})
    assert (path, other) == (f"urgency.interactive.{name}", "urgency.interactive.expires_after")
    assert message == "120 s is not shorter than expires_after, which is 120 s"


@pytest.mark.parametrize("name", ["first_token_timeout", "stall_timeout"])
def test_a_limit_for_a_part_of_a_call_is_no_longer_than_the_call(name):
    own = problems_of(timeout=4, **{name: 5})
    assert own == [
        (
            f"models.coder.{name}",
            "models.coder.timeout",
            "it is never reached: 5 s is longer than timeout, which is 4 s",
        )
    ]
    ((path, other, _),) = problems_of({"reply_within": 110}, **{name: 100})
    assert (path, other) == (f"models.coder.{name}", "urgency.interactive.timeout")
    ((path, other, _),) = problems_of({"reply_within": 110, name: 100})
    assert (path, other) == (f"urgency.interactive.{name}", "urgency.interactive.timeout")


def test_the_first_token_is_due_before_the_reply():
    ((path, other, message),) = problems_of(first_token_timeout=20)
    assert (path, other) == ("models.coder.first_token_timeout", "urgency.interactive.reply_within")
    assert message == (
        "Open Fall replies before the first token is due: "
        "20 s is longer than urgency.interactive.reply_within, which is 14 s"
    )
    ((path, _, _),) = problems_of({"first_token_timeout": 20})
    assert path == "urgency.interactive.first_token_timeout"
