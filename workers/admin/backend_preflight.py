"""Checks that every backend has what the configuration names, without loading or paying for anything.

`state` is `ok`, `warning` (it works, but perhaps not as expected) or `failure`; a warning or failure has a remedy.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from openfall.router_core.catalog.backend_entry import Backend, Loader, Protocol
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.model_names import same_model
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.vocabulary import CredentialSignal, ErrorClass
from openfall.workers.backends.base_url import bearer, is_azure, parse_address
from openfall.workers.backends.http_backend import HttpBackend
from openfall.workers.backends.http_client import HttpClient
from openfall.workers.backends.loaded_models import LoadedModel
from openfall.workers.backends.registry import first_key, open_backend
from openfall.workers.backends.transport import Transport

TIMEOUT_SECONDS = 3.0
"""For each request. All are sent at once."""

MAX_NAMES = 4
"""Models that a result lists when no name is similar."""

CheckState = Literal["ok", "warning", "failure"]

_VARIANT = re.compile(r"(?<=.)[:@#][\w./-]+$")
"""What OpenRouter, Hugging Face and Fireworks take behind any name: `:nitro`, `:groq`, `@preset/x`, `#accounts/x`."""

_PRESET = "@preset/"
"""The beginning of a name of the owner's own at OpenRouter, which it does not list."""

_DATED = re.compile(r"-(\d{4}|\d{8}|\d{4}-\d{2}-\d{2})$")
_LATEST = ":latest"
_UNDATED = re.compile(r"-(latest|0)$")
"""What stands in place of a date: `grok-4-latest`, `claude-opus-4-0`."""
_OLLAMA_PORT = 11434


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check. `subject` names what was checked, such as a backend or `model@backend`."""

    check: str
    subject: str
    state: CheckState
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Response:
    """The responses of one backend. `props` are llama-server's, None for any other. `seconds` is what all took."""

    alive: Failure | None
    names: tuple[str, ...] | Failure
    loaded: tuple[LoadedModel, ...] | Failure | None
    props: Any
    seconds: float


async def preflight(catalog: Catalog) -> AsyncIterator[CheckResult]:
    """Yield the results of every backend that serves a model, in the order in which the backends answer."""
    names = [name for name in catalog.backends if _configured(catalog, name)]
    tasks = [asyncio.create_task(_check_backend(catalog, name)) for name in names]
    for task in asyncio.as_completed(tasks):
        for result in await task:
            yield result


async def _check_backend(catalog: Catalog, name: str) -> list[CheckResult]:
    try:
        backend = open_backend(catalog.backends[name])
    except ValueError as error:
        remedy = "Correct it in the file."
        return [CheckResult("endpoint", name, "failure", str(error), remedy)]
    try:
        response = await _query(backend, catalog, name)
    finally:
        await backend.close()
    further = [result async for result in _check_further_keys(catalog.backends[name], name, response)]
    return [*_evaluate(catalog, name, response), *further]


async def _check_further_keys(spec: Backend, name: str, response: _Response) -> AsyncIterator[CheckResult]:
    """Check each key but the first, which the other checks use."""
    for number, key in enumerate(spec.secrets[1:] if response.alive is None else (), start=2):
        backend = open_backend(spec, key=key)
        try:
            names = await backend.list_models(TIMEOUT_SECONDS)
        finally:
            await backend.close()
        if isinstance(names, Failure) and names.disposition.credential is CredentialSignal.PARK:
            yield _check_refusal(name, names, f"its key {number}")


async def _query(backend: HttpBackend, catalog: Catalog, name: str) -> _Response:
    started = time.monotonic()
    spec = catalog.backends[name]
    may_be_llama_server = spec.protocol != "ollama" and catalog.pools[spec.pool].local
    alive, names, loaded, props = await asyncio.gather(
        backend.check_alive(TIMEOUT_SECONDS), backend.list_models(TIMEOUT_SECONDS),
        backend.list_loaded(TIMEOUT_SECONDS), _fetch_props(spec if may_be_llama_server else None),
    )  # fmt: skip
    return _Response(alive=alive, names=names, loaded=loaded, props=props, seconds=time.monotonic() - started)


