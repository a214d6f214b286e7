"""One line of a batch file: `{"custom_id", "method": "POST", "url", "body"}`."""

from __future__ import annotations

import codecs
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import to_json

from openfall.router_core.jobs.request_json import loads_request
from openfall.router_core.json_fault_text import describe_json_fault

MAX_CUSTOM_ID_LENGTH = 512
EXAMPLE = '{"custom_id": "1", "body": {"model": ..., "messages": [...]}}'
INVALID_JSON, MISSING, INVALID = "invalid_json_line", "missing_required_parameter", "invalid_value"
URL_MISMATCH, DUPLICATE = "url_mismatch", "duplicate_custom_id"

_UTF_16 = "it is UTF-16, save it as UTF-8"
_OTHER_FILES: Mapping[bytes, str] = {
    codecs.BOM_UTF16_LE: _UTF_16,
    codecs.BOM_UTF16_BE: _UTF_16,
    b"\x1f\x8b": "it is compressed by gzip, unpack it first",
    b"PK\x03\x04": "it is a ZIP archive, or a workbook of Excel: save it as text",
    b"PAR1": "it is a Parquet file: write each row as one line of JSON",
    b"%PDF": "it is a PDF: write each request as one line of JSON",
}
"""What a file is, by its first bytes."""
_CURLY_QUOTES = tuple(quote.encode() for quote in "\u201c\u201d\u201e\u2018\u2019\u00ab")


@dataclass(frozen=True, slots=True)
class LineProblem:
    """What is wrong with a line. `param`: the faulty field. With a `custom_id` a reader can tell which line it is."""

    code: str
    message: str
    param: str | None = None
    custom_id: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedLine:
    """A line with everything that it must have. `fields`: the whole line."""

    custom_id: str
    body: Mapping[str, Any]
    fields: Mapping[str, Any]


def parse_batch_line(row: bytes, urls: Collection[str]) -> ParsedLine | LineProblem:
    """`urls`: those that the line may name, with `/v1` or without; the first is shown.

    A line without a method or a URL is a POST to it.
    """
    try:
        line = loads_request(row)
    except ValueError as error:
        problem = describe_json_fault(error)
        if kind := other_file(row):
            return LineProblem(INVALID_JSON, f"not JSON: {kind}")
        if fault := _encoding_fault(row):
            return LineProblem(INVALID_JSON, fault)
        return LineProblem(INVALID_JSON, f"not JSON: {problem}{_explain_layout(row) or _explain_text(row)}")
    if not isinstance(line, dict):
        layout = _explain_layout(row)
        return LineProblem(INVALID_JSON, f"must be an object {{custom_id, method, url, body}}{layout}")
    custom_id: Any = line.get("custom_id")
    if problem := custom_id_problem(custom_id):
        return LineProblem(MISSING if custom_id is None else INVALID, problem, "custom_id")
    return _check_target(line, custom_id, urls)


def _check_target(line: Mapping[str, Any], custom_id: str, urls: Collection[str]) -> ParsedLine | LineProblem:
    first = next(iter(urls))
    if str(line.get("method", "POST")).upper() != "POST":
        return LineProblem(INVALID, f"method must be POST, not {_shown(line['method'])}", "method", custom_id)
    path = _path(line.get("url", first))
    if path not in urls and f"/v1{path}" not in urls:
        return LineProblem(URL_MISMATCH, f"url must be {first}, not {_shown(line['url'])}", "url", custom_id)
    body = line.get("body")
    if not isinstance(body, dict):
        text = "body is missing: it holds `messages`, and `model` for a role or model"
        return LineProblem(MISSING, text, "body", custom_id)
    return ParsedLine(custom_id, body, line)


def _path(url: Any) -> Any:
    """The path of a URL, which may be written with its host or with a slash behind it."""
    try:
        return urlsplit(url).path.rstrip("/") if isinstance(url, str) else url
    except ValueError:
        return url


def custom_id_problem(custom_id: Any) -> str:
    """What is wrong with a custom_id; empty: nothing is."""
    if custom_id is None:
        return "custom_id is missing: each line needs its own, as text"
    if isinstance(custom_id, int) and not isinstance(custom_id, bool):
        return f'custom_id must be text: write "{custom_id}", not {custom_id}'
    if not isinstance(custom_id, str):
        return f"custom_id must be text, not {to_json(custom_id).decode()[:80]}"
    if not 0 < len(custom_id) <= MAX_CUSTOM_ID_LENGTH:
        return f"custom_id has {len(custom_id):,} characters: it must have 1 to {MAX_CUSTOM_ID_LENGTH}"
    return ""


def other_file(row: bytes) -> str:
    """What a file is whose line is no text in UTF-8; empty: nothing known."""
    known = next((kind for mark, kind in _OTHER_FILES.items() if row.startswith(mark)), "")
    return known or (_UTF_16 if row[1:2] == b"\0" or row[:1] == b"\0" else "")


def _encoding_fault(row: bytes) -> str:
    """The first byte that is not UTF-8, with the remedy; empty: the line is text."""
    try:
        row.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8 text: byte {error.start + 1} is 0x{row[error.start]:02x}. Save the file as UTF-8"
    return ""


def _explain_layout(row: bytes) -> str:
    """What is wrong with a file that is JSON, but not JSON Lines."""
    row = row.strip()
    if row.startswith(b"{'"):
        return ". The line has single quotes: write it with json.dumps"
    if row[1:].lstrip().startswith(_CURLY_QUOTES):
        return ". Its quotes are typographic, as a word processor writes them: write straight ones"
    if b"}{" in row or b"}\r{" in row or b"} {" in row:
        return ". The line seems to have several requests: write each as one line"
    if row.startswith(b'"{'):
        return ". The line is in quotes: write the object itself, without quotes around it"
    if row.startswith(b"["):
        return ". The file is a JSON array: write each request as one line, without brackets and commas"
    if row.endswith(b"},"):
        return ". The line ends in a comma: write each request as one line, without commas between them"
    if row in (b"{", b"}", b"]"):
        return ". The JSON is indented: write each request as one line"
    return ""


def _explain_text(row: bytes) -> str:
    """What a line has to be, for one of a CSV file or of prose."""
    return "" if row.lstrip().startswith(b"{") else f". Each line is an object: {EXAMPLE}"


def _shown(value: Any) -> str:
    """A value of the line, not longer than a message may be."""
    return repr(value)[:80]
