"""Requests that pass through the gateway to a backend, under a budget, without a price."""

from __future__ import annotations

from openfall.config.gateway_settings import GatewaySection
from openfall.config.yaml_document import Node
from openfall.router_core.catalog.budget_scope import backend_budgets
from openfall.router_core.catalog.catalog import Catalog


def refuse_unpriced_requests(top: Node, catalog: Catalog, gateway: GatewaySection) -> None:
    """Report requests that pass through the gateway to a backend that a budget counts, at no known price."""
    passed = gateway.passthrough
    backend = getattr(passed, "backend", "")  # a section with a mistake may lack it
    if passed is None or passed.usd_per_request is not None or backend not in catalog.backends:
        return
    if names := backend_budgets(catalog, backend):
        message = f"budget {names[0]} counts requests to {backend}, and what one costs is not known"
        top.find("gateway.passthrough").report(message, "Set usd_per_request: 0 if these paths cost nothing.")