async def _fetch_props(spec: Backend | None) -> dict[str, Any] | None:
    """The properties of a llama-server; None if it is another server."""
    if spec is None:
        return None
    headers = bearer(first_key(spec))
    client = HttpClient(parse_address(spec.url), headers, Transport(keep_alive=False))
    try:
        document = await client.fetch_json("/props", TIMEOUT_SECONDS)
    finally:
        await client.close()
    return document if isinstance(document, dict) else None


def _evaluate(catalog: Catalog, name: str, response: _Response) -> Iterator[CheckResult]:
    spec = catalog.backends[name]
    if response.alive is not None:
        message = f"{name} does not answer at {spec.url}: {response.alive.detail or response.alive.error_class}"
        remedy = _advise_start(spec)
        yield CheckResult("endpoint", name, "failure", message, remedy)
        return
    message = f"{name} answers within {response.seconds * 1000:.0f} ms"
    yield CheckResult("endpoint", name, "ok", message)
    if isinstance(response.names, Failure):
        yield _check_refusal(name, response.names)
    else:
        yield from _check_models(catalog, name, response.names, response.props)
    yield from _check_memory(catalog, name, response.loaded)
    yield from _check_context(catalog, name, response.props)


def _advise_start(spec: Backend) -> str:
    if spec.embedded:
        return "Start it: openfall up."
    if _is_ollama(spec):
        return "Start it (ollama serve), or correct its url."
    if spec.loader is Loader.SIDECAR:
        return "Start it there (openfall sidecar), or correct its url."
    return "Check that it runs and that its url is correct."


def _is_ollama(spec: Backend) -> bool:
    return spec.protocol == "ollama" or f":{_OLLAMA_PORT}" in spec.url


def _check_refusal(name: str, failure: Failure, key: str = "its key") -> CheckResult:
    """The result for a backend that answers, but does not list its models."""
    detail = failure.detail or str(failure.error_class)
    if failure.disposition.credential is CredentialSignal.PARK:
        no_credits = failure.error_class is ErrorClass.OUT_OF_CREDITS
        message = f"{name} refuses {key}: {detail}"
        remedy = "Buy credits." if no_credits else f"Set a valid key (api_key or auth_token of backends.{name})."
        return CheckResult("key", name, "failure", message, remedy)
    message = f"{name} does not list its models ({detail}), so they are not checked"
    remedy = "Try one: openfall ask -m MODEL x."
    return CheckResult("models", name, "warning", message, remedy)


def _check_models(catalog: Catalog, name: str, names: tuple[str, ...], props: Any) -> Iterator[CheckResult]:
    configured, protocol = _configured(catalog, name), catalog.backends[name].protocol
    missing = {alias: spec for alias, spec in configured.items() if not is_listed(names, spec.upstream, protocol)}
    in_chains = {alias for chain in _list_chains(catalog) for alias in chain}
    if missing and is_azure(catalog.backends[name].url):
        message = f"{name} lists the models of Azure and not your deployments, so {', '.join(missing)} is not checked"
        yield CheckResult("models", name, "warning", message, "Try one: openfall ask -m MODEL x.")
        return
    if not missing:
        message = f"{name} has {', '.join(sorted(configured))}"
        yield CheckResult("models", name, "ok", message)
    for alias, spec in missing.items():
        if (near := _find_near(spec.upstream, names, protocol)) and props is None:
            message = f"{name} lists {near}: {spec.upstream} is the same but for its case or its organization"
            remedy = (
                f"Try it: openfall ask -m {alias} x. If it is refused, write {near} as the upstream of models.{alias}."
            )
            yield CheckResult("models", f"{alias}@{name}", "warning", message, remedy)
            continue
        message = f"{name} has no {spec.upstream}; it has {_list_similar(spec.upstream, names)}"
        state: CheckState = "warning"
        if props is not None:
            message += ", and answers to any name"
            remedy = f"Write that as the upstream of models.{alias}."
        else:
            remedy = _advise_install(catalog.backends[name], alias, spec)
            if alias in in_chains:
                state = "failure"
            else:
                message += " (no chain names it)"
        yield CheckResult("models", f"{alias}@{name}", state, message, remedy)


