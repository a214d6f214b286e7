"""A job that goes to the cloud because a card does not hold its model says so."""

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.catalog.urgency_policy import Order
from openfall.router_core.routing.chain_selection import RouteRequest
from openfall.router_core.routing.fleet_state import Blocked, FleetState, ModelState
from openfall.router_core.routing.route import route
from openfall.router_core.vocabulary import BlockReason, Urgency


def catalog(vram_gb=16.0, order=Order.BY_URGENCY):
    return Catalog(
        backends={
            "tower": Backend(url="http://tower:11434", protocol="ollama", pool="gpu", vram_gb=vram_gb),
            "provider": Backend(url="https://example.invalid/v1", pool="cloud"),
        },
        models={
            "large": ModelSpec(upstream="large", backends=("tower",), load_time=30, vram_gb=9),
            "far": ModelSpec(upstream="far", backends=("provider",)),
        },
        roles={"chat": Role(chain=("large", "far"), order=order, urgency=Urgency.INTERACTIVE)},
    )


def routed(state, **more):
    fleet = FleetState({"large": state, "far": ModelState(latency=6)})
    return route(catalog(**more), lambda _: fleet, RouteRequest(role="chat"))


def test_a_model_that_is_passed_over_because_it_is_not_in_memory_is_unmet():
    result = routed(ModelState(loaded=False, latency=1))
    assert result.chain == ("far", "large")
    assert result.unmet == ("large",)


def test_a_model_that_would_not_be_first_in_memory_either_is_not():
    assert routed(ModelState(loaded=False, latency=60)).unmet == ()
    assert routed(ModelState(loaded=False, latency=1, blocked=Blocked(BlockReason.BREAKER, 9e9, "open"))).unmet == ()


def test_a_model_that_its_card_takes_no_calls_for_is_unmet_too():
    assert routed(ModelState(loaded=False, starts_in=90.0, latency=1)).unmet == ("large",)


def test_a_model_in_memory_or_first_in_the_chain_is_not():
    assert routed(ModelState(loaded=True, latency=1)).unmet == ()
    assert routed(ModelState(loaded=False, latency=1), order=Order.AS_WRITTEN).unmet == ()


def test_a_model_without_a_card_is_not():
    assert routed(ModelState(loaded=False, latency=1), vram_gb=None).unmet == ()
