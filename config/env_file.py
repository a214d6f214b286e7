"""The `.env` file beside the configuration: variables for its `${...}`. A variable of the process wins over it.

A library was weighed: python-dotenv skips a line that it cannot read, and only logs that. Here such a line is an error
with its position. No message shows a value, or any other text of the file.
"""

from __future__ import annotations

import os
import re
import stat
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from openfall.config.yaml_document import Document

FILE_NAME = ".env"
MAX_BYTES = 1_000_000
"""A larger file is a mistake, and each process would read it at its start: 100 MB take 17 s and 500 MB of memory."""

_SPACE = r"[^\S\n]*"
_BLANK = re.compile(rf"{_SPACE}(?:#[^\n]*)?(?:\n|\Z)")
_ASSIGNMENT = re.compile(
    rf"{_SPACE}(?:export[^\S\n]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*){_SPACE}="
    rf"""(?:{_SPACE}(?:'(?P<literal>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)")(?:[^\S\n]+\#[^\n]*|{_SPACE})"""
    rf"""|(?P<bare>(?!{_SPACE}['"])[^\n]*))(?:\n|\Z)""",
    re.DOTALL,
)
_COMMENT = re.compile(r"\s#.*")
_VARIABLE = r"\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\})?"
_BARE_PARTS = re.compile(_VARIABLE)
_DOUBLE_PARTS = re.compile(rf'\\(?P<escape>[nrt"\\$])|{_VARIABLE}')
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_PASSWORD = re.compile(r"://[^/\s]*:[^/\s]*@")
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASS|AUTH|WEBHOOK", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class EnvFile:
    """The variables of a `.env` file. Without a file it is empty."""

    path: Path
    """As messages show it."""
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    lines: Mapping[str, int] = field(default_factory=dict)
    """By variable, the line that sets it."""
    open_to_others: bool = False
    """Whether every user of this machine may read the file."""

    @property
    def has_secrets(self) -> bool:
        """Whether a variable with a value is called like a secret, or is an address with a password."""
        return any(
            value and (_SECRET_NAME.search(name) or _PASSWORD.search(value)) for name, value in self.values.items()
        )

    def over(self, environ: Mapping[str, str]) -> Mapping[str, str]:
        """The variables of the process, then those of the file."""
        return ChainMap(dict(environ), dict(self.values))

    def positions(self, environ: Mapping[str, str]) -> Mapping[str, str]:
        """Where each variable is set that the process does not set: `.env:4`."""
        return {name: f"{self.path}:{line}" for name, line in self.lines.items() if name not in environ}

    def origin(self, name: str, environ: Mapping[str, str]) -> str:
        """Where the value of a variable comes from, in words."""
        position = f"{self.path}:{self.lines[name]}" if name in self.lines else ""
        if name in environ:
            origin = f"the environment, not {position}" if position else "the environment"
        else:
            origin = position or "not set"
        empty = name in self.over(environ) and not self.over(environ)[name]
        return f"{origin}, empty" if empty else origin


def read_env_file(file: Path, document: Document) -> EnvFile:
    """The variables of a file. Its problems are reported to `document`, whose `environ` is that of the process.

    What is no regular file (a directory called `.env` is often a virtual environment) counts as none.
    """
    if os.path.islink(file) and not os.path.exists(file):
        document.report(0, "", f"it is a link to {os.readlink(file)}, which does not exist", "Correct the link.")
        return EnvFile(document.file)
    if not os.path.isfile(file):
        return EnvFile(document.file)
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            document.report(0, "", f"it has more than {MAX_BYTES:,} bytes", "Leave only lines NAME=value in it.")
            return EnvFile(document.file)
        text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        document.report(error.object.count(b"\n", 0, error.start) + 1, "", "not UTF-8 text", "Save the file as UTF-8.")
    except OSError as error:
        document.report(0, "", f"it cannot be read: {error.strerror}", "Allow this user to read it, or move it away.")
    else:
        values, lines = _parse(text, document)
        return EnvFile(document.file, values, lines, bool(file.stat().st_mode & stat.S_IROTH))
    return EnvFile(document.file)


def _parse(text: str, document: Document) -> tuple[dict[str, str], dict[str, int]]:
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    position, line = 0, 1
    while position < len(text):
        match = _BLANK.match(text, position) or _ASSIGNMENT.match(text, position)
        end = match.end() if match else (text.find("\n", position) + 1 or len(text))
        if match is None:
            document.report(line, "", *_describe_fault(text[position:end]))
        elif match.re is _ASSIGNMENT:
            name = match["name"]
            if name in lines:
                document.report(line, name, f"it is set twice, first on line {lines[name]}", "Remove one of them.")
            values[name] = _value(match, line, ChainMap(dict(document.environ), values), document)
            lines[name] = line
        line += text.count("\n", position, end)
        position = end
    return values, lines


def _describe_fault(line: str) -> tuple[str, str]:
    """The message and the remedy for a line that sets nothing."""
    before, equals, after = line.partition("=")
    if not equals:
        return "this line is not of the form NAME=value", "Write it so, or begin it with # to make it a comment."
    if after.lstrip().startswith(("'", '"')) and _ASSIGNMENT.match(f"{before}="):
        return "its quotes do not close, or text follows them", "Begin a comment after a value with a space and #."
    return "what stands before = cannot name a variable", "A name has letters, digits and _, and begins with no digit."


def _value(match: re.Match[str], line: int, known: Mapping[str, str], document: Document) -> str:
    """The value of an assignment. `known`: what its `${NAME}` and `${NAME:-default}` are filled in from."""
    if match["literal"] is not None:
        return match["literal"]

    def fill(part: re.Match[str]) -> str:
        groups = part.groupdict()
        if escape := groups.get("escape"):
            return _ESCAPES.get(escape, escape)
        name, default = groups["name"], groups["default"]
        if name is not None and default is not None:
            return known.get(name) or default
        if name is None or name not in known:
            message = "a ${ in its value is not filled in: it names no variable, or one that is set nowhere above"
            document.report(line, match["name"], message, "Put the value in single quotes if it is meant as it is.")
            return ""
        return known[name]

    if match["double"] is not None:
        return _DOUBLE_PARTS.sub(fill, match["double"])
    return _BARE_PARTS.sub(fill, _COMMENT.sub("", match["bare"]).strip())
