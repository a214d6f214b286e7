"""Every model that a request could get, at each of its backends, and why: for `openfall resolve` and the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from openfall.producers.amount_text import format_price, format_seconds, plural
from openfall.producers.duration_text import format_age
from openfall.producers.resolve import Resolution
from openfall.producers.table import Table
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.jobs.job import ConsideredModel
from openfall.router_core.state.fleet_snapshot import BackendState

COLUMNS = ("place", "model", "backend", "state", "waiting", "usual", "$/Mtok in+out", "why")


def resolution_table(catalog: Catalog, resolution: Resolution) -> Table:
    return Table(columns=COLUMNS, rows=list(_rows(catalog, resolution)), if_empty="no model was considered")


def describe_route(resolution: Resolution) -> str:
    route = resolution.route
    options = [f"{route.urgency}, queue {route.queue}"]
    options += [f"{what} {name}" for what in ("role", "task", "group") if (name := getattr(route, what))]
    return ", ".join(options) + ("; local pools only" if route.local_only else "")


def _rows(catalog: Catalog, resolution: Resolution) -> Iterator[tuple[object, ...]]:
    """One row for each model at each of its backends; the first row of a model has its place and reason."""
    snapshot = resolution.snapshot
    for place, candidate in enumerate(resolution.route.considered, 1):
        values = candidate_values(catalog, resolution, candidate)
        for number, at in enumerate(values["at"]):
            is_first = number == 0
            yield (
                (place if values["chosen"] else "-") if is_first else "",
                candidate.model if is_first else "",
                at["backend"],
                "?" if snapshot is None or at["free"] is None else _state(at, values["loaded"], snapshot.now),
                values["waiting"] if is_first and snapshot else "",
                "" if at["latency_s"] is None else format_seconds(at["latency_s"]),
                format_price(catalog, candidate.model, at["backend"]),
                candidate.reason if is_first else "",
            )


def _state(at: Mapping[str, Any], loaded: bool | None, now: float) -> str:
    if at["blocked"] is not None:
        remaining = (at["blocked_until"] or 0.0) - now
        return str(at["blocked_why"]) + (f", {format_age(remaining)} more" if remaining > 0 else "")
    if at["limited_why"]:
        return str(at["limited_why"])
    memory = {True: "loaded, ", False: "not loaded, ", None: ""}[loaded]
    return f"{memory}{plural(at['free'], 'slot')} free"


def candidate_values(catalog: Catalog, resolution: Resolution, candidate: ConsideredModel) -> dict[str, Any]:
    spec = catalog.models[candidate.model]
    snapshot, route = resolution.snapshot, resolution.route
    state = snapshot.fleet_state(route.urgency).model(candidate.model) if snapshot else None
    backend_states = {backend_state.name: backend_state for backend_state in resolution.backends(candidate.model)}
    return {
        "model": candidate.model,
        "chosen": candidate.model in route.chain,
        "reason": candidate.reason,
        "loaded": None if state is None else state.loaded,
        "waiting": None if state is None else state.waiting,
        "usd_per_mtok": spec.usd_per_mtok,
        "at": [_backend_values(catalog, name, backend_states.get(name)) for name in spec.backends],
    }


def _backend_values(catalog: Catalog, name: str, state: BackendState | None) -> dict[str, Any]:
    """One backend of a candidate. `blocked_until` is None if there is no block, or its end is unknown."""
    blocked = None if state is None else state.blocked
    return {
        "backend": name,
        "billing": catalog.billing(name),
        "free": None if state is None else max(0, state.free_slots),
        "blocked": None if blocked is None else blocked.reason,
        "blocked_why": "" if blocked is None else blocked.detail,
        "blocked_until": None if blocked is None or blocked.until == float("inf") else blocked.until,
        "limited_why": "" if state is None or blocked or not any(state.limited) else state.trouble,
        "latency_s": None if state is None else state.latency,
    }