def _configured(catalog: Catalog, name: str) -> dict[str, ModelSpec]:
    """The models of a backend, by alias."""
    return {alias: spec for alias, spec in catalog.models.items() if name in spec.backends}


def _list_chains(catalog: Catalog) -> Iterator[Iterable[str]]:
    yield from (role.chain for role in catalog.roles.values())
    yield from (task.chain for task in catalog.tasks.values())
    yield from (group.chain or () for group in catalog.groups)


def is_listed(names: tuple[str, ...], upstream: str, protocol: Protocol) -> bool:
    """Whether an endpoint lists a model. Providers list a name with its date, or below `models/`, and accept it
    without. Routers list a name without a variant, and accept it with one. At Ollama a name with another tag is another
    model.
    """
    plain = upstream.removeprefix("models/")
    if protocol != "ollama" and plain.startswith(_PRESET):
        return True
    listed = {name.removeprefix("models/") for name in names}
    if protocol != "ollama" and "/" in plain and _VARIANT.sub("", plain) in listed:
        return True
    undated = _UNDATED.sub("", plain)
    if protocol == "ollama":
        return any(same_model(name, plain) for name in listed)
    return not listed.isdisjoint((plain, plain + _LATEST, plain.removesuffix(_LATEST))) or any(
        _DATED.sub("", name) == undated for name in listed
    )


def _find_near(upstream: str, names: tuple[str, ...], protocol: Protocol) -> str | None:
    """The listed name that is the same but for its case or its organization, which some servers take and some do not;
    None: there is none."""
    near = (name for name in names if _bare(name) == _bare(upstream))
    return None if protocol == "ollama" else next(near, None)


def _bare(name: str) -> str:
    """A name without its organization and its variant, in one case."""
    return _VARIANT.sub("", name.strip()).rpartition("/")[2].casefold()


def _list_similar(upstream: str, names: tuple[str, ...]) -> str:
    similar = get_close_matches(upstream, names, n=2, cutoff=0.6) or sorted(set(names))
    more = f" and {len(similar) - MAX_NAMES} more" if len(similar) > MAX_NAMES else ""
    return (", ".join(similar[:MAX_NAMES]) + more) or "none at all"


def _advise_install(spec: Backend, alias: str, model: ModelSpec) -> str:
    if spec.embedded:
        return "Stop openfall up and start it again."
    if _is_ollama(spec):
        return f"ollama pull {model.upstream}"
    if spec.loader is Loader.SIDECAR:
        return f"Add a profile of that name to its manifest, or name one as the upstream of models.{alias}."
    return f"Write its name at this backend as the upstream of models.{alias}."


def _check_memory(
    catalog: Catalog, name: str, loaded: tuple[LoadedModel, ...] | Failure | None
) -> Iterator[CheckResult]:
    if loaded is None or isinstance(loaded, Failure):
        return
    for alias, spec in _configured(catalog, name).items():
        model = next((model for model in loaded if model.is_called(spec.upstream)), None)
        if model is not None and model.vram_share is not None and model.vram_share < 1:
            message = f"only {model.vram_share:.0%} of {alias} is on the card of {name}: it is slow"
            remedy = "Unload another model, use a smaller one, or reduce its context."
            yield CheckResult("memory", f"{alias}@{name}", "warning", message, remedy)


def _check_context(catalog: Catalog, name: str, props: Any) -> Iterator[CheckResult]:
    settings = props.get("default_generation_settings") if props is not None else None
    context = settings.get("n_ctx") if isinstance(settings, dict) else None
    if not isinstance(context, int) or context < 1:
        return
    for alias, spec in _configured(catalog, name).items():
        if spec.context > context:
            message = f"{name} gives each call {context} tokens, {alias} is configured with {spec.context}"
            remedy = f"Start it with more (-c, shared by its slots), or write context: {context} at models.{alias}."
            yield CheckResult("context", f"{alias}@{name}", "warning", message, remedy)
