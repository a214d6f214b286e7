"""The limits of subscriptions, as far as calls have shown them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.entries import Billing
from openfall.router_core.deciding.breaker import breaker_target, credential_target
from openfall.router_core.deciding.flat_plan import LOW_SHARE
from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_moment, read_number, read_text
from openfall.router_core.state.redis_connection import RedisConnection, pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanState:
    """One window of the limits of a subscription. `number`: which key of the backend, from 1. `resets_at`: in epoch
    seconds. `cap`: how many calls used it up before, the median of the last five times; None: not known yet."""

    backend: str
    number: int
    window_seconds: float
    calls: int
    resets_at: float
    cap: int | None

    @property
    def share(self) -> float | None:
        """The used share of the cap."""
        return self.calls / self.cap if self.cap else None


async def list_plans(link: RedisConnection, catalog: Catalog, now: float) -> list[PlanState]:
    """The windows of each key of a flat-rate backend that have had a call and have not reset."""
    states = []
    for name, spec in catalog.backends.items():
        if catalog.billing(name) is not Billing.FLAT or not spec.plan_windows:
            continue
        models = [alias for alias, model in catalog.models.items() if name in model.backends]
        targets = [*map(credential_target, catalog.credentials(name))]
        targets = targets or [breaker_target(name, alias) for alias in models]
        for number, target in enumerate(targets, start=1):
            fields = pairs(await link.command("HGETALL", keys.PLAN + target))
            states += [
                state
                for place, length in enumerate(spec.plan_windows, start=1)
                if (state := _window(name, number, length, place, fields)).resets_at > now
            ]
    return states


def scarce_models(plans: Sequence[PlanState], catalog: Catalog) -> frozenset[str]:
    """The models at whose first backend each key is nearly used up."""
    low = {(plan.backend, plan.number) for plan in plans if (plan.share or 0.0) >= LOW_SHARE}
    return frozenset(
        alias
        for alias, spec in catalog.models.items()
        if (name := spec.backends[0]) in catalog.backends
        and all((name, number) in low for number in range(1, 1 + max(1, len(catalog.credentials(name)))))
    )


def _window(backend: str, number: int, length: float, place: int, fields: Mapping[str, bytes]) -> PlanState:
    opened = read_moment(fields.get(f"opened:{place}"))
    caps = [cap for word in read_text(fields.get(f"caps:{place}")).split() if (cap := read_number(word.encode())) > 0]
    return PlanState(
        backend=backend,
        number=number,
        window_seconds=length,
        calls=max(0, read_number(fields.get(f"calls:{place}"))),
        resets_at=opened + length if opened else 0.0,
        cap=round(median(caps)) if caps else None,
    )
