"""`openfall resolve`: shows which model would answer, and why. --explain shows every candidate."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import click

from openfall.producers.age import format_age
from openfall.producers.amounts import format_price
from openfall.producers.cli.options import common_options, open_optional_client, route_options
from openfall.producers.cli.render import plural
from openfall.producers.cli.tables import show_table
from openfall.producers.cli.terminal import echo, print_line, show_json, wants_json

if TYPE_CHECKING:
    from openfall.config import LoadedConfig
    from openfall.producers.resolve import Resolution
    from openfall.producers.runtime import ResolveOptions
    from openfall.router_core.jobs.job import ConsideredModel
    from openfall.router_core.state.fleet_snapshot import BackendState

COLUMNS = ("place", "model", "backend", "state", "waiting", "usual", "$/Mtok in+out", "why")


@click.command()
@click.argument("target", metavar="[ROLE]", required=False)
@route_options("task", "model", "group", "local_only", "urgency")
@click.option("--classify", "text", metavar="TEXT", help="Prompt to classify if no task is given.")
@click.option(
    "--tokens",
    "prompt_tokens",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    help="Assume a prompt of at least N tokens.",
)
@click.option("--exclude", multiple=True, metavar="NAME", help="Exclude this model or backend.")
@click.option("--explain", is_flag=True, help="Show every candidate with its state and reason.")
@common_options
def resolve(explain: bool, **options: Any) -> None:
    """Show which model would answer, and why. Calls no model and submits no job.

    ROLE is a role, a task type or a model. If no model can answer, prints the reason for each and exits with 1.
    """
    config, resolution = asyncio.run(_resolve(options))
    if resolution.snapshot is None:
        print_line("the state of the fleet is unknown (Redis does not answer): only the configuration decides")
    if wants_json():
        show_json(_json(config, resolution))
        return
    if not explain:
        echo(f"{resolution.model}@{resolution.backend}  {resolution.reason}")
        return
    route = resolution.route
    echo(f"{resolution.model}@{resolution.backend} would answer: {route.reason}")
    echo(_describe_route(resolution))
    show_table(COLUMNS, _rows(config, resolution))


async def _resolve(options: dict[str, Any]) -> tuple[LoadedConfig, Resolution]:
    from openfall.producers.client_store import fetch_fleet
    from openfall.producers.resolve import resolve
    from openfall.producers.runtime import route_request

    async with open_optional_client() as (config, llm):
        snapshot = None if llm is None else await fetch_fleet(llm.store.connection, config.catalog)
    return config, resolve(
        config.catalog, route_request(None, cast("ResolveOptions", options)), snapshot, exclude=options["exclude"]
    )


def _describe_route(resolution: Resolution) -> str:
    route = resolution.route
    options = [f"{route.urgency}, queue {route.queue}"]
    options += [f"{what} {name}" for what in ("role", "task", "group") if (name := getattr(route, what))]
    return ", ".join(options) + ("; local pools only" if route.local_only else "")


def _rows(config: LoadedConfig, resolution: Resolution) -> Iterator[tuple[object, ...]]:
    """One row for each model at each of its backends; the first row of a model has its place and reason."""
    snapshot = resolution.snapshot
    for place, candidate in enumerate(resolution.route.considered, 1):
        values = _candidate(config, resolution, candidate)
        for number, at in enumerate(values["at"]):
            is_first = number == 0
            yield (
                (place if values["chosen"] else "-") if is_first else "",
                candidate.model if is_first else "",
                at["backend"],
                "?" if snapshot is None or at["free"] is None else _state(at, values["loaded"], snapshot.now),
                values["waiting"] if is_first and snapshot else "",
                "" if at["latency_s"] is None else f"{at['latency_s']:.1f}s",
                format_price(config.catalog, candidate.model, at["backend"]),
                candidate.reason if is_first else "",
            )


def _state(at: Mapping[str, Any], loaded: bool | None, now: float) -> str:
    if at["blocked"] is not None:
        remaining = (at["blocked_until"] or 0.0) - now
        return str(at["blocked_why"]) + (f", {format_age(remaining)} more" if remaining > 0 else "")
    if at["limited_why"]:
        return str(at["limited_why"])
    memory = {True: "loaded, ", False: "not loaded, ", None: ""}[loaded]
    return f"{memory}{plural(at['free'], 'slot')} free"


def _json(config: LoadedConfig, resolution: Resolution) -> dict[str, Any]:
    route, spec = resolution.route, config.catalog.models[resolution.model]
    names = ("urgency", "queue", "role", "task", "group", "local_only", "chain")
    return {
        "model": resolution.model,
        "upstream": spec.upstream,
        "backend": resolution.backend,
        "protocol": config.catalog.backends[resolution.backend].protocol,
        "reason": resolution.reason,
        "selection_reason": route.reason,
        **{name: getattr(route, name) for name in names},
        "live": resolution.snapshot is not None,
        "candidates": [_candidate(config, resolution, candidate) for candidate in route.considered],
    }


def _candidate(config: LoadedConfig, resolution: Resolution, candidate: ConsideredModel) -> dict[str, Any]:
    spec = config.catalog.models[candidate.model]
    snapshot, route = resolution.snapshot, resolution.route
    state = snapshot.fleet_state(route.urgency).model(candidate.model) if snapshot else None
    backend_states = {backend_state.name: backend_state for backend_state in resolution.backends(candidate.model)}
    return {
        "model": candidate.model,
        "chosen": candidate.model in route.chain,
        "reason": candidate.reason,
        "loaded": None if state is None else state.loaded,
        "waiting": None if state is None else state.waiting,
        "usd_per_mtok": spec.usd_per_mtok,
        "at": [_backend_json(config, name, backend_states.get(name)) for name in spec.backends],
    }


def _backend_json(config: LoadedConfig, name: str, state: BackendState | None) -> dict[str, Any]:
    """One backend of a candidate. `blocked_until` is None if there is no block, or its end is unknown."""
    blocked = None if state is None else state.blocked
    return {
        "backend": name,
        "billing": config.catalog.billing(name),
        "free": None if state is None else max(0, state.free_slots),
        "blocked": None if blocked is None else blocked.reason,
        "blocked_why": "" if blocked is None else blocked.detail,
        "blocked_until": None if blocked is None or blocked.until == float("inf") else blocked.until,
        "limited_why": "" if state is None or blocked or not any(state.limited) else state.trouble,
        "latency_s": None if state is None else state.latency,
    }
