"""What a valid configuration has in the place of a key, and a provider will refuse or others may read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import yaml

from openfall.config import from_environment
from openfall.config.errors import ConfigProblem
from openfall.config.interpolation import variables_in
from openfall.config.paths import ENVIRONMENT
from openfall.config.yaml_document import Node
from openfall.router_core.catalog.backend_keys import is_placeholder
from openfall.router_core.catalog.catalog import Catalog


def warn_of_keys(top: Node, catalog: Catalog, source: Path) -> Iterator[ConfigProblem]:
    """Of the backends that charge by the token: each key that is a placeholder, or stands in the file itself."""
    for name, backend in catalog.backends.items():
        if not catalog.is_metered(name):
            continue
        values = {"api_key": (backend.api_key,), "auth_token": (backend.auth_token,), "api_keys": backend.api_keys}
        for field, secrets in values.items():
            path = f"backends.{name}.{field}"
            node = top.find(path)
            nodes = [] if node.path != path else node.items() if node.is_list else [node]
            for item, secret in zip(nodes, secrets, strict=False):
                if warning := _warn_of_key(item, path, secret.get_secret_value()):
                    yield from_environment.name_variable(warning) if source == ENVIRONMENT else warning


def _warn_of_key(node: Node, path: str, key: str) -> ConfigProblem | None:
    names = variables_in(node.raw.value) if isinstance(node.raw, yaml.ScalarNode) else ()
    problem = ConfigProblem(node.document.file, node.line, path, "", "", names)
    if is_placeholder(key):
        return replace(problem, message="it is a placeholder, not a key", remedy="Write the key of your provider.")
    if key and not names:
        variable = f"{path.split('.')[1].upper().replace('-', '_')}_API_KEY"
        remedy = f'Write "${{{variable}:-}}" here, and the key into .env.'
        return replace(problem, message="the key stands in this file", remedy=remedy)
    return None


def hint_at_variables(environ: Mapping[str, str]) -> Iterator[ConfigProblem]:
    """Why the demo runs although the variables name a provider: the variable that each of them lacks."""
    for lacking, present in from_environment.incomplete(environ):
        message = f"{present} is set without {lacking}, so the demo runs with its toy model"
        yield ConfigProblem(ENVIRONMENT, 0, "", message, f"Set {lacking} too, or write a file: openfall init.")
