"""`openfall models`: every model and how it is; bring it into memory, take it out, see whether it is well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openfall.producers.cli.options import (
    config_option,
    json_option,
    opened,
    run,
)
from openfall.producers.cli.render import (
    age,
    show_json,
    show_table,
    spent,
)

if TYPE_CHECKING:
    from openfall.config import LoadedConfig
    from openfall.router_core.state.model_status import ModelAtBackend, ModelStatus

COLUMNS = (
    "model",
    "backend",
    "pool",
    "state",
    "ctx",
    "VRAM",
    "price",
    "waiting",
    "calls",
    "failed",
    "mean",
    "today",
    "",
)

_force = click.option("--force", is_flag=True, help="Ask it now, loading and paying as need be.")
_at = click.option("--backend", metavar="NAME", help="Only at this backend; else at all that serve it.")


@click.group(invoke_without_command=True)
@config_option
@json_option
@click.pass_context
def models(ctx: click.Context, config_path: Path | None, as_json: bool) -> None:
    """Every model: how it is, what waits for it, what it did and cost today (UTC).

    A state is not_loaded, loading, ready, in_use, error, or unknown when nothing was heard of it of late.
    """
    ctx.obj = config_path
    if ctx.invoked_subcommand is not None:
        return
    loaded, rows = run(_look(config_path))
    if as_json:
        show_json([_json(loaded, row) for row in rows])
    else:
        show_table(COLUMNS, (cells for row in rows for cells in _cells(loaded, row)))


async def _look(config_path: Path | None) -> tuple[LoadedConfig, list[ModelStatus]]:
    from openfall.router_core.state.model_status import fetch_model_status

    async with opened(config_path) as llm:
        return llm.loaded, await fetch_model_status(llm.link, llm.loaded.catalog)


def _cells(loaded: LoadedConfig, row: ModelStatus) -> Iterator[tuple[object, ...]]:
    catalog, spec = loaded.catalog, loaded.catalog.models[row.model]
    for number, at in enumerate(row.backends):
        waiting = " ".join(f"{jobs} {urgency}" for urgency, jobs in row.waiting.items() if jobs) or "-"
        yield (
            "" if number else row.model,
            at.backend,
            catalog.pool_of(row.model),
            at.load_state,
            spec.context,
            "-" if spec.vram_gb is None else f"{spec.vram_gb:g} GB",
            _price(loaded, row.model, at.backend),
            "" if number else waiting,
            at.calls,
            at.failed,
            f"{at.seconds / at.calls:.1f}s" if at.calls else "-",
            spent(at.usd, at.unpriced),
            at.why,
        )


def _price(loaded: LoadedConfig, model: str, backend: str) -> str:
    from openfall.producers.cli.resolve import price_of

    return price_of(loaded.catalog, model, backend)


def _json(loaded: LoadedConfig, row: ModelStatus) -> dict[str, Any]:
    catalog, spec = loaded.catalog, loaded.catalog.models[row.model]
    return {
        "model": row.model,
        "upstream": spec.upstream,
        "pool": catalog.pool_of(row.model),
        "local": catalog.is_local(row.model),
        "ctx": spec.context,
        "vram_gb": spec.vram_gb,
        "usd_per_mtok": spec.usd_per_mtok,
        "waiting": row.waiting,
        "started": row.started,
        "blocked": None if row.blocked is None else row.blocked.detail,
        "at": [_placed(loaded, at) for at in row.backends],
    }


def _placed(loaded: LoadedConfig, at: ModelAtBackend) -> dict[str, Any]:
    run_worker_command = {name: value for name, value in asdict(at).items() if name != "model"}
    return {
        **run_worker_command,
        "state": run_worker_command.pop("load_state"),
        "billing": loaded.catalog.billing(at.backend),
    }


@models.command()
@click.argument("name")
@_at
@config_option
@json_option
@click.pass_obj
def load(group: Path | None, name: str, backend: str | None, config_path: Path | None, as_json: bool) -> None:
    """Bring a model into the memory of its backends. The others make room as they do."""
    _carry_out(config_path or group, as_json, "load", name, *_only(backend))


@models.command()
@click.argument("name")
@_at
@config_option
@json_option
@click.pass_obj
def unload(group: Path | None, name: str, backend: str | None, config_path: Path | None, as_json: bool) -> None:
    """Take a model out of the memory of its backends. While a call uses it, it stays."""
    _carry_out(config_path or group, as_json, "unload", name, *_only(backend))


@models.command()
@click.argument("name")
@_at
@_force
@config_option
@json_option
@click.pass_context
def check(ctx: click.Context, /, name: str, config_path: Path | None, as_json: bool, **told: Any) -> None:
    """See whether a model is well, and let the fleet know.

    It is asked a test prompt if it is in memory and answers cost nothing; else its endpoint is looked at. What was
    found less than 30 s ago stands, unless --force.
    """
    more = ("--force",) if told["force"] else ()
    _carry_out(config_path or ctx.obj, as_json, "check", name, *_only(told["backend"]), *more)


def _only(backend: str | None) -> tuple[str, ...]:
    return () if backend is None else ("--backend", backend)


def _carry_out(config_path: Path | None, as_json: bool, *args: str) -> None:
    """Exits with 1 when it did not come about, or the model is not well, at one of its backends."""
    raise click.exceptions.Exit(1 if run(_told(config_path, as_json, args)) else 0)


async def _told(config_path: Path | None, as_json: bool, args: tuple[str, ...]) -> int:
    from openfall.producers.cli.worker_process import run_worker_command

    bad = 0
    async with aclosing(run_worker_command(config_path, "models", *args)) as lines:
        async for line in lines:
            bad += not line["ok"]
            show_json(line) if as_json else click.echo(_sentence(line))
    return bad


def _sentence(line: dict[str, Any]) -> str:
    place, said = f"{line['model']}@{line['backend']}", line["said"]
    if line["verb"] != "check":
        return f"{place} {said}" if line["ok"] else f"{place}: {line['verb']} failed: {said}"
    how = {"asked": f"answered the test prompt in {line['latency']:.1f}s", "alive": "its endpoint answers"}
    found = how.get(line["how"], "was not asked") if line["ok"] else f"is not well ({line['how']})"
    before = f" ({age(line['age'])} ago)" if "age" in line else ""
    return f"{place} {found}{before}" + (f": {said}" if said else "")
