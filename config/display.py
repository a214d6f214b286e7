"""A configuration as people may see it: whole, in force, and without its secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from config.settings import EMBEDDED, SECTIONS
from config.words import duration_word, size_word
from router_core.catalog import Backend

if TYPE_CHECKING:
    from config.loading import Loaded

_DURATIONS = frozenset({"timeout", "start_within", "give_up", "keep_results", "grace"})
_SHORT = 20
"""A secret shorter than this is not shown in part: too much of it would be."""

_CREDENTIAL = re.compile(r"(?<=://)(?:([^/?#:]*):)?\S*(?=@)")
_PARAMETER = re.compile(r"(?<=[?&])([^=&#]*(?:pass|token|key|secret)[^=&#]*)=[^&#]+", re.IGNORECASE)


def masked(url: str) -> str:
    """An address with its password, or any parameter that sounds like one, as `…`."""
    bare = _CREDENTIAL.sub(lambda match: f"{match[1]}:…" if match[1] is not None else "…", url, count=1)
    return _PARAMETER.sub(r"\1=…", bare)


def masked_key(key: str) -> str:
    """Enough of a secret to tell which one it is: `sk-ant-…x9Qk`."""
    if not key:
        return ""
    return f"{key[:7]}…{key[-4:]}" if len(key) >= _SHORT else "…"


def show(loaded: Loaded) -> str:
    """The configuration in force as YAML, every default spelled out and every secret masked."""
    catalog, settings = loaded.catalog, loaded.settings
    told: dict[str, Any] = {
        "redis": masked(settings.redis_url) if settings.redis_url is not None else EMBEDDED,
        "data": str(settings.data_dir),
        **catalog.model_dump(mode="json", exclude_none=True),
        **{
            name: {key: getattr(settings, field) for key, field in fields.items()}
            for name, (_, fields) in SECTIONS.items()
        },
    }
    told["backends"] = {name: _backend(loaded, name, backend) for name, backend in catalog.backends.items()}
    told["limits"]["prompt"] = size_word(told["limits"]["prompt"])
    body: str = yaml.safe_dump(_written(told), sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    return f"# In force, from {loaded.source}\n{body}"


def _backend(loaded: Loaded, name: str, backend: Backend) -> dict[str, Any]:
    told = backend.model_dump(mode="json", exclude={"key"}, exclude_none=True)
    told["url"] = masked(backend.url)
    if key := masked_key(backend.key.get_secret_value()):
        told["key"] = key
    if engine := loaded.settings.engines.get(name):
        fields = {field: getattr(engine, field) for field in engine.__dataclass_fields__}
        told["engine"] = {field: value for field, value in fields.items() if value is not None}
    return told


def _written(value: Any, key: str = "") -> Any:
    """Values as a file has them: durations in words, and a `$` doubled so that nothing is filled in."""
    if isinstance(value, Mapping):
        return {word: _written(inner, word) for word, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_written(inner, key) for inner in value]
    if isinstance(value, str):
        return value.replace("$", "$$")
    return duration_word(value) if key in _DURATIONS else value
