"""The requests that the gateway refused today, by key and cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sources import REFUSED
from openfall.producers.refused_table import REMEDIES
from openfall.router_core.state.refused_requests import RefusedRequests

MAX_ROWS = 6


def context(snapshot: PageSnapshot) -> Mapping[str, Any]:
    refused: Sequence[RefusedRequests] = snapshot.sources.get(REFUSED.name, ())
    return {"total": sum(row.count for row in refused), "refused": refused[:MAX_ROWS], "remedies": REMEDIES}
