"""Calls that cost although a model before them in the configured chain costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.routing.fleet_state import FleetState

NOT_FREE = "no free slot in time"


@dataclass(frozen=True, slots=True)
class UnexpectedCall:
    """A metered call that `model`, a local or flat-rate one, should have served. `cause`: why it did not, in a few
    words."""

    model: str
    cause: str


def unexpected_call(
    catalog: Catalog, configured: Sequence[str], attempts: Sequence[Attempt], fleet: FleetState
) -> UnexpectedCall | None:
    """Whether the last attempt is such a call; None: it is not, or it cost nothing.

    What counts is the chain as the configuration has it: a model that was away when the job was accepted stands behind
    the others in the chain of the job.
    """
    last = attempts[-1]
    if not last.cost_nusd or last.model not in configured:
        return None
    before = configured[: configured.index(last.model)]
    model = next((alias for alias in before if _is_free(catalog, alias)), None)
    if model is None:
        return None
    failed = next((attempt for attempt in reversed(attempts) if attempt.model == model and attempt.error), None)
    blocked = fleet.model(model).blocked
    return UnexpectedCall(model, failed.cause if failed else blocked.cause_text if blocked else NOT_FREE)


def _is_free(catalog: Catalog, alias: str) -> bool:
    spec = catalog.models.get(alias)
    return spec is not None and not catalog.is_metered(spec.backends[0])
