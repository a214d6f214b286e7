"""Recognises a configuration that is written as TOML: openfall reads YAML."""

from __future__ import annotations

TOML_REMEDY = "Write it as YAML: `openfall init` writes an openfall.yaml to start from."


def is_toml(text: str) -> bool:
    """Whether a text that is no YAML mapping is TOML."""
    import tomllib  # only after an error

    try:
        return bool(tomllib.loads(text))
    except tomllib.TOMLDecodeError:
        return False
