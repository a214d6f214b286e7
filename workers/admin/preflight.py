"""Is everything there that the configuration names? Each backend is asked what it has; nothing is loaded or paid for.

Findings are told as they come. `state` is `ok`, `warning` (it works, but not as somebody may think) or `failure`; each
of the latter two has a remedy.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from openfall.router_core.catalog.entries import Backend, Catalog, ModelSpec
from openfall.router_core.jobs.outcome import (
    Failure,
)
from openfall.router_core.vocabulary import (
    CredentialSignal,
    ErrorClass,
)
from openfall.workers.backends.address import parse_address
from openfall.workers.backends.base import CompletionBackend, LoadedModel, same_model
from openfall.workers.backends.http_client import HttpClient
from openfall.workers.backends.registry import open_backend
from openfall.workers.backends.transport import Transport

WITHIN = 3.0
"""Seconds that each question may take. All are asked at once."""
NAMED = 4
"""Names of models that a finding tells when none is near."""

CheckState = Literal["ok", "warning", "failure"]

_DATED = re.compile(r"-\d{8}$")
_OLLAMA_PORT = 11434


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """The result of one check. `subject` names what was checked, such as a backend or `model@backend`."""

    check: str
    subject: str
    state: CheckState
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What one backend reported. `props` are llama-server's, None for any other."""

    alive: Failure | None
    names: tuple[str, ...] | Failure
    loaded: tuple[LoadedModel, ...] | Failure | None
    props: Any
    took: float


async def preflight(catalog: Catalog) -> AsyncIterator[CheckResult]:
    """Yield the results of every backend that serves a model, in the order in which the backends answer."""
    names = [name for name in catalog.backends if any(name in spec.backends for spec in catalog.models.values())]
    tasks = [asyncio.create_task(_backend(catalog, name)) for name in names]
    for task in asyncio.as_completed(tasks):
        for result in await task:
            yield result


async def _backend(catalog: Catalog, name: str) -> list[CheckResult]:
    spec = catalog.backends[name]
    try:
        backend = open_backend(spec)
    except ValueError as error:
        return [
            CheckResult(
                check="endpoint", subject=name, state="failure", message=str(error), remedy="Correct it in the file."
            )
        ]
    try:
        told = await _ask(backend, catalog, name)
    finally:
        await backend.close()
    return list(_findings(catalog, name, told))


async def _ask(backend: CompletionBackend, catalog: Catalog, name: str) -> _Told:
    began = time.monotonic()
    spec = catalog.backends[name]
    props = _props(spec) if spec.protocol != "ollama" and catalog.pools[spec.pool].local else _nothing()
    alive, names, loaded, server = await asyncio.gather(
        backend.check_alive(WITHIN), backend.list_models(WITHIN), backend.list_loaded(WITHIN), props
    )
    return _Told(alive=alive, names=names, loaded=loaded, props=server, took=time.monotonic() - began)


async def _nothing() -> None:
    return None


async def _props(spec: Backend) -> Any:
    """What llama-server says of itself; None when it is none."""
    key = spec.api_key.get_secret_value()
    headers = {"authorization": f"Bearer {key}"} if key else {}
    exchange = HttpClient(parse_address(spec.url), headers, Transport(keep_alive=False))
    try:
        told = await exchange.fetch_json("/props", WITHIN)
    finally:
        await exchange.close()
    return told if isinstance(told, dict) else None


def _findings(catalog: Catalog, name: str, told: _Told) -> Iterator[CheckResult]:
    spec = catalog.backends[name]
    if told.alive is not None:
        message = f"{name} does not answer at {spec.url}: {told.alive.detail or told.alive.error_class}"
        yield CheckResult(check="endpoint", subject=name, state="failure", message=message, remedy=_start(spec))
        return
    yield CheckResult(
        check="endpoint", subject=name, state="ok", message=f"{name} answers within {told.took * 1000:.0f} ms"
    )
    if isinstance(told.names, Failure):
        yield _unlisted(name, told.names)
    else:
        yield from _listed(catalog, name, told.names, told.props)
    yield from _memory(catalog, name, told.loaded)
    yield from _context(catalog, name, told.props)


def _start(spec: Backend) -> str:
    if spec.embedded:
        return "Start it: openfall up."
    if _is_ollama(spec):
        return "Start it (ollama serve), or mend its url."
    return "See whether it runs and its url is right."


def _is_ollama(spec: Backend) -> bool:
    return spec.protocol == "ollama" or f":{_OLLAMA_PORT}" in spec.url


