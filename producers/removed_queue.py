"""A queue of a model or a pool that left the configuration while jobs waited in it. No worker of it reads them."""

from __future__ import annotations

from openfall.producers.duration_text import format_age
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.keys import model_of, pool_of
from openfall.router_core.unknown_words import carry_word
from openfall.router_core.vocabulary import Urgency


def is_removed(queue: str, catalog: Catalog) -> bool:
    """Whether the configuration has no such queue: its model is gone, or is in another pool."""
    model = model_of(queue)
    return model not in catalog.models or catalog.pool_of(model) != pool_of(queue)


def describe_removed_queue(queue: str, catalog: Catalog) -> str:
    """`The configuration has no model coder, and no worker serves gpu.coder.batch`."""
    model, pool = model_of(queue), pool_of(queue)
    missing = f"model {model}" if model not in catalog.models else f"model {model} in the pool {pool}"
    return f"The configuration has no {missing}, and no worker serves {queue}"


def removed_queue_advice(queue: str, catalog: Catalog) -> str:
    """What helps the jobs that wait there."""
    policy = catalog.urgency.get(carry_word(Urgency, queue.rpartition(".")[2]))
    moment = f", {format_age(policy.start_within)} after they were accepted" if policy else ""
    return f"Write it back, or wait: once late{moment}, the jobs go to another model of their chain or are held"
