"""Which environment variables a value of the configuration is made of: what to set when it is missing or wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from openfall.config import from_environment
from openfall.config.document import Document, parse
from openfall.config.literals import variables_in
from openfall.config.paths import ENVIRONMENT


def variables(source: Path, path: str, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The variables in the value at a dotted path (`backends.anthropic.key`) of a file; none where none is named."""
    page = Document(source, {})
    try:
        text = (
            from_environment.written_out(os.environ if environ is None else environ)
            if source == ENVIRONMENT
            else source.read_text(encoding="utf-8-sig")
        )
    except (OSError, UnicodeDecodeError):
        return ()
    top = parse(page, text)
    place = top.find(path) if top is not None else None
    if place is None or place.path != path or not isinstance(place.node, yaml.ScalarNode):
        return ()
    return variables_in(place.node.value)
