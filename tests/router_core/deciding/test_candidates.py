"""`candidate` gives a model as `candidates` lists it."""

from __future__ import annotations

import pytest

from openfall.router_core.catalog.urgency_policy import Cloud
from openfall.router_core.deciding.candidates import ChainState
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.vocabulary import ErrorClass
from tests.router_core.decisions import CATALOG, CLOUD, EVEN, LOCAL, NOW, blocked, catalog, job, tried

BOTH = (*LOCAL, *CLOUD)


@pytest.mark.parametrize(
    ("by", "of", "attempts", "fleet"),
    [
        pytest.param(CATALOG, job(BOTH), (), FleetState(), id="nothing was tried"),
        pytest.param(CATALOG, job(BOTH, local_only=True), (), FleetState(), id="the job must stay local"),
        pytest.param(CATALOG, job(BOTH), (), FleetState(local_only=True), id="the switch is on"),
        pytest.param(CATALOG, job(BOTH), (), FleetState({"small": blocked(NOW + 5)}), id="one is blocked"),
        pytest.param(CATALOG, job(BOTH), (tried("small"),), FleetState(), id="one is in its back-off"),
        pytest.param(CATALOG, job(BOTH), (tried("opus", ErrorClass.AUTH),), FleetState(), id="one is exhausted"),
        pytest.param(catalog(cloud=Cloud.WHEN_LATE), job(BOTH), (), FleetState(), id="the cloud is for late jobs"),
        pytest.param(
            catalog(cloud=Cloud.WHEN_LATE),
            job(BOTH),
            (tried("small", ErrorClass.NO_VRAM), tried("large", ErrorClass.NO_VRAM)),
            FleetState(),
            id="the cloud is for late jobs, and nothing local is left",
        ),
        pytest.param(CATALOG, job(("gone", "small")), (), FleetState(), id="one has left the catalog"),
    ],
)
def test_a_single_candidate_is_as_in_the_list(by, of, attempts, fleet):
    chain = ChainState(of, by, attempts, fleet, EVEN)
    listed = {candidate.model: candidate for candidate in chain.candidates(NOW)}
    for alias in (*BOTH, "gone"):
        assert chain.candidate(alias, NOW) == listed.get(alias), alias
