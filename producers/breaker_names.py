"""Breakers in words: the names that operators type, and what state each is in."""

from __future__ import annotations

from collections.abc import Iterator

from openfall.producers.duration_text import format_age
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.deciding.call_signals import breaker_target, credential_target
from openfall.router_core.state.breakers import BreakerStatus


def describe_breaker(row: BreakerStatus, now: float) -> str:
    """The state of a breaker in a few words: `open, next probe in at least 24s`, `closed by override for 5m more`."""
    state = str(row.state).replace("_", " ")
    parts = []
    if row.forced:
        end = f"for {format_age(row.forced_until - now)} more" if row.forced_until else "until reset"
        parts.append(f"{state} by override {end}")
    elif row.until is not None:
        remaining = row.until - now
        parts.append(f"{state}, next probe {f'in at least {format_age(remaining)}' if remaining > 0 else 'is due'}")
    else:
        parts.append(state)
    if row.cooling_until and row.cooling_until > now:
        parts.append(f"rate limited for {format_age(row.cooling_until - now)} more")
    if row.slow_starting:
        parts.append("its slots return one by one")
    if row.consecutive_failures:
        parts.append(f"{row.consecutive_failures} failed in a row")
    return ", ".join(parts)


def display_name(catalog: Catalog, target: str) -> str:
    """The name that users type. A key has the names of the backends that use it. A cooldown of one key of several has
    the name of the model and the number of the key."""
    model, _, credential = target.rpartition("#")
    if model:
        keys = list(catalog.credentials(model.partition("/")[0]) if model.partition("/")[0] in catalog.backends else ())
        return f"{model} with key {keys.index(credential) + 1 if credential in keys else '?'}"
    if not target.startswith("key:"):
        return target
    at = [
        name
        for backend in catalog.backends
        for name, credential in _key_names(catalog, backend)
        if credential == target.removeprefix("key:")
    ]
    return f"key:{','.join(at)}" if at else "key:(of no backend in this configuration)"


def model_at_backend(name: str) -> str:
    """A name of a breaker as jobs name the same: `haiku@anthropic` for `anthropic/haiku`; a key keeps its name."""
    backend, slash, rest = name.partition("/")
    if not slash or backend.startswith("key:"):
        return name
    model, space, key = rest.partition(" ")
    return f"{model}@{backend}{space}{key}"


def _key_names(catalog: Catalog, backend: str) -> Iterator[tuple[str, str]]:
    """Each key of a backend: the name that users type, without `key:`, and the name in Redis."""
    credentials = list(catalog.credentials(backend))
    for number, credential in enumerate(credentials, start=1):
        yield backend if len(credentials) == 1 else f"{backend}/{number}", credential


def find_target(catalog: Catalog, name: str) -> str:
    """The target of a name. Raises `UnknownName` with the nearest name if there is none."""
    known = _known_targets(catalog)
    known_as_of_jobs = {model_at_backend(each): target for each, target in known.items()}
    if name in known_as_of_jobs:
        return known_as_of_jobs[name]
    if name not in known:
        raise UnknownName("breaker", name, known)
    return known[name]


def is_known(catalog: Catalog, name: str) -> bool:
    """Whether a name that `display_name` gave is of this configuration: only such a one can be reset or forced."""
    return name in _known_targets(catalog)


def _known_targets(catalog: Catalog) -> dict[str, str]:
    known = {
        breaker_target(at, alias): breaker_target(at, alias)
        for alias, spec in catalog.models.items()
        for at in spec.backends
    }
    for backend in catalog.backends:
        for key, credential in _key_names(catalog, backend):
            known[f"key:{key}"] = credential_target(credential)
            known[display_name(catalog, credential_target(credential))] = credential_target(credential)
    return known
