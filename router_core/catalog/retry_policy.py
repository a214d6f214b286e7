"""How the same model is called again after a transient failure."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from openfall.router_core.catalog.field_types import CatalogEntry, Seconds, Share


class RetryPolicy(CatalogEntry):
    """How the same model is called again after a transient failure."""

    max_retries: Annotated[int, Field(ge=0, le=10)] = Field(
        3, description="Maximum retries at the same model after a transient failure."
    )
    initial_backoff: Seconds = Field(1.0, description="Wait before the first retry. It doubles each time ...")
    max_backoff: Seconds = Field(60.0, description="... up to this.")
    retry_budget: Share = Field(
        0.2,
        description="Maximum retries of a worker, as a share of its calls of the last minute. "
        "30 retries in a minute are always allowed.",
    )
