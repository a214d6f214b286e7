"""Which configuration file is used, and the misspelt names of files that are refused."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from openfall.config.errors import ConfigError, ConfigProblem
from openfall.config.paths import DEMO, ENVIRONMENT, FILE_NAME, SHIPPED, VARIABLE, home_of, resolve, shorten
from openfall.config.toml_text import TOML_REMEDY, is_toml

MISNAMED = ("openfall.yml", "Openfall.yaml", "openfall.yaml.txt", "openfall.json", "openfall.toml")
"""Names that people give the file by mistake. They are refused where no `openfall.yaml` is: the demo would run."""
_MISSPELT = 0.9
"""A name at least this similar (0 to 1) is a misspelt $OPENFALL_CONFIG: one letter is missing, added or another."""


def find_file(path: Path | None, environ: Mapping[str, str], cwd: Path) -> Path:
    """The configuration to use: the file that is named, else the nearest, else the user's, else the demo.

    A file that is named, by `path` or by $OPENFALL_CONFIG, need not exist: the loader reports that. Raises
    `ConfigError` for a file of the search with one of the `MISNAMED`, and for a misspelt $OPENFALL_CONFIG.
    """
    name = str(path) if path is not None else environ.get(VARIABLE)
    if name == str(ENVIRONMENT):
        return ENVIRONMENT
    if name:
        file = resolve(name, cwd, environ)
        real = Path(os.path.realpath(file))  # raises nothing for links in a circle
        return real if real in SHIPPED else file
    if name is None:
        _refuse_misspelt(environ)
    for directory in _directories(environ, cwd):
        if os.path.lexists(directory / FILE_NAME):  # a link to a file that is gone is reported, not passed over
            return directory / FILE_NAME
        _refuse_misnamed(directory, cwd)
    return DEMO


def _refuse_misspelt(environ: Mapping[str, str]) -> None:
    names = [name for name, value in environ.items() if value and name.startswith("OPEN")]
    for name in get_close_matches(VARIABLE, names, n=1, cutoff=_MISSPELT):
        remedy = f"Rename it to {VARIABLE}, or unset it."
        raise ConfigError([ConfigProblem(ENVIRONMENT, 0, name, "a variable of this name is not read", remedy)])


def _refuse_misnamed(directory: Path, cwd: Path) -> None:
    for name in MISNAMED:
        if os.path.isfile(directory / name):
            file = shorten(directory / name, cwd)
            remedy = f"Rename it to {FILE_NAME}, or name it with --config or ${VARIABLE}."
            with suppress(OSError):
                if is_toml((directory / name).read_text(encoding="utf-8", errors="replace")):
                    raise ConfigError([ConfigProblem(file, 0, "", "this is TOML; openfall reads YAML", TOML_REMEDY)])
            raise ConfigError([ConfigProblem(file, 0, "", "a file of this name is not read", remedy)])


def _directories(environ: Mapping[str, str], cwd: Path) -> Iterator[Path]:
    for directory in (cwd, *cwd.parents):
        yield directory
        if os.path.exists(directory / ".git"):
            break
    if home := home_of(environ):
        yield home / ".config" / "openfall"
