from __future__ import annotations

import pytest

from router_core.catalog import Backend, Catalog, ModelSpec, Role, UnknownName
from router_core.job import Urgency
from router_core.route import Route, route

CATALOG = Catalog(
    backends={
        "tower": Backend(url="http://127.0.0.1:8080", pool="gpu"),
        "provider": Backend(url="https://example.invalid/v1", pool="cloud"),
    },
    models={
        "coder": ModelSpec(upstream="coder:32b", at=("tower",)),
        "haiku": ModelSpec(upstream="haiku-4-5", at=("provider",)),
    },
    roles={
        "chat": Role(chain=("coder", "haiku"), urgency=Urgency.INTERACTIVE),
        "sheets": Role(chain=("haiku",)),
    },
)


def test_a_role_leads_to_the_first_model_of_its_chain_at_its_own_urgency() -> None:
    assert route(CATALOG, "chat") == Route(
        chain=("coder", "haiku"),
        queue="gpu.coder.interactive",
        urgency=Urgency.INTERACTIVE,
        role="chat",
        reason="first of 2 in the chain of role chat",
    )


def test_the_urgency_of_the_caller_wins_over_that_of_the_role() -> None:
    found = route(CATALOG, "chat", Urgency.BATCH)
    assert (found.urgency, found.queue) == (Urgency.BATCH, "gpu.coder.batch")


def test_a_role_without_an_urgency_is_background() -> None:
    found = route(CATALOG, "sheets")
    assert (found.urgency, found.queue) == (Urgency.BACKGROUND, "cloud.haiku.background")


def test_a_model_leads_to_itself_alone_and_to_no_role() -> None:
    assert route(CATALOG, "haiku") == Route(
        chain=("haiku",),
        queue="cloud.haiku.background",
        urgency=Urgency.BACKGROUND,
        role=None,
        reason="the caller asked for this model",
    )


def test_a_model_is_asked_at_the_urgency_of_the_caller() -> None:
    assert route(CATALOG, "coder", Urgency.INTERACTIVE).queue == "gpu.coder.interactive"


@pytest.mark.parametrize(("target", "near"), [("chatt", "chat"), ("codr", "coder")])
def test_an_unknown_target_is_told_with_the_nearest_role_or_model(target: str, near: str) -> None:
    with pytest.raises(UnknownName, match=f"unknown role or model '{target}'. Did you mean '{near}'\\?"):
        route(CATALOG, target)
