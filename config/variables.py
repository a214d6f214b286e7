"""Which environment variables a value of the configuration is made of: what to set when it is missing or wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from config import environment
from config.page import Page, turn_to
from config.paths import ENVIRONMENT
from config.words import variables_in


def variables(source: Path, path: str, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The variables in the value at a dotted path (`backends.anthropic.key`) of a file; none where none is named."""
    page = Page(source, {})
    try:
        text = (
            environment.written_out(os.environ if environ is None else environ)
            if source == ENVIRONMENT
            else source.read_text(encoding="utf-8-sig")
        )
    except (OSError, UnicodeDecodeError):
        return ()
    top = turn_to(page, text)
    place = top.find(path) if top is not None else None
    if place is None or place.path != path or not isinstance(place.node, yaml.ScalarNode):
        return ()
    return variables_in(place.node.value)
