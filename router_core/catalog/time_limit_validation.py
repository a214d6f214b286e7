"""Contradictions between the time limits of calls, and between them and the time for which an answer is wanted."""

from __future__ import annotations

from collections.abc import Iterator

from openfall.router_core.catalog.catalog_errors import CatalogProblem
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.unchecked_catalog import UncheckedCatalog
from openfall.router_core.catalog.urgency_policy import UrgencyPolicy

_PARTS = ("first_token_timeout", "stall_timeout")
"""Limits for a part of a call."""


def validate_time_limits(catalog: UncheckedCatalog) -> Iterator[CatalogProblem]:
    """Every time limit that another limit makes useless, or that uses up the time of a job's other models."""
    for urgency, policy in catalog.urgency.items():
        yield from _urgency(f"urgency.{urgency}", policy)
    for name, model in catalog.models.items():
        yield from _parts(f"models.{name}", model)
        for urgency, policy in catalog.urgency.items():
            yield from _model(f"models.{name}", model, f"urgency.{urgency}", policy)


def _urgency(path: str, policy: UrgencyPolicy) -> Iterator[CatalogProblem]:
    for name in ("timeout", "reply_within"):
        value: float | None = getattr(policy, name)
        if value is not None and value >= policy.expires_after:
            message = f"{value:g} s is not shorter than expires_after, which is {policy.expires_after:g} s"
            remedy = f"Write a shorter {name}, or a longer expires_after."
            yield CatalogProblem(f"{path}.{name}", message, remedy, f"{path}.expires_after")
    yield from _parts(path, policy)
    first, reply = policy.first_token_timeout, policy.reply_within
    if first is not None and reply is not None and first > reply:
        yield _too_late(path, first, f"{path}.reply_within", reply)


def _parts(path: str, limits: UrgencyPolicy | ModelSpec) -> Iterator[CatalogProblem]:
    """The limits of an entry for parts of a call that are longer than its limit for the whole call."""
    for name in _PARTS:
        value: float | None = getattr(limits, name)
        if value is not None and limits.timeout is not None and value > limits.timeout:
            message = f"it is never reached: {value:g} s is longer than timeout, which is {limits.timeout:g} s"
            yield CatalogProblem(f"{path}.{name}", message, f"Write a shorter {name}.", f"{path}.timeout")


def _model(path: str, model: ModelSpec, policy_path: str, policy: UrgencyPolicy) -> Iterator[CatalogProblem]:
    if model.timeout is not None and model.timeout >= policy.expires_after:
        other = f"{policy_path}.expires_after"
        message = (
            "one call would leave no time for the other models: "
            f"{model.timeout:g} s is not shorter than {other}, which is {policy.expires_after:g} s"
        )
        remedy = f"Leave timeout out, so that {policy_path}.timeout holds, or write a shorter one."
        yield CatalogProblem(f"{path}.timeout", message, remedy, other)
    for name in _PARTS:
        value: float | None = getattr(model, name)
        if value is not None and model.timeout is None and policy.timeout is not None and value > policy.timeout:
            other = f"{policy_path}.timeout"
            message = f"it is never reached: {value:g} s is longer than {other}, which is {policy.timeout:g} s"
            yield CatalogProblem(f"{path}.{name}", message, f"Write a shorter {name}.", other)
    first, reply = model.first_token_timeout, policy.reply_within
    if first is not None and reply is not None and first > reply:
        yield _too_late(path, first, f"{policy_path}.reply_within", reply)


def _too_late(path: str, first_token_timeout: float, reply_path: str, reply_within: float) -> CatalogProblem:
    message = (
        "Open Fall replies before the first token is due: "
        f"{first_token_timeout:g} s is longer than {reply_path}, which is {reply_within:g} s"
    )
    remedy = "Write a shorter first_token_timeout, or a longer reply_within."
    return CatalogProblem(f"{path}.first_token_timeout", message, remedy, reply_path)
