"""`openfall models`: lists models; loads, unloads and checks one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from openfall.config import LoadedConfig
from openfall.producers.cli.event_loop import run_async
from openfall.producers.cli.options import common_options, config_path, listing_group, with_client
from openfall.producers.cli.tables import show_table
from openfall.producers.cli.terminal import echo, show_json, wants_json
from openfall.producers.client import AsyncOpenfall
from openfall.producers.duration_text import format_age
from openfall.producers.model_table import capabilities_of, model_table
from openfall.producers.operations.model_orders import order_model
from openfall.producers.producer_name import producer_name
from openfall.router_core.state.model_status import (
    ModelAtBackend,
    ModelStatus,
    OtherModel,
    fetch_model_status,
    fetch_other_models,
)

NOT_CONFIGURED = "not in the configuration"

_backend_option = click.option("--backend", metavar="NAME", help="Only at this backend. Default: at all of the model.")


@listing_group
@common_options
def models() -> None:
    """List models: state, waiting jobs, calls and cost of today (UTC).

    A state is not_loaded, loading, ready, in_use, closing (it leaves its card), error, or unknown
    without a recent report. Models that an Ollama has
    and the configuration does not name follow at the end.
    """

    async def fetch(llm: AsyncOpenfall) -> tuple[LoadedConfig, list[ModelStatus], list[OtherModel]]:
        link, catalog = llm.store.connection, llm.config.catalog
        return llm.config, await fetch_model_status(link, catalog), await fetch_other_models(link, catalog)

    config, rows, others = with_client(fetch)
    if wants_json():
        show_json([*(_json(config, row) for row in rows), *(_other_json(config, other) for other in others)])
    else:
        shown = model_table(config.catalog, rows)
        show_table(shown.columns, shown.rows)
        for other in others:
            echo(f"{other.upstream}@{other.backend}: {other.load_state}, {NOT_CONFIGURED}")


def _json(config: LoadedConfig, row: ModelStatus) -> dict[str, Any]:
    catalog, spec = config.catalog, config.catalog.models[row.model]
    return {
        "model": row.model,
        "configured": True,
        "upstream": spec.upstream,
        "quantization": spec.quantization,
        "pool": catalog.pool_of(row.model),
        "local": catalog.is_local(row.model),
        "ctx": spec.context,
        "vram_gb": spec.vram_gb,
        "capabilities": capabilities_of(spec),
        "slow_after": spec.slow_after,
        "usd_per_mtok": spec.usd_per_mtok,
        "waiting": row.waiting,
        "started": row.started,
        "blocked": None if row.blocked is None else row.blocked.detail,
        "at": [_backend_json(config, at) for at in row.backends],
    }


def _other_json(config: LoadedConfig, other: OtherModel) -> dict[str, Any]:
    pool = config.catalog.backends[other.backend].pool
    return {
        "model": None,
        "configured": False,
        "upstream": other.upstream,
        "pool": pool,
        "local": config.catalog.pools[pool].local,
        "at": [{"state": other.load_state, "backend": other.backend}],
    }


def _backend_json(config: LoadedConfig, at: ModelAtBackend) -> dict[str, Any]:
    values = asdict(at)
    del values["model"]
    return {"state": values.pop("load_state"), **values, "billing": config.catalog.billing(at.backend)}


@models.command(short_help="Load a model into memory.")
@click.argument("name")
@_backend_option
@common_options
def load(name: str, **options: Any) -> None:
    """Load a model into the memory of its backends. A backend may unload other models to make room."""
    _admin("load", name, **options)


@models.command(short_help="Unload a model from memory.")
@click.argument("name")
@_backend_option
@common_options
def unload(name: str, **options: Any) -> None:
    """Unload a model from the memory of its backends. It stays in memory while a call uses it."""
    _admin("unload", name, **options)


@models.command(short_help="Keep a model on its card.")
@click.argument("name")
@_backend_option
@common_options
def pin(name: str, **options: Any) -> None:
    """Keep a model in the memory of its graphics card: no other model takes its place. Until `unpin`."""
    _admin("pin", name, **options)


@models.command(short_help="Let a model leave its card.")
@click.argument("name")
@_backend_option
@common_options
def unpin(name: str, **options: Any) -> None:
    """Let a model leave its graphics card for another one. It overrides `pinned` of the configuration, too."""
    _admin("unpin", name, **options)


@models.command(short_help="Check the health of a model.")
@click.argument("name")
@_backend_option
@click.option("--force", is_flag=True, help="Check now, even if that loads the model or costs money.")
@common_options
def check(name: str, **options: Any) -> None:
    """Check the health of a model, and store the result for the fleet.

    A model that is in memory and costs nothing gets a test prompt. For any other model only the endpoint is checked. A
    result that is less than 30 s old is used again, unless --force.
    """
    _admin("check", name, **options)


def _admin(verb: str, name: str, *, backend: str | None, force: bool = False) -> None:
    """Exits with 1 if the action failed, or the model is not healthy, at one of its backends."""
    from openfall.config import NoRedis, load, redis_server
    from openfall.workers.admin.model_admin import try_connect

    async def main() -> bool:
        config = load(config_path())
        try:
            server = redis_server(config.settings)
        except NoRedis:
            server = None
        connection = await try_connect(server)
        all_ok = True
        try:
            actor = producer_name()
            async for result in order_model(
                config, connection, verb, name, actor=actor, via="cli", backend=backend, force=force
            ):
                all_ok &= result["ok"]
                show_json(result) if wants_json() else echo(_sentence(result))
        finally:
            if connection is not None:
                await connection.close()
        return all_ok

    try:
        raise click.exceptions.Exit(0 if run_async(main()) else 1)
    except ValueError as error:  # the url of a backend cannot be used
        raise click.UsageError(str(error)) from None


def _sentence(result: dict[str, Any]) -> str:
    where, message = f"{result['model']}@{result['backend']}", result["message"]
    if result["verb"] != "check":
        return f"{where} {message}" if result["ok"] else f"{where}: {result['verb']} failed: {message}"
    if result["ok"]:
        outcomes = {
            "prompted": f"answered the test prompt in {result['latency']:.1f}s",
            "alive": "its endpoint answers",
        }
        outcome = outcomes.get(result["how"], "was not checked")
    else:
        outcome = f"is not healthy ({result['how']})"
    before = f" ({format_age(result['age'])} ago)" if "age" in result else ""
    return f"{where} {outcome}{before}" + (f": {message}" if message else "")
