"""Writes the tables of keys in docs/configuration.md and docs/sidecar.md from the JSON Schemas of their files.

    python deploy/config_tables.py

A table stands between `<!-- keys of SECTION -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openfall import config

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = (DOCS / "configuration.md", DOCS / "sidecar.md")
_TABLE = re.compile(r"(<!-- (keys|defaults) of (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_TOP_LEVEL = ("redis", "data", "default")
"""Keys beside the sections: they share one table."""


def generate(page: str) -> str:
    """The page with the tables of the present keys."""
    manifest = config.manifest_schema()
    profiles = manifest["properties"].pop("profiles")
    sections = {**config.schema()["properties"], "manifest": manifest, "profiles": profiles}

    def table(match: re.Match[str]) -> str:
        rows = _defaults(sections[match[3]]) if match[2] == "defaults" else _keys(sections, match[3])
        return match[1] + "\n".join(rows) + "\n" + match[4]

    return _TABLE.sub(table, page)


def _keys(sections: dict[str, Any], section: str) -> Iterator[str]:
    yield "| key | meaning | without it |"
    yield "|---|---|---|"
    if section in _TOP_LEVEL:
        for key in _TOP_LEVEL:
            yield _row(key, sections[key])
            yield from (_row(f"{key}: {inner}", below) for inner, below in sections[key].get("properties", {}).items())
        return
    entry = _entry(sections[section])
    known = _entry(sections["roles"])["properties"] if section == "tasks" else {}  # a task has every key of a role
    for key, shape in entry["properties"].items():
        if key in known:
            continue
        if section == "urgency":
            yield _row(key, shape, "as below")
        else:
            yield _row(key, shape, "required" if key in entry.get("required", ()) else None)
            yield from (_row(f"{key}: {inner}", below) for inner, below in shape.get("properties", {}).items())


def _defaults(section: dict[str, Any]) -> Iterator[str]:
    """One row for each entry of the section, with its default for each key."""
    entries = section["properties"]
    keys = _entry(section)["properties"]
    yield " | ".join(["| urgency", *(f"`{key}`" for key in keys)]) + " |"
    yield "|---" * (len(keys) + 1) + "|"
    for name, entry in entries.items():
        cells = [entry["properties"][key].get("default") for key in keys]
        shown = ("" if default is None else f"`{_shown(default)}`" for default in cells)
        yield " | ".join([f"| `{name}`", *shown]) + " |"


def _entry(section: dict[str, Any]) -> dict[str, Any]:
    """The schema of one entry of a section, or of the section itself."""
    entry: dict[str, Any] = section.get("additionalProperties") or section.get("items") or section
    first: dict[str, Any] = next(iter(entry["properties"].values()))
    return first if "start_within" in first.get("properties", {}) else entry


def _row(key: str, shape: dict[str, Any], default: str | None = None) -> str:
    shown = f"`{_shown(shape['default'])}`" if shape.get("default", "") != "" else ""
    return f"| `{key}` | {shape['description']} | {default or shown} |"


def _shown(value: Any) -> str:
    """A value as a file has it."""
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(generate(page.read_text("utf-8")), "utf-8")
