"""Read one file into a catalog and settings: all of it, or every problem at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from config.backends import read_backends, read_engines, read_pools
from config.kinds import Names, text
from config.models import read_models, read_roles, read_urgency, refuse_leaks
from config.page import TEXT, Page, Place, turn_to
from config.paths import DEMO, VARIABLE, found, resolved, shown
from config.problems import ConfigError, Problem
from config.settings import EMBEDDED, SECTIONS, Settings, read_settings, redis_address
from router_core.catalog import Catalog, CatalogError

KEYS = ("redis", "data", "pools", "backends", "models", "roles", "urgency", *SECTIONS)
DEFAULT_REDIS = "${REDIS_URL:-embedded}"
DEFAULT_DATA = ".openfall"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that agrees with itself, and the file it came from."""

    catalog: Catalog
    settings: Settings
    source: Path


def load(path: Path | None = None, *, environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Loaded:
    """The configuration in `path`, else in the first file of the search; `ConfigError` with all that is wrong in it.

    The search: $OPENFALL_CONFIG, `openfall.yaml` from `cwd` up to the git root, `~/.config/openfall/`, the shipped
    demo. `environ` and `cwd` are the process's own unless given.
    """
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd.absolute()
    source = found(path, environ, cwd)
    page = Page(shown(source, cwd), environ)
    text = _text_of(page, source)
    top = turn_to(page, text) if text is not None else None
    loaded = _loaded(top, source, cwd if source == DEMO else source.parent) if top is not None else None
    if loaded is None or page.problems:
        raise ConfigError(page.problems)
    return loaded


def check(
    path: Path | None = None, *, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> tuple[Problem, ...]:
    """What is wrong with the configuration that `load` would read; empty when nothing is."""
    try:
        load(path, environ=environ, cwd=cwd)
    except ConfigError as error:
        return error.problems
    return ()


def _text_of(page: Page, source: Path) -> str | None:
    try:
        return source.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        page.report(0, "", "there is no such file", f"Name one that exists with --config or ${VARIABLE}.")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        page.report(line, "", "not UTF-8 text", "Save the file as UTF-8.")
    except OSError as error:
        page.report(0, "", f"it cannot be read: {error.strerror}", "Name a file that you may read.")
    return None


def _loaded(top: Place, source: Path, base: Path) -> Loaded | None:
    """What the file says; None when the catalog contradicts itself. Relative paths in it start at `base`."""
    page = top.page
    sections = {key: place for key, place in top.fields(KEYS).items() if not place.is_empty}
    parts = _parts(sections)
    redis = redis_address(sections.get("redis", _unwritten(page, "redis", DEFAULT_REDIS)))
    data = text(sections.get("data", _unwritten(page, "data", DEFAULT_DATA)))
    settings = Settings(
        source=source,
        redis_url=None if redis == EMBEDDED else redis,
        data_dir=resolved(data or DEFAULT_DATA, base, page.environ),
        engines=read_engines(sections.get("backends"), parts["backends"], base),
        **read_settings(sections),
    )
    catalog = _agreed(top, parts)
    return Loaded(catalog, settings, source) if catalog is not None else None


def _parts(sections: Mapping[str, Place]) -> dict[str, Any]:
    """The fields of the catalog, each checked against those before it."""

    def names(kind: str, section: str, sound: Mapping[str, object]) -> Names:
        declared = sections[section].entries() if section in sections else sound
        return Names(kind, declared, sound)

    pools = read_pools(sections.get("pools"))
    backends = read_backends(sections.get("backends"), names("pool", "pools", pools))
    models = read_models(sections.get("models"), names("backend", "backends", backends))
    roles = read_roles(sections.get("roles"), names("model", "models", models))
    if "models" in sections:
        refuse_leaks(sections["models"], models, backends, pools)
    urgency = read_urgency(sections.get("urgency"))
    return {"pools": pools, "backends": backends, "models": models, "roles": roles, "urgency": urgency}


def _agreed(top: Place, parts: Mapping[str, Any]) -> Catalog | None:
    """The catalog of these parts; None, and its contradictions reported, when they do not agree."""
    try:
        return Catalog.model_validate(parts)
    except ValidationError as error:
        causes = [told.get("ctx", {}).get("error") for told in error.errors(include_url=False, include_input=False)]
    for problem in [problem for cause in causes if isinstance(cause, CatalogError) for problem in cause.problems]:
        place = top.find(problem.place)
        place.page.report(place.line, problem.place, problem.message)
    return None


def _unwritten(page: Page, key: str, default: str) -> Place:
    """The default of a key that the file does not have, to be read as if it stood there."""
    return Place(page, key, 0, yaml.ScalarNode(TEXT, default))
