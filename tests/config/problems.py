"""The problems of a file, as people see them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from openfall import config

VALID = {
    "backends": "backends: {tower: {url: http://127.0.0.1:8080, pool: gpu}}",
    "models": "models: {coder: {upstream: coder-32b, backends: [tower]}}",
    "roles": "roles: {chat: {chain: [coder]}}",
}


def check_text(directory: Path, text: str) -> list[str]:
    """The problems of a file with this text, as people see them."""
    file = directory / "openfall.yaml"
    file.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
    return [str(problem) for problem in config.check(file, environ={"EMPTY": ""}, cwd=directory)]


def with_valid_sections(section: str, text: str) -> str:
    """A file whose first line is `text`, for `section`; the other sections are valid."""
    return "\n".join([text, *(line for name, line in VALID.items() if name != section)])
