"""The forms of a line of the log: one line a record, for people or as JSON.

No line has a secret: an address loses its password and its secret parameters, and every secret of the configuration is
masked wherever it stands. An unexpected exception is logged with its places. Its own words are left out where they may
quote a value, because the value may be a prompt.
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from openfall.config import LogFormat
from openfall.config.redact import MASK, redact_value
from openfall.router_core.errors import OpenfallError
from openfall.router_core.printable import escape_controls, escape_json
from openfall.workers.timestamp import iso_time

MIN_SECRET_LENGTH = 8
"""Shorter values are words that a line may need, such as the key `ollama`."""
MAX_CAUSES = 4
MAX_PLACES = 12

_OF_A_RECORD = {*vars(logging.makeLogRecord({})), "message", "asctime"}
_ADDRESS = re.compile(r"\w+://\S+")
_MAY_HAVE_SECRET = re.compile(r"://\S*[@?]")
_WITHOUT_VALUES = (
    AttributeError, NameError, TypeError, ImportError, NotImplementedError, OSError, OpenfallError, RuntimeError,
)  # fmt: skip
"""Exceptions whose words are about the program or the system, and quote no value."""
_PACKAGES = re.compile(r".*/(?:site-packages|lib/python3[^/]*)/")
_ROOT = f"{Path(__file__).resolve().parents[1]}/"


@dataclass(frozen=True, slots=True)
class LogLine:
    """What a line says, and its values by name. `job` is the id of a job: a line for people begins with it."""

    message: str
    fields: Mapping[str, object] = field(default_factory=dict)


class LineFormatter(logging.Formatter):
    """`2026-11-21T08:00:00+01:00 I message; name=value`, or the same as an object of JSON. It formats the time once a
    second. `secrets` are never in a line."""

    def __init__(self, form: LogFormat = LogFormat.HUMAN, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._form, self._stamp = form, (0, "")
        self._secrets = tuple(secret for secret in secrets if len(secret) >= MIN_SECRET_LENGTH)

    def format(self, record: logging.LogRecord) -> str:
        own = record.name.startswith("openfall")  # other libraries add values of their own
        fields = {name: value for name, value in vars(record).items() if own and name not in _OF_A_RECORD}
        if record.exc_info and record.exc_info[1] is not None:
            fields |= describe_exception(record.exc_info[1])
        return self.format_line(record.created, record.levelno, record.name, LogLine(record.getMessage(), fields))

    def format_line(self, moment: float, level: int, logger: str, line: LogLine) -> str:
        """A line without its end."""
        at, name = self._format_moment(moment), logging.getLevelName(level)
        if self._form is LogFormat.JSON:
            head = {"at": at, "level": name.lower(), "logger": logger, "message": self._mask(line.message)}
            fields = {name: self._mask_value(value) for name, value in line.fields.items() if value is not None}
            return escape_json(_dump({**head, **fields}))
        words = escape_controls(self._mask(_words(line))).replace("\n", "\\n")
        return f"{at} {name[0]} {words}"

    def _format_moment(self, moment: float) -> str:
        second, text = self._stamp
        if int(moment) != second:
            second = int(moment)
            text = iso_time(second)
            self._stamp = (second, text)
        return text

    def _mask(self, text: str) -> str:
        if _MAY_HAVE_SECRET.search(text):
            text = _ADDRESS.sub(lambda match: redact_value(match[0]), text)
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        return text

    def _mask_value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._mask(value)
        if isinstance(value, list | tuple):
            return [self._mask_value(each) for each in value]
        return value if value is None or isinstance(value, bool | int | float) else self._mask(str(value))


def _dump(values: Mapping[str, Any]) -> str:
    try:
        return orjson.dumps(values).decode()
    except TypeError:  # a lone surrogate: a name that is not UTF-8
        return json.dumps(values)


def _words(line: LogLine) -> str:
    job = line.fields.get("job")
    pairs = " ".join([f"{name}={_word(value)}" for name, value in line.fields.items() if name != "job"])
    return f"{f'{job}: ' if job else ''}{line.message}{f'; {pairs}' if pairs else ''}"


def _word(value: object) -> str:
    if isinstance(value, str):
        return value or "-"
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.7f}".rstrip("0").rstrip(".")
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def describe_exception(error: BaseException) -> dict[str, object]:
    """An exception as fields: `error`, and `trace`, the places from the outermost to the one that raised it."""
    errors = list(_chain(error))
    return {
        "error": " < ".join(map(_describe, errors)),
        "trace": " < ".join(" > ".join(_places(each)) or "-" for each in errors),
    }


def _describe(error: BaseException) -> str:
    words = " ".join(str(error).split()) if isinstance(error, _WITHOUT_VALUES) else ""
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, then what caused it, and so on."""
    for _ in range(MAX_CAUSES):
        if error is None:
            return
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _places(error: BaseException) -> Iterator[str]:
    for frame, line in list(traceback.walk_tb(error.__traceback__))[-MAX_PLACES:]:
        file = _PACKAGES.sub("", frame.f_code.co_filename).removeprefix(_ROOT)
        yield f"{file}:{line} {frame.f_code.co_name}"
