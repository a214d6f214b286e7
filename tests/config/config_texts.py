"""Texts of configuration files: loaded, or checked for problems as users see them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from openfall import config
from openfall.config import ConfigError, ConfigProblem, LoadedConfig

VALID = {
    "backends": "backends: {tower: {url: http://127.0.0.1:8080, pool: gpu}}",
    "models": "models: {coder: {upstream: coder-32b, backends: [tower]}}",
    "roles": "roles: {chat: {chain: [coder]}}",
}
MODELS = """
backends: {tower: {url: "http://127.0.0.1:1", pool: gpu}, far: {url: "https://a.example", pool: cloud}}
models:
  {coder: {upstream: x, backends: [tower]}, small: {upstream: y, backends: [tower]},
   haiku: {upstream: z, backends: [far]}}
"""


def load_text(directory: Path, text: str, environ: Mapping[str, str] | None = None, *, base: str = "") -> LoadedConfig:
    """The configuration of a file with this text, then `base`."""
    file = directory / "openfall.yaml"
    file.write_text(dedent(text) + base, encoding="utf-8")
    return config.load(file, environ=environ or {}, cwd=directory)


def check(
    path: Path | None = None, *, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> tuple[ConfigProblem, ...]:
    """The problems of the configuration that `load` would read."""
    try:
        config.load(path, environ=environ, cwd=cwd)
    except ConfigError as error:
        return error.problems
    return ()


def check_text(directory: Path, text: str, *, base: str = "") -> list[str]:
    """The problems of a file that begins with this text, then `base`."""
    file = directory / "openfall.yaml"
    file.write_text(dedent(text).lstrip("\n") + base, encoding="utf-8")
    return [str(problem) for problem in check(file, environ={"EMPTY": ""}, cwd=directory)]


def check_section(directory: Path, text: str, *, base: str = MODELS) -> list[str]:
    """The problems of a section before valid models, without the name of the file: each begins with its line."""
    return [problem.removeprefix("openfall.yaml:") for problem in check_text(directory, text, base=base)]


def with_valid_sections(section: str, text: str) -> str:
    """A file whose first line is `text`, for `section`; the other sections are valid."""
    return "\n".join([text, *(line for name, line in VALID.items() if name != section)])


def unmask(dump: str) -> str:
    """A dump with invented secrets in place of the masks, which cannot be loaded."""
    return dump.replace("…", "x" * 16)
