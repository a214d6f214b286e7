"""The limits of subscriptions, as far as their providers name them and calls have shown them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import TypedDict

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.deciding.call_signals import breaker_target, credential_target
from openfall.router_core.deciding.subscription_limits import LOW_SHARE, PlanShare
from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_moment, read_number, read_text
from openfall.router_core.state.redis_connection import RedisConnection, pairs
from openfall.router_core.state.unreadable_notes import note_unreadable

_SHARE = re.compile(r"(\d{1,9}) (\d{1,4}) (\d{1,15})", re.ASCII)
"""What subscription_plan.lua writes of a window of the provider: its length (s), its used
share (per mille), its reset (ms)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanState:
    """One window of the limits of a subscription. `number`: which key of the backend, from 1. `resets_at`: in epoch
    seconds. `calls`: those of openfall in it; None: they are not counted, since `plan_windows` does not name it. `cap`:
    how many calls used it up before, the median of the last five times; None: not known yet. `named_share`: the used
    share as the provider names it; None: it does not."""

    backend: str
    number: int
    window_seconds: float
    calls: int | None
    resets_at: float
    cap: int | None
    named_share: float | None = None

    @property
    def share(self) -> float | None:
        """The used share, as the provider names it, else that of the cap. None: not known."""
        if self.named_share is not None or self.calls is None:
            return self.named_share
        return self.calls / self.cap if self.cap else None


async def list_plans(link: RedisConnection, catalog: Catalog, now: float) -> list[PlanState]:
    """The windows of each key of a flat-rate backend that have had a call and have not reset."""
    states = []
    for name, spec in catalog.backends.items():
        if catalog.billing(name) is not Billing.FLAT:
            continue
        models = [alias for alias, model in catalog.models.items() if name in model.backends]
        targets = [*map(credential_target, catalog.credentials(name))]
        targets = targets or [breaker_target(name, alias) for alias in models]
        for number, target in enumerate(targets, start=1):
            fields = pairs(await link.command("HGETALL", keys.PLAN + target))
            with link.notes.reading(keys.PLAN + target):
                windows = _windows(name, number, spec.plan_windows, _named(fields, now), fields)
                states += [state for state in windows if state.resets_at > now]
    return states


async def report_plan_shares(
    link: RedisConnection, catalog: Catalog, called: tuple[str, str, str], shares: Sequence[PlanShare]
) -> None:
    """Note what the response to a request says of the limits of a subscription, if its backend is paid by one.
    `called`: the backend, the model (empty: none), the name of the key (empty: none)."""
    backend, model, credential = called
    if not shares or catalog.billing(backend) is not Billing.FLAT or not (model or credential):
        return
    payer = credential_target(credential) if credential else breaker_target(backend, model)
    await link.script("plan_shares", {"payer": payer, "shares": [asdict(share) for share in shares]})


def scarce_models(plans: Sequence[PlanState], catalog: Catalog) -> frozenset[str]:
    """The models at whose first backend each key is nearly used up."""
    low = {(plan.backend, plan.number) for plan in plans if (plan.share or 0.0) >= LOW_SHARE}
    return frozenset(
        alias
        for alias, spec in catalog.models.items()
        if (name := spec.backends[0]) in catalog.backends
        and all((name, number) in low for number in range(1, 1 + max(1, len(catalog.credentials(name)))))
    )


class _Named(TypedDict):
    named_share: float
    resets_at: float


def _windows(
    backend: str, number: int, lengths: Sequence[float], named: Mapping[float, _Named], fields: Mapping[str, bytes]
) -> Iterator[PlanState]:
    """The windows of a key: those of the configuration, with what the provider names of them, then its others."""
    for place, length in enumerate(lengths, start=1):
        state = _window(backend, number, length, place, fields)
        yield replace(state, **named[length]) if length in named else state
    for length in sorted(named.keys() - set(lengths)):
        unknown = PlanState(backend=backend, number=number, window_seconds=length, calls=None, resets_at=0, cap=None)
        yield replace(unknown, **named[length])


def _named(fields: Mapping[str, bytes], now: float) -> dict[float, _Named]:
    """What the provider names of its present windows, by their lengths."""
    texts = [read_text(fields.get(f"share:{number}")) for number in (1, 2)]
    matches = [_SHARE.fullmatch(text) for text in texts if text]
    if None in matches:
        note_unreadable("has another shape")
    return {
        float(match[1]): _Named(named_share=int(match[2]) / 1000, resets_at=int(match[3]) / 1000)
        for match in matches
        if match and int(match[3]) / 1000 > now
    }


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
