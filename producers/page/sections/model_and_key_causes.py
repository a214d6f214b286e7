"""Models and keys that take no calls, or fail them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from openfall.producers.breaker_names import display_name, model_at_backend
from openfall.producers.outage_text import Away, Wait
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections.cause import Cause, FleetHealth
from openfall.producers.page.sections.model_calls import ModelCalls
from openfall.producers.page.sections.operator_switch_causes import SilentRoles
from openfall.producers.runbook import RunbookSection
from openfall.producers.shell_command import shell_command
from openfall.router_core.vocabulary import BreakerState, ErrorClass

REPAIRS: Mapping[ErrorClass | None, str] = {
    ErrorClass.NOT_INSTALLED: (
        "The backend has no model of this name, or nothing at this path: correct `upstream` of the model or `url` of"
        " the backend, or install it"
    ),
    ErrorClass.FORBIDDEN: "Allow the model to the key at the provider, or take it out of its chains",
}
"""Causes that no wait ends."""
MIN_FAILURES = 3
"""In a row: fewer are no reason to look."""
FLAT_PLAN = " (a flat plan: its jobs go to other models, which may be metered)"


def model_and_key_causes(silent: SilentRoles, snapshot: PageSnapshot) -> Iterator[Cause]:
    """What keeps calls from models at backends."""
    yield from (_of_target(item, silent, snapshot) for item in snapshot.away)
    yield from _failing(snapshot)


def _failing(snapshot: PageSnapshot) -> Iterator[Cause]:
    """The closed breakers whose last calls failed: their jobs wait for a retry, or go to the next model."""
    for row in snapshot.breakers:
        if row.state is BreakerState.CLOSED and row.consecutive_failures >= MIN_FAILURES:
            name = model_at_backend(display_name(snapshot.catalog, row.target))
            text = f"{name} failed its last {row.consecutive_failures} calls: {row.cause}"
            advice = "Nothing to do yet: after a few more failures its breaker opens"
            yield Cause(text=text, advice=advice, section="breakers", runbook=RunbookSection.CALLS_FAIL)


def _of_target(item: Away, silent: SilentRoles, snapshot: PageSnapshot) -> Cause:
    plan = FLAT_PLAN if item.flat_plan else ""
    if item.wait is Wait.COOLDOWN:
        text, advice = f"{item.name} is rate limited{plan}", "Nothing to do: it is called again"
        return Cause(
            text=text,
            advice=advice,
            until=item.until,
            until_text="in",
            section="breakers",
            runbook=RunbookSection.RATE_LIMITED,
        )
    if item.wait is Wait.OPERATOR:
        return _of_operator(item, silent, snapshot)
    if item.model is None:
        return _of_key(item, silent, snapshot)
    is_probed = ModelCalls(snapshot).blocks.is_probed(item.backends, snapshot.catalog)
    until = item.until if is_probed or item.wait is not Wait.PROBE else None
    advice = "Nothing to do: its breaker closes by itself when a probe is answered"
    if not is_probed:
        advice = "No worker probes it now, so its breaker stays open"
    if item.error in REPAIRS:
        advice = f"{REPAIRS[item.error]}. Its breaker closes by itself after that"
    if item.wait is Wait.CHECK:
        advice = "Look at the backend: it is not called until a check succeeds"
    return Cause(
        text=f"{item.name} takes no calls: {item.cause}{plan}",
        health=_health_of(item, silent, snapshot),
        since=item.since,
        advice=advice,
        until=until,
        until_text="next probe in at least" if item.wait is Wait.PROBE else "called again in at least",
        remedy="openfall preflight" if item.error is ErrorClass.NOT_INSTALLED else "",
        section="breakers",
        runbook=RunbookSection.BREAKER_OPEN,
    )


def _of_key(item: Away, silent: SilentRoles, snapshot: PageSnapshot) -> Cause:
    """A key that its provider refuses, or whose credit is used up. A probe once it is renewed saves the wait for the
    next one."""
    if item.is_unknown_key:
        return Cause(
            text=f"{item.name[0].upper()}{item.name[1:]} takes no calls: {item.cause}",
            since=item.since,
            advice="A worker or gateway has another key than this process: restart it after a change of its variables",
            remedy="openfall breakers",
            section="breakers",
            runbook=RunbookSection.KEY_REFUSED,
        )
    backend = item.backends[0]
    target = f"key:{backend}" if len(snapshot.catalog.credentials(backend)) == 1 else ""
    return Cause(
        text=f"{item.name} takes no calls: {item.cause}{FLAT_PLAN if item.flat_plan else ''}",
        health=_health_of(item, silent, snapshot),
        since=item.since,
        advice="Renew the key or its credit. It is probed again by itself, or at once by Probe now",
        until=item.until,
        until_text="next probe in at least",
        remedy=shell_command("openfall breakers reset", target or "NAME"),
        action="reset-breaker" if target else "",
        buttons=((target, f"Probe now {item.name}"),),
        section="breakers",
        runbook=RunbookSection.KEY_REFUSED,
    )


def _of_operator(item: Away, silent: SilentRoles, snapshot: PageSnapshot) -> Cause:
    """What an operator keeps from calls: no probe closes its breaker."""
    target = f"{item.backends[0]}/{item.model}" if item.model is not None else ""
    return Cause(
        text=f"An operator keeps calls from {item.name}: {item.cause}",
        health=_health_of(item, silent, snapshot),
        since=item.since,
        advice="Automatic ends it" if item.until is None else "Automatic ends it at once, else it ends",
        until=item.until,
        until_text="in",
        remedy=shell_command("openfall breakers reset", target or "NAME"),
        action="reset-breaker" if target else "",
        buttons=((target, f"Automatic for {item.name}"),),
        section="breakers",
        runbook=RunbookSection.BREAKER_OPEN,
    )


def _health_of(item: Away, silent: SilentRoles, snapshot: PageSnapshot) -> FleetHealth:
    """FAILING if it keeps the calls of a role that gets no answer."""
    aliases = {alias for obstacles in silent.values() for alias, why in obstacles.items() if why == item.cause}
    is_cause = any(item.concerns(alias, snapshot.catalog) for alias in aliases)
    return FleetHealth.FAILING if is_cause else FleetHealth.IMPAIRED
