"""`openfall resolve`: shows which model would answer, and why. --explain shows every candidate."""

from __future__ import annotations

from typing import Any, cast

import click

from openfall.config import LoadedConfig
from openfall.producers.cli.event_loop import run_async
from openfall.producers.cli.options import common_options, open_optional_client, route_options
from openfall.producers.cli.tables import show_table
from openfall.producers.cli.terminal import echo, print_line, show_json, wants_json
from openfall.producers.client_store import fetch_fleet
from openfall.producers.resolution_table import candidate_values, describe_route, resolution_table
from openfall.producers.resolve import Resolution
from openfall.producers.runtime_model import ResolveOptions, route_request


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
@click.option("--exclude", multiple=True, metavar="NAME", help="Exclude this model or backend. May be repeated.")
@click.option("--explain", is_flag=True, help="Show every candidate with its state and reason.")
@common_options
def resolve(explain: bool, **options: Any) -> None:
    """Show which model would answer, and why. Calls no model and submits no job.

    ROLE is a role, a task type or a model. If no model can answer, prints the reason for each and exits with 1.
    """
    config, resolution = run_async(_resolve(options))
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
    echo(describe_route(resolution))
    shown = resolution_table(config.catalog, resolution)
    show_table(shown.columns, shown.rows)


async def _resolve(options: dict[str, Any]) -> tuple[LoadedConfig, Resolution]:
    from openfall.producers.resolve import resolve

    async with open_optional_client() as (config, llm):
        snapshot = None if llm is None else await fetch_fleet(llm.store.connection, config.catalog)
    return config, resolve(
        config.catalog, route_request(None, cast("ResolveOptions", options)), snapshot, exclude=options["exclude"]
    )


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
        "candidates": [candidate_values(config.catalog, resolution, candidate) for candidate in route.considered],
    }
