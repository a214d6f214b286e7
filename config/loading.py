"""Loads a file into a catalog and settings, or reports every problem at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from openfall.config import from_environment
from openfall.config.document import Document, parse
from openfall.config.errors import ConfigError, ConfigProblem
from openfall.config.literals import variables_in
from openfall.config.paths import DEMO, ENVIRONMENT, VARIABLE, is_shipped, locate, shorten
from openfall.config.reading import read_file
from openfall.config.settings import Settings
from openfall.router_core.catalog.catalog import Catalog

Stamp = tuple[int, int, int]
"""What changes when a file does: its modification time (ns), its size, and its inode."""


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration without problems, and its source: a file, or `ENVIRONMENT`.

    `stamp` is that of the file just before it was read. A long-running process compares it with `stamp(source)` now and
    then, and loads `source` again when the two differ. A broken file is reported once for each stamp.
    """

    catalog: Catalog
    settings: Settings
    source: Path
    stamp: Stamp | None = field(default=None, compare=False)


def load(
    path: Path | None = None, *, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> LoadedConfig:
    """The configuration in `path`, else in the first file of the search. Raises `ConfigError` with every problem.

    The search: $OPENFALL_CONFIG, `openfall.yaml` from `cwd` up to the git root, `~/.config/openfall/`, then the
    configuration from OPENAI_* and ANTHROPIC_*, then the shipped demo. `environ` and `cwd` are the process's own
    unless given.
    """
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd.absolute()
    source = locate(path, environ, cwd)
    if source == DEMO and path is None and not environ.get(VARIABLE) and from_environment.is_complete(environ):
        source = ENVIRONMENT
    base = cwd if is_shipped(source) else source.parent
    document = Document(source if source == ENVIRONMENT else shorten(source, cwd), environ, base)
    before = stamp(source)
    text = _generate(document) if source == ENVIRONMENT else _read(document, source)
    top = parse(document, text) if text is not None else None
    parts = read_file(top, source) if top is not None else None
    if parts is None or document.problems:
        in_environment = source == ENVIRONMENT
        raise ConfigError(
            map(from_environment.name_variable, document.problems) if in_environment else document.problems
        )
    return LoadedConfig(*parts, source, before)


def stamp(source: Path) -> Stamp | None:
    """The stamp of a file, from its directory entry alone. None if there is no such file."""
    try:
        status = os.stat(source)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def check(
    path: Path | None = None, *, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> tuple[ConfigProblem, ...]:
    """The problems of the configuration that `load` would read."""
    try:
        load(path, environ=environ, cwd=cwd)
    except ConfigError as error:
        return error.problems
    return ()


def variables(source: Path, path: str, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The environment variables in the value at a dotted path (`backends.anthropic.api_key`) of a file."""
    environ = os.environ if environ is None else environ
    try:
        text = from_environment.generate(environ) if source == ENVIRONMENT else source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ()
    top = parse(Document(source, {}), text)
    node = top.find(path) if top is not None else None
    if node is None or node.path != path or not isinstance(node.raw, yaml.ScalarNode):
        return ()
    return variables_in(node.raw.value)


def _generate(document: Document) -> str | None:
    if from_environment.is_complete(document.environ):
        return from_environment.generate(document.environ)
    remedy = "Set OPENAI_MODEL with OPENAI_API_KEY or OPENAI_BASE_URL, or the same of ANTHROPIC_."
    document.report(0, "", "it names no model and how to reach it", remedy)
    return None


def _read(document: Document, source: Path) -> str | None:
    try:
        return source.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        document.report(0, "", "there is no such file", f"Name one that exists with --config or ${VARIABLE}.")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        document.report(line, "", "not UTF-8 text", "Save the file as UTF-8.")
    except OSError as error:
        document.report(0, "", f"it cannot be read: {error.strerror}", "Name a file that you may read.")
    return None
