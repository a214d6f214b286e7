"""The local-only switch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.producers.operator_note import describe_switch
from openfall.producers.page.page_snapshot import PageSnapshot


def context(snapshot: PageSnapshot) -> Mapping[str, Any]:
    catalog = snapshot.catalog
    local = [model for model in catalog.models if catalog.is_local(model)]
    return {
        "is_on": snapshot.local_only is not None,
        "who": describe_switch(snapshot.local_only or "", snapshot.audit, snapshot.now),
        "by_configuration": catalog.local_only,
        "local_models": len(local),
        "models": len(catalog.models),
    }
