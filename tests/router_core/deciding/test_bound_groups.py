"""Jobs of a bound group use its own models and no others: not by a caller's choice, not in an outage."""

from __future__ import annotations

from typing import Any

import pytest

from openfall.router_core.catalog.answer_policy import Ensemble
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.caller_groups import Group
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.open_fall_policy import OpenFallPolicy
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.deciding.candidates import ChainState
from openfall.router_core.deciding.decide import decide
from openfall.router_core.deciding.steps import Conditions, Fall
from openfall.router_core.degrading.degrade import default_fallbacks
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.request_fingerprint import digest
from openfall.router_core.routing.chain_selection import RouteRequest
from openfall.router_core.routing.fleet_state import FOREVER, Blocked, FleetState, ModelState
from openfall.router_core.routing.route import NothingFits, Route, route
from openfall.router_core.vocabulary import BlockReason, HoldReason, Urgency

AWAY = ModelState(blocked=Blocked(BlockReason.BREAKER, FOREVER, "its breaker is open"))


def catalog(**parts: Any) -> Catalog:
    """Sonnet for the group main, a flat plan for the others, and a local model that may stand in."""
    places = {"sonnet": "anthropic", "haiku": "anthropic", "flat": "plan", "tiny": "tower"}
    return Catalog(
        **{
            "backends": {
                "anthropic": Backend(url="http://127.0.0.1:1", pool="cloud"),
                "plan": Backend(url="http://127.0.0.1:2", pool="cloud"),
                "tower": Backend(url="http://127.0.0.1:3", pool="gpu"),
            },
            "models": {alias: ModelSpec(upstream=alias, backends=(at,)) for alias, at in places.items()},
            "roles": {
                "main": Role(chain=("sonnet", "haiku")),
                "others": Role(chain=("flat", "haiku")),
                "cheap": Role(chain=("haiku",)),
                "judged": Role(chain=("haiku", "sonnet"), ensemble=Ensemble(pick="judge", judge="flat")),
            },
            "groups": (
                Group(name="main", match=("whatsapp:main",), role="main", bound=True),
                Group(name="family", match=("family:*",), role="judged", bound=True),
                Group(name="single", match=("single:*",), chain=("tiny",), bound=True),
                Group(name="others", match=("*",), role="others", bound=True),
            ),
            "open_fall": OpenFallPolicy(default_fallbacks=("flat", "tiny", "haiku")),
            **parts,
        }
    )


CATALOG = catalog()


def routed(**caller: Any) -> Route:
    return route(CATALOG, lambda urgency: FleetState(), RouteRequest(**caller))


@pytest.mark.parametrize(
    "choice",
    [
        {"role": "others"},
        {"model": "flat"},
        {"target": "flat"},
        {"target": "others"},
        {"role": "judged"},
        {"model": "tiny"},
    ],
)
def test_no_choice_of_a_caller_takes_the_main_group_to_a_model_that_is_not_its_own(choice: dict[str, str]) -> None:
    with pytest.raises(NothingFits) as caught:
        routed(group="whatsapp:main", **choice)
    assert "group main is bound to its models (sonnet, haiku), and " in str(caught.value)
    assert "Name one of its models, or none: then the group chooses." in str(caught.value)


@pytest.mark.parametrize("choice", [{"role": "main"}, {"model": "sonnet"}, {"target": "sonnet"}])
def test_no_other_group_reaches_sonnet(choice: dict[str, str]) -> None:
    with pytest.raises(
        NothingFits, match=r"group others is bound to its models \(haiku, flat\), and .* names sonnet\."
    ):
        routed(group="whatsapp:friends", **choice)


@pytest.mark.parametrize(
    ("group", "choice", "chain"),
    [
        ("whatsapp:main", {}, ("sonnet", "haiku")),
        ("whatsapp:main", {"target": "auto"}, ("sonnet", "haiku")),
        ("whatsapp:main", {"model": "haiku"}, ("haiku",)),
        ("whatsapp:main", {"role": "cheap"}, ("haiku",)),
        ("family:ann", {"role": "judged"}, ("haiku", "sonnet")),
        ("single:bot", {}, ("tiny",)),
        (None, {"model": "sonnet"}, ("sonnet",)),
    ],
)
def test_a_choice_within_the_models_of_the_group_is_fine(
    group: str | None, choice: dict[str, str], chain: tuple[str, ...]
) -> None:
    assert routed(group=group, **choice).chain == chain


def job(*chain: str, group: str | None = "main") -> CompletionJob:
    return CompletionJob(id="job-00001", producer="tests", chain=chain, body={}, group=group, urgency=Urgency.BATCH)


def fallbacks(of: CompletionJob) -> list[str]:
    return list(default_fallbacks(ChainState(of, CATALOG, (), FleetState(), 0.5), HoldReason.OUTAGE, (), 0.0))


def test_a_default_fallback_of_a_bound_group_is_one_of_its_own_models() -> None:
    assert fallbacks(job("sonnet", "haiku")) == []
    assert fallbacks(job("sonnet")) == ["haiku"]
    assert fallbacks(job("sonnet", group=None)) == ["flat", "tiny", "haiku"]


def test_an_accepted_job_stays_within_the_bounds_that_its_group_has_got_since() -> None:
    """A job that was accepted, held or replayed before its group was bound to other models."""
    of = job("flat", "haiku").model_copy(update={"deadline": 100.0})
    chain = ChainState(of, CATALOG, (), FleetState(), 0.5)
    assert [candidate.model for candidate in chain.candidates(0.0)] == ["haiku"]
    assert chain.candidate("flat", 0.0) is None
    assert chain.candidate("haiku", 0.0) is not None
    assert chain.forbidden("flat") == "not a model of group main, which is bound to its models"
    step = decide(of, CATALOG, (), Conditions("flat", 0.5, FleetState({"haiku": AWAY})), 0.0)
    assert isinstance(step, Fall)
    assert (step.reason, "flat: not a model of group main" in step.detail) == (HoldReason.OUTAGE, True)


def test_an_idempotency_key_joins_no_job_of_another_group() -> None:
    assert digest(job("haiku")) != digest(job("haiku", group="others"))
    assert digest(job("haiku")) == digest(job("haiku"))
