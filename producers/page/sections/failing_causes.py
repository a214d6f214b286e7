"""What takes calls and fails them: its breaker is about to open."""

from __future__ import annotations

from collections.abc import Iterator

from openfall.producers.breaker_names import display_name, model_at_backend
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections.cause import Cause
from openfall.router_core.vocabulary import BreakerState

MIN_FAILURES = 3
"""In a row: fewer are no reason to look."""


def failing_causes(snapshot: PageSnapshot) -> Iterator[Cause]:
    """The closed breakers whose last calls failed: their jobs wait for a retry, or go to the next model."""
    for row in snapshot.breakers:
        if row.state is BreakerState.CLOSED and row.consecutive_failures >= MIN_FAILURES:
            name = model_at_backend(display_name(snapshot.catalog, row.target))
            text = f"{name} failed its last {row.consecutive_failures} calls: {row.cause}"
            advice = "Nothing to do yet: after a few more failures its breaker opens, and jobs go to the next model"
            yield Cause(text=text, advice=advice, section="breakers")
