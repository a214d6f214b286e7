"""A configuration as people may see it: whole, in force, and without its secrets. What is shown can be loaded again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import yaml

from openfall.config.backends import ENGINE
from openfall.config.entries import Table
from openfall.config.field_types import written
from openfall.config.open_fall import as_written
from openfall.config.paths import ENVIRONMENT
from openfall.config.sections import CATALOG, Form, Section
from openfall.config.settings import (
    EMBEDDED,
    SECTIONS,
    redis_address,
)

if TYPE_CHECKING:
    from openfall.config.loading import LoadedConfig


def dump(loaded: LoadedConfig) -> str:
    """The configuration in force as YAML, every default spelled out and every secret masked."""
    catalog, settings = loaded.catalog, loaded.settings
    known = {**dict(catalog), "open_fall": as_written(catalog.open_fall, settings)}
    told: dict[str, Any] = {
        "redis": redis_address.write(settings.redis_url) if settings.redis_url is not None else EMBEDDED,
        "data": written(str(settings.data_dir)),
        **{name: _section(known[name], section) for name, section in CATALOG.items()},
        **{name: entry.write(getattr(settings, name)) for name, entry in SECTIONS.items()},
    }
    for name, engine in settings.engines.items():
        told["backends"][name]["engine"] = _fields(ENGINE, engine, ((key, key) for key in ENGINE))
    body: str = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    whence = f"{ENVIRONMENT}: OPENAI_* and ANTHROPIC_*" if loaded.source == ENVIRONMENT else loaded.source
    return f"# In force, from {whence}\n{body}"


def _section(told: Any, section: Section) -> Any:
    match section.form:
        case Form.SINGLE:
            return section.entry.write(told)
        case Form.LISTED:
            return [section.entry.write(one) for one in told]
        case Form.NAMED | Form.BY_URGENCY:
            return {str(name): section.entry.write(one) for name, one in told.items()}


def _fields(table: Table, told: object, fields: Iterable[tuple[str, str]]) -> dict[str, Any]:
    values = ((key, getattr(told, field)) for key, field in fields)
    shown = {key: table[key].write(value) for key, value in values if value is not None}
    return {key: value for key, value in shown.items() if value != []}
