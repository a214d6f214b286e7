"""What operators did last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.producers.page.page_snapshot import PageSnapshot

MAX_LINES = 12


def context(snapshot: PageSnapshot) -> Mapping[str, Any]:
    return {"entries": snapshot.audit[:MAX_LINES]}
