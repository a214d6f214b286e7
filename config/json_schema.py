"""The JSON Schema of a configuration file, for editors. It is made from the tables that read the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from openfall.config.entries import NAME_PATTERN, Entry, Table
from openfall.config.field_types import FieldType, text
from openfall.config.loading import DEFAULT_DATA
from openfall.config.sections import CATALOG, Form, Section
from openfall.config.settings import (
    ABOUT,
    EMBEDDED,
    SECTIONS,
    EngineSettings,
    redis_address,
)
from openfall.config.shapes import bounded
from openfall.router_core.catalog.policies import URGENCY_DEFAULTS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Shape = dict[str, Any]


def schema() -> Shape:
    """The schema, as draft 2020-12. It cannot tell a name that exists nowhere, nor a contradiction: `check` does."""
    redis = redis_address.meaning(f"`{EMBEDDED}`, or the address of a Redis or Valkey. Without it: $REDIS_URL.")
    data = text.meaning("The directory of the embedded Redis, and of answers that could not be delivered yet.")
    sections = {
        "redis": _value(redis, EMBEDDED),
        "data": _value(data, DEFAULT_DATA),
        **{name: {"description": section.about, **_section(section)} for name, section in CATALOG.items()},
        **{name: {"description": ABOUT[name], **_entry(entry)} for name, entry in SECTIONS.items()},
    }
    told = {name: _may_be_empty(shape) for name, shape in sections.items()}
    return {"$schema": DIALECT, "title": "openfall", **_may_be_empty(_mapping(told))}


def _section(section: Section) -> Shape:
    match section.form:
        case Form.NAMED:
            entry = _entry(section.entry)
            return {"type": "object", "propertyNames": {"pattern": NAME_PATTERN}, "additionalProperties": entry}
        case Form.LISTED:
            return {"type": "array", "items": _entry(section.entry)}
        case Form.BY_URGENCY:
            return _mapping({str(word): _entry(section.entry, held) for word, held in URGENCY_DEFAULTS.items()})
        case Form.SINGLE:
            return _entry(section.entry)


def _entry(entry: Entry[Any], held: BaseModel | None = None) -> Shape:
    """An entry of the catalog. Bounds and defaults are those of its model; with `held`, that is what it starts from."""
    ruled: Mapping[str, Any] = entry.model.model_json_schema(mode="validation")["properties"]
    known = {name: field.default for name, field in entry.model.model_fields.items()}
    if held is not None:
        known = {name: getattr(held, name) for name in known}
    keys = {
        key: bounded(_value(kind, known.get(entry.field(key))), ruled.get(entry.field(key), {}))
        for key, kind in entry.table.items()
    }
    wanted = [key for key in keys if known.get(entry.field(key)) is PydanticUndefined and key not in entry.optional]
    return {**_mapping(keys), "required": wanted} if wanted else _may_be_empty(_mapping(keys))


def _table(table: Table, known: Mapping[str, Any]) -> Shape:
    keys = {key: _value(kind, known.get(key)) for key, kind in table.items()}
    return _may_be_empty(_mapping(keys))


def _value(kind: FieldType[Any], default: Any) -> Shape:
    shape: Shape = dict(kind.shape)
    if isinstance(kind.inside, Entry):
        shape = _entry(kind.inside)
    elif kind.inside is not None:
        shape = _table(kind.inside, _defaults(EngineSettings))
    elif (
        default is not PydanticUndefined and default is not None and (told := kind.write(default)) not in ([], {}, None)
    ):
        shape["default"] = told
    return {"description": kind.about, **shape}


def _defaults(settings: type[EngineSettings]) -> dict[str, Any]:
    return {name: field.default for name, field in settings.model_fields.items()}


def _mapping(keys: Mapping[str, Any]) -> Shape:
    return {"type": "object", "additionalProperties": False, "properties": dict(keys)}


def _may_be_empty(shape: Shape) -> Shape:
    """A key may be there with nothing behind it."""
    told = shape["type"]
    return shape if isinstance(told, list) else {**shape, "type": [told, "null"]}
