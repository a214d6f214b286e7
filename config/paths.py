"""Where the configuration file is, and how paths in it are resolved."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from openfall.config.errors import ConfigError, ConfigProblem

FILE_NAME = "openfall.yaml"
MISNAMED = ("openfall.yml", "Openfall.yaml", "openfall.yaml.txt", "openfall.json", "openfall.toml")
"""Names that people give the file by mistake. They are refused where no `openfall.yaml` is: the demo would run."""

VARIABLE = "OPENFALL_CONFIG"
_HERE = Path(__file__).resolve().parent
DEMO = _HERE / "demo.yaml"
"""The shipped configuration, which runs a toy model on this machine. Used when there is no other."""

SHIPPED = (DEMO, *(_HERE / f"{name}.yaml" for name in ("ace", "echo-brain", "groups", "artifacts", "sidecar")))
"""Shipped configurations. Their data is kept in the directory where they are run."""

ENV_EXAMPLE = _HERE / ".env.example"
"""The shipped template of a `.env` file."""

ENVIRONMENT = Path("the environment")
"""Stands for the configuration that is generated from providers' variables. It can be named like a file."""


def locate(path: Path | None, environ: Mapping[str, str], cwd: Path) -> Path:
    """The configuration to use: the file that is named, else the nearest, else the user's, else the demo.

    A file that is named, by `path` or by $OPENFALL_CONFIG, need not exist: the loader reports that. Raises
    `ConfigError` for a file of the search with one of the `MISNAMED`.
    """
    name = str(path) if path is not None else environ.get(VARIABLE)
    if name == str(ENVIRONMENT):
        return ENVIRONMENT
    if name:
        file = resolve(name, cwd, environ)
        return file.resolve() if file.resolve() in SHIPPED else file
    for directory in _directories(environ, cwd):
        if os.path.exists(directory / FILE_NAME):
            return directory / FILE_NAME
        _refuse_misnamed(directory, cwd)
    return DEMO


def is_shipped(source: Path) -> bool:
    """Whether a configuration is not a file of the user."""
    return source in SHIPPED or source == ENVIRONMENT


def base_of(source: Path, cwd: Path) -> Path:
    """The directory in which relative paths of a configuration start, and in which its `.env` file is."""
    return cwd if is_shipped(source) else source.parent


def resolve(path: str, base: Path, environ: Mapping[str, str]) -> Path:
    """An absolute path: `~/` is the home directory, and a relative path starts at `base`."""
    home = _home(environ)
    if home is not None and path.startswith("~/"):
        return home / path[2:]
    return base / path


def shorten(path: Path, cwd: Path) -> Path:
    """A path as messages show it: relative to `cwd` if it is below."""
    return path.relative_to(cwd) if path.is_relative_to(cwd) else path


def _refuse_misnamed(directory: Path, cwd: Path) -> None:
    for name in MISNAMED:
        if os.path.isfile(directory / name):
            file = shorten(directory / name, cwd)
            remedy = f"Rename it to {FILE_NAME}, or name it with --config or ${VARIABLE}."
            raise ConfigError([ConfigProblem(file, 0, "", "a file of this name is not read", remedy)])


def _directories(environ: Mapping[str, str], cwd: Path) -> Iterator[Path]:
    for directory in (cwd, *cwd.parents):
        yield directory
        if os.path.exists(directory / ".git"):
            break
    if home := _home(environ):
        yield home / ".config" / "openfall"


def _home(environ: Mapping[str, str]) -> Path | None:
    home = environ.get("HOME") or environ.get("USERPROFILE")
    return Path(home) if home else None
