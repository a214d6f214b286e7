"""The names that callers send as `model`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from openfall.producers.gateway.error_table import Refusal
from openfall.router_core.catalog.capabilities import is_known_to_embed
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.catalog_errors import MAX_NAME_CHARACTERS, AmbiguousName, UnknownName
from openfall.router_core.routing.chain_selection import AUTO
from openfall.router_core.vocabulary import JobKind, Urgency

_KIND = "role, task or model"
_FAMILY = re.compile(r"[^-/:]{1,40}[-/:]")
_LATEST = ":latest"
"""The tag that clients of Ollama add to every name."""


def split_urgency(name: str) -> tuple[str, Urgency | None]:
    """`dialogue@batch` is the name `dialogue` with the urgency batch. Any other `@` belongs to the name."""
    base, mark, word = name.rpartition("@")
    if mark and base and word in set(Urgency):
        return base, Urgency(word)
    return name, None


def resolve_name(catalog: Catalog, aliases: Mapping[str, str], name: str | None) -> str:
    """The role, task or model that a name means: itself, without `:latest`, by the `aliases` of the configuration, or
    `auto` for none.

    A name of the catalog wins over a pattern. Raises `UnknownName`, or `Refusal` for a name that is like none.
    """
    if not name or name.removesuffix(_LATEST) == AUTO:
        return AUTO
    try:
        return _resolve(catalog, aliases, name)
    except AmbiguousName:
        raise
    except UnknownName as error:
        if "Did you mean" in str(error):
            raise
        raise Refusal(
            "unknown_model", f"{error} GET /v1/models lists them; {_remedy_for(name, catalog)}", "model"
        ) from None


def _resolve(catalog: Catalog, aliases: Mapping[str, str], name: str) -> str:
    for candidate in dict.fromkeys((name, name.removesuffix(_LATEST))):
        if candidate in catalog.roles or catalog.find_task(candidate) is not None or candidate in catalog.models:
            return candidate
    known = {*catalog.roles, *catalog.tasks}
    if len(name) <= MAX_NAME_CHARACTERS and (meant := _by_pattern(aliases, name)) is not None:
        return meant
    base, _, urgency = name.rpartition("@")
    if base in known or base in catalog.models:
        raise UnknownName("urgency", urgency, map(str, Urgency))
    if (own := name.rpartition("/")[2]) in known:  # behind the name of a provider, as LiteLLM has it
        raise UnknownName(_KIND, name, known, repr(own))
    try:
        catalog.find_model(name, kind=_KIND, known=known)
    except UnknownName:
        bare = name.removesuffix(_LATEST)
        if bare == name:
            raise
        return catalog.find_model(bare, kind=_KIND, known=known)
    return name


def _remedy_for(name: str, catalog: Catalog) -> str:
    meant = AUTO
    if is_known_to_embed(name):  # `auto` completes
        meant = next((alias for alias, model in catalog.models.items() if model.kind is JobKind.EMBEDDING), "")
        if not meant:
            return "no model of the configuration embeds texts: add one"
    aliases = f'{{"{_pattern_for(name)}": {meant}}}'
    return f"with a program that has its name built in, set `gateway: {{aliases: {aliases}}}`"


def _pattern_for(name: str) -> str:
    """A pattern that takes a name and those like it: `gpt-*` for `gpt-4o`, `llama3.2:*` for `llama3.2:3b`."""
    family = _FAMILY.match(name)
    return f"{family[0]}*" if family else f"{name[:40]}*" if len(name) > 40 else name


def _by_pattern(aliases: Mapping[str, str], name: str) -> str | None:
    return next((meant for pattern, meant in aliases.items() if fnmatchcase(name, pattern)), None)
