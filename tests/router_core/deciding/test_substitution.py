"""Answers in place of the first choice of the configuration, and answers that left home."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.answer_policy import Ensemble
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.deciding.substitution import Substitution, chain_substitution, job_substitution
from tests.router_core.decisions import CATALOG, CLOUD, LOCAL, catalog, job

PAID = Catalog(
    backends={
        "box": Backend(url="http://box", pool="gpu"),
        "rented": Backend(url="http://rented", pool="gpu", billing=Billing.METERED),
        "plan": Backend(url="http://plan", pool="cloud", billing=Billing.FLAT),
        "api": Backend(url="http://api", pool="cloud"),
    },
    models={
        "own": ModelSpec(upstream="own", backends=("box",)),
        "hired": ModelSpec(upstream="hired", backends=("rented",)),
        "flat": ModelSpec(upstream="flat", backends=("plan",)),
        "either": ModelSpec(upstream="either", backends=("api", "plan")),
        "paid": ModelSpec(upstream="paid", backends=("api",)),
    },
)


def given(
    model: str, backend: str, left_home: bool, *, group: str | None = None, role: str | None = None
) -> Substitution:
    """The substitution of a job of `decisions.job`."""
    return Substitution(model, backend, group, left_home, role, job().producer)


def test_the_first_of_the_chain_as_configured_is_no_fallback_and_every_other_model_is():
    moved = job(chain=("opus", "small"), configured_chain=("small", "large", "opus"), group="family")
    assert job_substitution(moved, CATALOG, "small", "box") is None
    assert job_substitution(moved, CATALOG, "opus", "api") == given("opus", "api", True, group="family")
    assert job_substitution(job(LOCAL), CATALOG, "large", "box") == given("large", "box", False)


def test_a_default_fallback_stands_behind_every_model_of_the_chain():
    assert job_substitution(job(LOCAL), CATALOG, "haiku", "api") == given("haiku", "api", True)
    assert job_substitution(job(CLOUD), CATALOG, "small", "box") == given("small", "box", False)


def test_an_ensemble_has_as_many_first_choices_as_it_wants_answers():
    by, several = catalog(ensemble=Ensemble(answers=2)), job((*LOCAL, *CLOUD), role="many")
    assert job_substitution(several, by, "large", "box") is None
    assert job_substitution(several, by, "opus", "api") == given("opus", "api", True, role="many")


@pytest.mark.parametrize(
    ("chain", "model", "backend", "left_home"),
    [
        pytest.param(("own", "paid"), "paid", "api", True, id="local, then the cloud"),
        pytest.param(("own", "flat"), "flat", "plan", True, id="local, then a subscription in the cloud"),
        pytest.param(("flat", "paid"), "paid", "api", True, id="a subscription, then by the token"),
        pytest.param(("own", "hired"), "hired", "rented", True, id="free, then by the token in a local pool"),
        pytest.param(("either", "paid"), "paid", "api", True, id="it has a free backend"),
        pytest.param(("paid", "flat"), "flat", "plan", False, id="by the token, then a subscription"),
        pytest.param(("paid", "either"), "either", "api", False, id="by the token both"),
        pytest.param(("flat", "either"), "either", "plan", False, id="subscriptions both"),
        pytest.param(("paid", "own"), "own", "box", False, id="the cloud, then local"),
        pytest.param(("paid", "either", "own"), "either", "api", False, id="a local model behind it does not count"),
        pytest.param(("gone", "paid"), "paid", "api", False, id="a model that left the catalog"),
        pytest.param(("own", "gone"), "gone", "sold", False, id="an answer of a model that left the catalog"),
    ],
)
def test_an_answer_left_home_if_a_local_or_a_free_model_stands_before_it_in_the_configuration(
    chain, model, backend, left_home
):
    answer = chain_substitution(chain, 1, PAID, (model, backend), None)
    assert answer == Substitution(model, backend, None, left_home)
