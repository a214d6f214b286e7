"""Fills the environment variables into the values of a file: `${VARIABLE}`, `${VARIABLE:-default}`."""

from __future__ import annotations

import re
from collections.abc import Mapping

_DOLLAR = re.compile(r"\$\$|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^}]*)?\}|(?P<broken>\$\{)")


class InterpolationError(ValueError):
    """The variables of a value cannot be filled in. `remedy` says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        self.remedy = remedy
        super().__init__(message)


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """`text` with `${VAR}` and `${VAR:-default}` filled in, and `$$` as `$`. Raises `InterpolationError`.

    As in a shell, the default also replaces a variable that is set but empty. A lone `$` stays as it is.
    """

    def fill(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if match["broken"]:
            raise InterpolationError(
                "a ${ that is not of the form ${VAR} or ${VAR:-default}", "Write $${ for a plain ${."
            )
        if name is None:
            return "$"
        if default is not None:
            return environ.get(name) or default[2:]
        if name not in environ:
            remedy = f"Set it, or write a default: ${{{name}:-...}}."
            raise InterpolationError(f"the environment variable {name} is not set", remedy)
        return environ[name]

    return _DOLLAR.sub(fill, text)


def variables_in(text: str) -> tuple[str, ...]:
    """The variables that `interpolate` would fill in."""
    return tuple(match["name"] for match in _DOLLAR.finditer(text) if match["name"])
