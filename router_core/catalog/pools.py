"""Pools of workers, and who pays for a call."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field

from openfall.router_core.catalog.field_types import CatalogEntry


class Pool(CatalogEntry):
    """Which workers serve a backend. Requests to a `local` pool never leave the owner's machines."""

    local: bool = Field(False, description="Requests to this pool never leave your own machines.")


class Billing(StrEnum):
    """Who pays for a call, and how."""

    LOCAL = "local"  # our own machine: nothing
    FLAT = "flat"  # a subscription: nothing more for this call
    METERED = "metered"  # by the token


POOL_DEFAULTS: Mapping[str, Pool] = {"gpu": Pool(local=True), "cloud": Pool()}
