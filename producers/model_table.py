"""Each model at each of its backends: for `openfall models` and the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from openfall.producers.amount_text import format_cost, format_price, format_seconds
from openfall.producers.duration_text import format_age
from openfall.producers.table import Table
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.state.model_status import ModelAtBackend, ModelStatus

COLUMNS = (
    "model", "backend", "pool", "state", "ctx", "lacks", "VRAM", "price", "waiting", "calls", "failed", "mean", "today",
    "note",
)  # fmt: skip


def model_table(catalog: Catalog, models: Iterable[ModelStatus]) -> Table:
    rows = [cells for row in models for cells in _cells(catalog, row)]
    return Table(columns=COLUMNS, rows=rows, if_empty="no model is configured", subjects=[str(row[0]) for row in rows])


def _cells(catalog: Catalog, row: ModelStatus) -> Iterator[tuple[object, ...]]:
    spec = catalog.models[row.model]
    for number, at in enumerate(row.backends):
        waiting = " ".join(f"{jobs} {urgency}" for urgency, jobs in row.waiting.items() if jobs) or "-"
        yield (
            row.model,
            at.backend,
            catalog.pool_of(row.model),
            at.load_state + ("" if at.state_seconds is None else f" for {format_age(at.state_seconds)}"),
            spec.context,
            _lacking(spec),
            "-" if spec.vram_gb is None else f"{spec.vram_gb:g} GB",
            format_price(catalog, row.model, at.backend),
            waiting if number == 0 else "",
            at.calls,
            at.failed,
            format_seconds(at.seconds / at.calls) if at.calls else "-",
            format_cost(at.usd, at.unpriced),
            "; ".join(filter(None, (at.why, _slowness(at, spec.slow_after)))),
        )


def _slowness(at: ModelAtBackend, slow_after: float | None) -> str:
    """How many of the recent calls were slow; empty: none."""
    if not at.slow_calls or slow_after is None or at.latency is None:
        return ""
    calls = f"{at.slow_calls} of {at.recent_calls} recent calls took longer than {slow_after:g}s"
    return f"slow: {calls}, {format_seconds(at.latency)} on average"


def capabilities_of(spec: ModelSpec) -> dict[str, Any]:
    """What a request to the model may have."""
    flags = {name: getattr(spec, name) for name in ("tools", "json_schema", "images")}
    return {**flags, **asdict(spec.capabilities)}


def _lacking(spec: ModelSpec) -> str:
    """What a request to the model must not have."""
    return " ".join(name for name, value in capabilities_of(spec).items() if value in (False, "none")) or "-"
