"""Where the configuration is, and what a path in it means."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

FILE_NAME = "openfall.yaml"
VARIABLE = "OPENFALL_CONFIG"
_HERE = Path(__file__).resolve().parent
DEMO = _HERE / "demo.yaml"
"""The shipped configuration, which runs a toy model on this machine. Used when there is no other."""

SHIPPED = (DEMO, *(_HERE / f"{name}.yaml" for name in ("ace", "echo-brain", "groups", "artifacts")))
"""Ready-made configurations. Whoever runs one keeps the data where they run it, not here."""

ENVIRONMENT = Path("the environment")
"""Stands for the configuration that the variables of providers make by themselves; it may be named like a file."""


def locate(path: Path | None, environ: Mapping[str, str], cwd: Path) -> Path:
    """The configuration to use: the file that is named, else the nearest, else the user's, else the demo.

    A file that is named, by `path` or by $OPENFALL_CONFIG, need not exist: that is for the reader to tell.
    """
    told = str(path) if path is not None else environ.get(VARIABLE)
    if told == str(ENVIRONMENT):
        return ENVIRONMENT
    if told:
        named = resolved(told, cwd, environ)
        return named.resolve() if named.resolve() in SHIPPED else named
    return next((place for place in _places(environ, cwd) if os.path.isfile(place)), DEMO)


def is_shipped(source: Path) -> bool:
    """Whether a configuration is none of the user's own files."""
    return source in SHIPPED or source == ENVIRONMENT


def resolved(path: str, base: Path, environ: Mapping[str, str]) -> Path:
    """A path as it is meant: `~/` is the home directory, and a relative one starts at `base`."""
    home = _home(environ)
    if home is not None and path.startswith("~/"):
        return home / path[2:]
    return base / path


def shown(path: Path, cwd: Path) -> Path:
    """A path as messages show it: from `cwd` when it lies below."""
    return path.relative_to(cwd) if path.is_relative_to(cwd) else path


def _places(environ: Mapping[str, str], cwd: Path) -> Iterator[Path]:
    for directory in (cwd, *cwd.parents):
        yield directory / FILE_NAME
        if os.path.exists(directory / ".git"):
            break
    if home := _home(environ):
        yield home / ".config" / "openfall" / FILE_NAME


def _home(environ: Mapping[str, str]) -> Path | None:
    home = environ.get("HOME") or environ.get("USERPROFILE")
    return Path(home) if home else None
