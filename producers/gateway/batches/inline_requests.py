"""The requests of a message batch, which come within one JSON body: read from the disk one by one, in little memory.

It blocks: call it in a thread.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import PydanticSerializationError, from_json, to_json

from openfall.producers.gateway.error_table import Refusal
from openfall.router_core.jobs.request_json import loads_request
from openfall.router_core.json_fault_text import describe_json_fault

_READ_BYTES = 1 << 20
_BLANK = re.compile(r"[ \t\r\n]*")
_PARAM = "requests"
_MAX_NAME = 80
"""Characters of a name of the body that a message shows."""


def write_requests(body: Path, lines: BinaryIO, max_request: int) -> dict[str, Any]:
    """Write each request of a body as the line of a batch. Returns the other fields. Raises `Refusal`."""
    fields: dict[str, Any] = {}
    place = ""
    with body.open("rb") as file:
        text = _Text(file, max_request)
        try:
            for key in _members(text):
                place = key[:_MAX_NAME]
                if key != _PARAM:
                    fields[key] = text.value()
                    continue
                place = f"{_PARAM}.0"
                for number, request in enumerate(_elements(text)):
                    place = f"{_PARAM}.{number + 1}"
                    lines.write(_line(number, request))
        except RecursionError:
            raise Refusal("bad_request", f"`{place}` is nested too deeply", place) from None
        except ValueError as error:
            where = f" at `{place}`" if place else ""
            raise Refusal("bad_request", f"the body is not JSON{where}: {error}", place or None) from None
    return fields


def _line(number: int, request: Any) -> bytes:
    """Raises `Refusal`."""
    place = f"{_PARAM}.{number}"
    if not isinstance(request, dict):
        raise Refusal("bad_request", f"{place} must be an object {{custom_id, params}}", place)
    if not isinstance(request.get("params"), dict):
        raise Refusal("bad_request", f"{place}.params must be the body of a message", place)
    line = {"custom_id": request.get("custom_id"), "body": request["params"]}
    try:
        return to_json(line) + b"\n"
    except (PydanticSerializationError, ValueError):  # half a character
        return to_json(loads_request(json.dumps(line).encode())) + b"\n"


class _Text:
    """The text of a file from the place that was not read yet. `value` reads one JSON value."""

    def __init__(self, file: BinaryIO, max_value: int) -> None:
        self._file, self._max_value = file, max_value
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._buffer, self._place, self._is_whole = "", 0, False
        self._decoder = json.JSONDecoder(parse_constant=_refuse_constant)

    def next(self) -> str:
        """The next character that is not blank; empty at the end. Does not go on."""
        while True:
            match = _BLANK.match(self._buffer, self._place)
            assert match is not None
            self._place = match.end()
            if self._place < len(self._buffer) or not self._read():
                return self._buffer[self._place : self._place + 1]

    def skip(self, expected: str) -> None:
        """Go on behind this character. Raises `ValueError`."""
        if self.next() != expected:
            raise ValueError(f"`{expected}` is missing")
        self._place += 1

    def value(self) -> Any:
        """Raises `ValueError`."""
        self.next()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._place)
                if end < len(self._buffer) or self._is_whole:  # a number may go on
                    self._place = end
                    return value
            except json.JSONDecodeError:
                if self._is_whole:
                    raise ValueError(self._describe_fault()) from None
            if len(self._buffer) - self._place > self._max_value:
                raise ValueError(f"a request has more than {self._max_value:,} bytes")
            self._read()

    def _describe_fault(self) -> str:
        """What is wrong with the value at this place. Its columns count from the begin of the value."""
        try:
            from_json(self._buffer[self._place :])
        except ValueError as error:
            return describe_json_fault(error)
        return "a value cannot be read"

    def _read(self) -> bool:
        """Read on, as much again as is unread. False: the file is read."""
        if self._is_whole:
            return False
        unread = self._buffer[self._place :]
        data = self._file.read(max(_READ_BYTES, len(unread)))
        self._is_whole = not data
        self._buffer, self._place = unread + self._decode.decode(data, self._is_whole), 0
        return not self._is_whole


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no value of JSON")


def _members(text: _Text) -> Iterator[str]:
    """The names of an object. Its reader reads each value before it goes on."""
    text.skip("{")
    while text.next() != "}":
        key = text.value()
        if not isinstance(key, str):
            raise ValueError("a name must be text")
        text.skip(":")
        yield key
        if text.next() != "}":
            text.skip(",")
    text.skip("}")
    if text.next():
        raise ValueError("something follows its end")


def _elements(text: _Text) -> Iterator[Any]:
    text.skip("[")
    while text.next() != "]":
        yield text.value()
        if text.next() != "]":
            text.skip(",")
    text.skip("]")
