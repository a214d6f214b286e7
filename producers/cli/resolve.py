"""`openfall resolve`: which model would answer, and why; with --explain, why not the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openfall.producers.cli.options import (
    config_option,
    json_option,
    perhaps_opened,
    run,
)
from openfall.producers.cli.render import (
    age,
    print_line,
    show_json,
    show_table,
)

if TYPE_CHECKING:
    from openfall.config import LoadedConfig
    from openfall.producers.resolve import Resolution
    from openfall.router_core.catalog.entries import Catalog
    from openfall.router_core.jobs.job import ConsideredModel
    from openfall.router_core.routing.chain_selection import RouteRequest
    from openfall.router_core.state.fleet_snapshot import BackendState

COLUMNS = ("place", "model", "backend", "state", "waiting", "usual", "$/Mtok in+out", "why")


@click.command()
@click.argument("target", metavar="[ROLE]", required=False)
@click.option("-t", "--task", help="A task type.")
@click.option("-m", "--model", help="One model, by its name in the configuration.")
@click.option("-g", "--group", help="Whose job it would be, such as whatsapp:main.")
@click.option("--classify", "text", metavar="TEXT", help="A prompt, whose words tell its task if nothing else does.")
@click.option("-u", "--urgency", help="interactive, background or batch.")
@click.option("--tokens", type=click.IntRange(min=0), default=0, help="The prompt has at least so many.")
@click.option("--local-only", is_flag=True, help="As for a job that never leaves the local pools.")
@click.option("--without", multiple=True, metavar="NAME", help="As if this model or backend were not there.")
@click.option("--explain", is_flag=True, help="Every model that is considered, with its state and its reason.")
@config_option
@json_option
def resolve(config_path: Path | None, as_json: bool, explain: bool, **told: Any) -> None:
    """Which model would answer, and why. Nothing is asked and nothing is put in.

    ROLE may be a role, a task type or a model. Exits with 1, and what is against each model, when none would do.
    """
    loaded, found = run(_resolved(config_path, told))
    if found.snapshot is None:
        print_line("nothing is known of the fleet (Redis does not answer): this is by the configuration alone")
    if as_json:
        show_json(_json(loaded, found))
        return
    if not explain:
        click.echo(f"{found.model}@{found.backend}  {found.reason}")
        return
    way = found.route
    click.echo(f"{found.model}@{found.backend} would answer: {way.reason}")
    click.echo(_where(found))
    show_table(COLUMNS, _rows(loaded, found))


async def _resolved(config_path: Path | None, told: dict[str, Any]) -> tuple[LoadedConfig, Resolution]:
    from openfall.producers.client_store import fetch_fleet
    from openfall.producers.resolve import resolve

    async with perhaps_opened(config_path) as (loaded, llm):
        seen = None if llm is None else await fetch_fleet(llm.store.connection, loaded.catalog)
    return loaded, resolve(loaded.catalog, _asked(told), seen, exclude=told["without"])


def _asked(told: dict[str, Any]) -> RouteRequest:
    from openfall.producers.request import parse_urgency
    from openfall.router_core.routing.chain_selection import RouteRequest
    from openfall.router_core.routing.requirements import Requirements

    return RouteRequest(
        target=told["target"],
        task=told["task"],
        model=told["model"],
        group=told["group"],
        urgency=parse_urgency(told["urgency"]),
        local_only=told["local_only"],
        needs=Requirements(tokens_at_least=told["tokens"]),
        text=told["text"] or "",
    )


def _where(found: Resolution) -> str:
    way = found.route
    told = [f"{way.urgency}, by way of queue {way.queue}"]
    told += [f"{what} {name}" for what in ("role", "task", "group") if (name := getattr(way, what))]
    return ", ".join(told) + ("; it stays in the local pools" if way.local_only else "")


def _rows(loaded: LoadedConfig, found: Resolution) -> Iterator[tuple[object, ...]]:
    """One row for each model at each of its backends; the first of a model's rows tells its place and reason."""
    for place, candidate in enumerate(found.route.considered, 1):
        chosen = candidate.model in found.route.chain
        spec = loaded.catalog.models[candidate.model]
        seats = {seat.name: seat for seat in found.backends(candidate.model)}
        state = found.snapshot.fleet_state(found.route.urgency).model(candidate.model) if found.snapshot else None
        for number, backend in enumerate(spec.backends):
            seat = seats.get(backend)
            first = (str(place) if chosen else "-", candidate.model) if number == 0 else ("", "")
            yield (
                *first,
                backend,
                _state(seat, None if state is None else state.loaded, found),
                "" if state is None or number else str(state.waiting),
                "" if seat is None or seat.latency is None else f"{seat.latency:.1f}s",
                price_of(loaded.catalog, candidate.model, backend),
                candidate.reason if number == 0 else "",
            )