def _unlisted(name: str, failure: Failure) -> CheckResult:
    """It answers, but not with its models."""
    detail = failure.detail or str(failure.error_class)
    if failure.disposition.credential is CredentialSignal.PARK:
        money = failure.error_class is ErrorClass.OUT_OF_CREDITS
        message = f"{name} refuses its key: {detail}"
        remedy = "Pay for more credits." if money else f"Give it a key that is valid (backends.{name}.key)."
        return CheckResult(check="key", subject=name, state="failure", message=message, remedy=remedy)
    message = f"{name} does not list its models ({detail}), so they are not checked"
    return CheckResult(
        check="models", subject=name, state="warning", message=message, remedy="Try one: openfall ask -m MODEL x."
    )


def _listed(catalog: Catalog, name: str, names: tuple[str, ...], props: Any) -> Iterator[CheckResult]:
    here = {alias: spec for alias, spec in catalog.models.items() if name in spec.backends}
    missing = {alias: spec for alias, spec in here.items() if not _has(names, spec.upstream)}
    asked = {alias for one in _chains(catalog) for alias in one}
    if not missing:
        yield CheckResult(check="models", subject=name, state="ok", message=f"{name} has {', '.join(sorted(here))}")
    for alias, spec in missing.items():
        message = f"{name} has no {spec.upstream}; it has {_nearest(spec.upstream, names)}"
        subject = f"{alias}@{name}"
        if props is not None:
            message, remedy = f"{message}, and answers to any name", f"Write that as the upstream of models.{alias}."
            yield CheckResult(check="models", subject=subject, state="warning", message=message, remedy=remedy)
            continue
        state: CheckState = "failure" if alias in asked else "warning"
        message += "" if alias in asked else " (no chain names it)"
        yield CheckResult(
            check="models",
            subject=subject,
            state=state,
            message=message,
            remedy=_bring(catalog.backends[name], alias, spec),
        )


def _chains(catalog: Catalog) -> Iterator[Iterable[str]]:
    yield from (role.chain for role in catalog.roles.values())
    yield from (task.chain for task in catalog.tasks.values())
    yield from (group.chain or () for group in catalog.groups)


def _has(names: tuple[str, ...], upstream: str) -> bool:
    """Whether a model is among those that an endpoint lists. Providers list a name with its date, or below `models/`,
    and take it without."""
    plain = upstream.removeprefix("models/")
    listed = (name.removeprefix("models/") for name in names)
    return any(same_model(name, plain) or _DATED.sub("", name) == plain.removesuffix("-latest") for name in listed)


def _nearest(upstream: str, names: tuple[str, ...]) -> str:
    near = get_close_matches(upstream, names, n=2, cutoff=0.6) or sorted(set(names))
    more = f" and {len(near) - NAMED} more" if len(near) > NAMED else ""
    return (", ".join(near[:NAMED]) + more) or "none at all"


def _bring(spec: Backend, alias: str, model: ModelSpec) -> str:
    if spec.embedded:
        return "Stop openfall up and start it again."
    if _is_ollama(spec):
        return f"ollama pull {model.upstream}"
    return f"Write the name that it has as the upstream of models.{alias}."


def _memory(catalog: Catalog, name: str, loaded: tuple[LoadedModel, ...] | Failure | None) -> Iterator[CheckResult]:
    if loaded is None or isinstance(loaded, Failure):
        return
    for alias, spec in catalog.models.items():
        one = next((one for one in loaded if name in spec.backends and same_model(one.upstream, spec.upstream)), None)
        if one is not None and one.vram_share is not None and one.vram_share < 1:
            message = f"only {one.vram_share:.0%} of {alias} is on the card of {name}: it is slow"
            remedy = "Unload another model, take a smaller one, or give it less context."
            yield CheckResult(
                check="memory", subject=f"{alias}@{name}", state="warning", message=message, remedy=remedy
            )


def _context(catalog: Catalog, name: str, props: Any) -> Iterator[CheckResult]:
    settings = props.get("default_generation_settings") if isinstance(props, dict) else None
    ctx = settings.get("n_ctx") if isinstance(settings, dict) else None
    if not isinstance(ctx, int) or ctx < 1:
        return
    for alias, spec in catalog.models.items():
        if name in spec.backends and spec.context > ctx:
            message = f"{name} gives each call {ctx} tokens, {alias} is configured with {spec.context}"
            remedy = f"Start it with more (-c, shared by its slots), or write ctx: {ctx} at models.{alias}."
            yield CheckResult(
                check="context", subject=f"{alias}@{name}", state="warning", message=message, remedy=remedy
            )
