"""A configuration as people may see it: whole, in force, and without its secrets. What is shown can be loaded again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import yaml

from config.backends import ENGINE, POOL, backend_entry
from config.entries import Entry, Table
from config.groups import group_entry
from config.kinds import Names, written
from config.models import URGENCY_POLICY, model_entry, role_entry, task_entry
from config.paths import ENVIRONMENT
from config.settings import BREAKERS, EMBEDDED, RETRY, SECTIONS, Settings, redis_address
from router_core.catalog import Catalog

if TYPE_CHECKING:
    from config.loading import Loaded

_ANY = Names("")
_SECTIONS: dict[str, Entry[Any]] = {
    "pools": POOL,
    "backends": backend_entry(_ANY),
    "models": model_entry(_ANY, _ANY),
    "roles": role_entry(_ANY),
    "tasks": task_entry(_ANY),
    "groups": group_entry(_ANY, _ANY, _ANY),
    "urgency": URGENCY_POLICY,
    "breakers": BREAKERS,
    "retry": RETRY,
}


def show(loaded: Loaded) -> str:
    """The configuration in force as YAML, every default spelled out and every secret masked."""
    catalog, settings = loaded.catalog, loaded.settings
    told: dict[str, Any] = {
        "redis": redis_address.write(settings.redis_url) if settings.redis_url is not None else EMBEDDED,
        "data": written(str(settings.data_dir)),
        **{name: _section(catalog, name, entry) for name, entry in _SECTIONS.items()},
        **_settings(settings),
    }
    told["privacy"]["local_only"] = catalog.local_only
    for name, engine in settings.engines.items():
        told["backends"][name]["engine"] = _fields(ENGINE, engine, ((key, key) for key in ENGINE))
    body: str = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    whence = f"{ENVIRONMENT}: OPENAI_* and ANTHROPIC_*" if loaded.source == ENVIRONMENT else loaded.source
    return f"# In force, from {whence}\n{body}"


def _section(catalog: Catalog, name: str, entry: Entry[Any]) -> Any:
    told = getattr(catalog, name)
    if isinstance(told, tuple):
        return [entry.write(one) for one in told]
    if isinstance(told, entry.model):
        return entry.write(told)
    return {str(word): entry.write(one) for word, one in told.items()}


def _settings(settings: Settings) -> dict[str, Any]:
    return {name: _fields(table, settings, fields.items()) for name, (table, fields) in SECTIONS.items()}


def _fields(table: Table, told: object, fields: Iterable[tuple[str, str]]) -> dict[str, Any]:
    values = ((key, getattr(told, field)) for key, field in fields)
    return {key: table[key].write(value) for key, value in values if value is not None}