def _state(seat: BackendState | None, loaded: bool | None, found: Resolution) -> str:
    if seat is None or found.snapshot is None:
        return "?"
    if seat.blocked is not None:
        left = seat.blocked.until - found.snapshot.now
        return f"{seat.blocked.detail}" + (f", {age(left)} more" if 0 < left < float("inf") else "")
    memory = {True: "loaded, ", False: "not loaded, ", None: ""}[loaded]
    return f"{memory}{max(0, seat.free_slots)} slots free"


def price_of(catalog: Catalog, model: str, backend: str) -> str:
    """Of a million tokens in and out, in US dollars: `5+25`, `?` for what is not known; `local` or `flat`."""
    from openfall.router_core.catalog.entries import Billing

    billing, prices = catalog.billing(backend), catalog.models[model].usd_per_mtok
    if billing is not Billing.METERED:
        return str(billing)
    known = ("?" if one is None else f"{one:g}" for one in (prices and prices.input, prices and prices.output))
    return "+".join(known)


def _json(loaded: LoadedConfig, found: Resolution) -> dict[str, Any]:
    way, spec = found.route, loaded.catalog.models[found.model]
    names = ("urgency", "queue", "role", "task", "group", "local_only", "chain")
    return {
        "model": found.model,
        "upstream": spec.upstream,
        "backend": found.backend,
        "protocol": loaded.catalog.backends[found.backend].protocol,
        "reason": found.reason,
        "selection_reason": way.reason,
        **{name: getattr(way, name) for name in names},
        "live": found.snapshot is not None,
        "candidates": [_candidate(loaded, found, one) for one in way.considered],
    }


def _candidate(loaded: LoadedConfig, found: Resolution, candidate: ConsideredModel) -> dict[str, Any]:
    spec = loaded.catalog.models[candidate.model]
    state = found.snapshot.fleet_state(found.route.urgency).model(candidate.model) if found.snapshot else None
    seats = {seat.name: seat for seat in found.backends(candidate.model)}
    at = [
        {
            "backend": name,
            "billing": loaded.catalog.billing(name),
            "free": None if (seat := seats.get(name)) is None else max(0, seat.free_slots),
            "blocked": None if seat is None or seat.blocked is None else seat.blocked.reason,
            "blocked_why": "" if seat is None or seat.blocked is None else seat.blocked.detail,
            "blocked_until": _moment(seat),
            "latency_s": None if seat is None else seat.latency,
        }
        for name in spec.backends
    ]
    return {
        "model": candidate.model,
        "chosen": candidate.model in found.route.chain,
        "reason": candidate.reason,
        "loaded": None if state is None else state.loaded,
        "waiting": None if state is None else state.waiting,
        "usd_per_mtok": spec.usd_per_mtok,
        "at": at,
    }


def _moment(seat: BackendState | None) -> float | None:
    """When what blocks it ends (epoch seconds); None: it is not blocked, or nobody knows."""
    if seat is None or seat.blocked is None or seat.blocked.until == float("inf"):
        return None
    return seat.blocked.until
