"""The configuration in force as YAML, without its secrets, and the JSON Schema of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from openfall.config.fields import keys_of, model_shape
from openfall.config.open_fall_settings import OpenFallSection
from openfall.config.paths import ENVIRONMENT
from openfall.config.sections import BackendSection, ConfigFile

if TYPE_CHECKING:
    from openfall.config.loading import LoadedConfig

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def in_force(loaded: LoadedConfig) -> dict[str, Any]:
    """The configuration in force as a file has it, with every default, and every secret masked."""
    catalog, settings = loaded.catalog, loaded.settings
    values: dict[str, Any] = {
        **dict(settings),
        **dict(catalog),
        "data": str(settings.data_dir),
        "backends": {
            name: BackendSection.model_construct(**dict(backend), engine=settings.engines.get(name))
            for name, backend in catalog.backends.items()
        },
        "open_fall": OpenFallSection.of(catalog.open_fall, settings),
    }
    return {name: key.type.write(values[name]) for name, key in keys_of(ConfigFile).items() if values[name] is not None}


def dump(loaded: LoadedConfig) -> str:
    """The configuration in force as YAML. Its masked secrets cannot be loaded: each is an error with its line."""
    body: str = yaml.safe_dump(
        in_force(loaded), sort_keys=False, allow_unicode=True, width=120, default_flow_style=None
    )
    source = f"{ENVIRONMENT}: OPENAI_* and ANTHROPIC_*" if loaded.source == ENVIRONMENT else loaded.source
    return f"# In force, from {source}\n{body}"


def schema() -> dict[str, Any]:
    """The JSON Schema, draft 2020-12. Unknown names and contradictions are beyond it: `check` finds them."""
    file = model_shape(ConfigFile)
    sections = {name: _may_be_empty(shape) for name, shape in file["properties"].items()}
    return {"$schema": DIALECT, "title": "openfall", **file, "properties": sections}


def _may_be_empty(shape: dict[str, Any]) -> dict[str, Any]:
    types = shape["type"]
    return shape if isinstance(types, list) else {**shape, "type": [types, "null"]}
