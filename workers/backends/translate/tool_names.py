"""The names of tools, in the form that a provider demands, and back. Pure: a name always becomes the same.

Anthropic and OpenAI take letters, digits, `_` and `-`, and differ in the length. Callers also write `files.read`, other
scripts, and the long names of MCP servers. Other servers take any name, so only a translation changes names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from zlib import crc32

from openfall.router_core.vocabulary import Dialect
from openfall.workers.backends.translate.json_values import Body, objects

MAX_LENGTHS: Mapping[Dialect, int] = {"anthropic": 128, "openai": 64}
"""Characters of a name, by the dialect of the backend. The others have no limit."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")
_MARK_LENGTH = 9


def tool_name(name: str, dialect: Dialect) -> str:
    """The name of a tool as a backend of that dialect takes it."""
    limit = MAX_LENGTHS[dialect]
    if len(name) <= limit and not _UNSAFE.search(name):
        return name
    mark = f"_{crc32(name.encode('utf-8', 'surrogatepass')):08x}"
    return _UNSAFE.sub("_", name)[: limit - _MARK_LENGTH] + mark


def callers_names(request: Body, dialect: Dialect) -> Mapping[str, str]:
    """The caller's name of each tool of a request that has another name at a backend of that dialect."""
    if dialect not in MAX_LENGTHS:
        return {}
    given = [*_names(request.get("tools")), *_names(request.get("functions"))]
    return {changed: name for name in given if (changed := tool_name(name, dialect)) != name}


def _names(tools: Any) -> Iterator[str]:
    """The names in tools of any dialect."""
    for tool in objects(tools):
        function = tool.get("function")
        name = function.get("name") if isinstance(function, Mapping) else tool.get("name")
        if isinstance(name, str):
            yield name
