"""Read one file into a catalog and settings: all of it, or every problem at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from openfall.config import from_environment
from openfall.config.backends import read_backends, read_engines, read_pools
from openfall.config.document import (
    TEXT,
    Document,
    Node,
    parse,
)
from openfall.config.entries import Entry, built
from openfall.config.field_types import text
from openfall.config.groups import group_entry, read_groups
from openfall.config.models import (
    read_models,
    read_roles,
    read_urgency,
    refuse_leaks,
    role_entry,
    task_entry,
)
from openfall.config.open_fall import (
    policy,
    read_open_fall,
    written_at,
)
from openfall.config.paths import (
    DEMO,
    ENVIRONMENT,
    VARIABLE,
    is_shipped,
    locate,
    resolved,
    shown,
)
from openfall.config.pricing import priced
from openfall.config.problems import ConfigError, ConfigProblem
from openfall.config.references import References
from openfall.config.sections import CATALOG
from openfall.config.settings import (
    BREAKERS,
    EMBEDDED,
    RETRY,
    SECTIONS,
    Settings,
    read_settings,
    redis_address,
)
from openfall.router_core.catalog.entries import Catalog, CatalogError

KEYS = ("redis", "data", *CATALOG, *SECTIONS)
DEFAULT_REDIS = "${REDIS_URL:-embedded}"
DEFAULT_DATA = ".openfall"
_POLICIES: Mapping[str, Entry[Any]] = {"breakers": BREAKERS, "retry": RETRY}


Stamp = tuple[int, int, int]
"""What changes when a file does: when it was written (ns), its size, and which file it is."""


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration that agrees with itself, and where it came from: a file, or `ENVIRONMENT`.

    `stamp` is that of the file just before it was read. Whoever runs for long compares it with `stamp(source)` now and
    then, and loads `source` again when the two differ; a file that is broken then is told once for each stamp.
    """

    catalog: Catalog
    settings: Settings
    source: Path
    stamp: Stamp | None = field(default=None, compare=False)


def load(
    path: Path | None = None, *, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> LoadedConfig:
    """The configuration in `path`, else in the first file of the search; `ConfigError` with all that is wrong in it.

    The search: $OPENFALL_CONFIG, `openfall.yaml` from `cwd` up to the git root, `~/.config/openfall/`, then what
    OPENAI_* and ANTHROPIC_* come to, then the shipped demo. `environ` and `cwd` are the process's own unless given.
    """
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd.absolute()
    source = locate(path, environ, cwd)
    if source == DEMO and path is None and not environ.get(VARIABLE) and from_environment.speaks(environ):
        source = ENVIRONMENT
    page = Document(source if source == ENVIRONMENT else shown(source, cwd), environ)
    seen = stamp(source)
    text = _environment(page) if source == ENVIRONMENT else _text_of(page, source)
    top = parse(page, text) if text is not None else None
    loaded = _loaded(top, source, cwd if is_shipped(source) else source.parent) if top is not None else None
    if loaded is None or page.problems:
        told = page.problems if source != ENVIRONMENT else map(from_environment.in_variables, page.problems)
        raise ConfigError(told)
    return replace(loaded, stamp=seen)


def stamp(source: Path) -> Stamp | None:
    """The stamp of a file: one look at its entry, and no reading. None when there is no such file."""
    try:
        told = os.stat(source)
    except OSError:
        return None
    return told.st_mtime_ns, told.st_size, told.st_ino


def check(
    path: Path | None = None, *, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> tuple[ConfigProblem, ...]:
    """What is wrong with the configuration that `load` would read; empty when nothing is."""
    try:
        load(path, environ=environ, cwd=cwd)
    except ConfigError as error:
        return error.problems
    return ()


def _environment(page: Document) -> str | None:
    if from_environment.speaks(page.environ):
        return from_environment.written_out(page.environ)
    remedy = "Set OPENAI_MODEL with OPENAI_API_KEY or OPENAI_BASE_URL, or the same of ANTHROPIC_."
    page.report(0, "", "it names no model and how to reach it", remedy)
    return None


def _text_of(page: Document, source: Path) -> str | None:
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


def _loaded(top: Node, source: Path, base: Path) -> LoadedConfig | None:
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
        notify=parts["open_fall"].notify,
    )
    _refuse_unsigned(sections.get("open_fall"), settings)
    catalog = _agreed(top, {**parts, "local_only": settings.privacy.local_only})
    return LoadedConfig(catalog, settings, source) if catalog is not None else None


def _parts(sections: Mapping[str, Node]) -> dict[str, Any]:
    """The fields of the catalog, each checked against those before it."""

    def names(kind: str, section: str, sound: Mapping[str, object]) -> References:
        return References(kind, _declared(sections, section) if section in sections else sound, sound)

    pools = read_pools(sections.get("pools"))
    backends = read_backends(sections.get("backends"), names("pool", "pools", pools), pools)
    scored = dict.fromkeys(_declared(sections, "tasks"))
    models = read_models(sections.get("models"), names("backend", "backends", backends), names("task", "tasks", scored))
    callable_ = names("model", "models", models)
    roles = read_roles(sections.get("roles"), role_entry(callable_))
    tasks = read_roles(sections.get("tasks"), task_entry(callable_))
    groups = group_entry(names("role", "roles", roles), names("task", "tasks", tasks), callable_)
    if "models" in sections:
        refuse_leaks(sections["models"], models, backends, pools)
    told: dict[str, Any] = {"pools": pools, "backends": backends, "models": models, "roles": roles, "tasks": tasks}
    told["groups"] = read_groups(sections.get("groups"), groups)
    told["open_fall"] = read_open_fall(sections.get("open_fall"), callable_)
    told["urgency"] = read_urgency(sections.get("urgency"))
    told |= {key: built(entry, sections[key]) for key, entry in _POLICIES.items() if key in sections}
    return told


def _declared(sections: Mapping[str, Node], section: str) -> dict[str, Node]:
    return sections[section].entries() if section in sections else {}


def _agreed(top: Node, parts: Mapping[str, Any]) -> Catalog | None:
    """The catalog of these parts; None, and its contradictions reported, when they do not agree."""
    try:
        return priced(Catalog.model_validate({**parts, "open_fall": policy(parts["open_fall"])}))
    except ValidationError as error:
        causes = [told.get("ctx", {}).get("error") for told in error.errors(include_url=False, include_input=False)]
    for problem in [problem for cause in causes if isinstance(cause, CatalogError) for problem in cause.problems]:
        path = written_at(problem.place, top.entries().get("open_fall"))
        top.page.report(top.find(path).line, path, problem.message)
    return None


def _refuse_unsigned(section: Node | None, settings: Settings) -> None:
    """Report a webhook that could not be signed. Of a secret that could not be read, that has been told."""
    if section is None or settings.notify.webhook is None or settings.webhooks.secret is not None:
        return
    if all(problem.path != "webhooks.secret" for problem in section.page.problems):
        message, remedy = "a webhook is signed, and there is nothing to sign it with", "Set webhooks: secret."
        section.find("notify.webhook").report(message, remedy)


def _unwritten(page: Document, key: str, default: str) -> Node:
    """The default of a key that the file does not have, to be read as if it stood there."""
    return Node(page, key, 0, yaml.ScalarNode(TEXT, default))
