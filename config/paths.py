"""The names of configuration files, and how paths in them are resolved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

FILE_NAME = "openfall.yaml"

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


def is_shipped(source: Path) -> bool:
    """Whether a configuration is not a file of the user."""
    return source in SHIPPED or source == ENVIRONMENT


def describe_source(source: Path) -> str:
    """What a message calls a configuration."""
    if source == DEMO:
        return "the shipped demo, which is in force here without an openfall.yaml and without OPENAI_MODEL"
    return "that of the variables of this process" if source == ENVIRONMENT else str(source)


def base_of(source: Path, cwd: Path) -> Path:
    """The directory in which relative paths of a configuration start, and in which its `.env` file is. What a pipe
    brings, such as /dev/stdin, has none of its own."""
    is_pipe = Path("/dev") in source.parents or source.is_fifo()
    return cwd if is_shipped(source) or is_pipe else source.parent


def resolve(path: str, base: Path, environ: Mapping[str, str]) -> Path:
    """An absolute path: `~/` is the home directory, and a relative path starts at `base`."""
    home = home_of(environ)
    if home is not None and path.startswith("~/"):
        return home / path[2:]
    return base / path


def shorten(path: Path, cwd: Path) -> Path:
    """A path as messages show it: relative to `cwd` if it is below. In `/`, where services run, each stays absolute."""
    return path.relative_to(cwd) if path.is_relative_to(cwd) and cwd != cwd.parent else path


def home_of(environ: Mapping[str, str]) -> Path | None:
    home = environ.get("HOME") or environ.get("USERPROFILE")
    return Path(home) if home else None
