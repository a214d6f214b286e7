"""Standard input, output and error: closed, full, without a reader, or without the characters that are written."""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_ESCAPES = "openfall.escapes"


def prepare() -> None:
    """Make the streams of this process safe to use. Call it once, before anything is written."""
    _open_closed_descriptors()
    codecs.register_error(_ESCAPES, _escape)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - it lives as long as the process
    sys.stdout = _text_stream(_StandardOutput(1, "wb", closefd=False), sys.stdout)
    sys.stderr = _text_stream(_StandardError(2, "wb", closefd=False), sys.stderr, by_line=True)


def output_failure() -> OSError | None:
    """The first error of a write to standard output."""
    return _StandardOutput.failure


def discard_output() -> None:
    """Discard what Python still writes to standard output at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class _Stream(io.FileIO):
    """A descriptor that another program may have made non-blocking: a write waits, as it does otherwise."""

    def write(self, data: ReadableBuffer) -> int:
        """Write, and return the number of bytes."""
        while (written := super().write(data)) is None:
            select.select([], [self], [])
        return written


class _StandardOutput(_Stream):
    failure: OSError | None = None

    def write(self, data: ReadableBuffer) -> int:
        """Write, and keep the first error."""
        try:
            return super().write(data)
        except OSError as error:
            _StandardOutput.failure = _StandardOutput.failure or error
            raise


class _StandardError(_Stream):
    """Discards what cannot be written: a command does not fail because its messages have no reader."""

    def write(self, data: ReadableBuffer) -> int:
        """Write, or discard everything."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def _text_stream(raw: _Stream, before: TextIO | None, *, by_line: bool = False) -> io.TextIOWrapper:
    encoding = before.encoding if before is not None else "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, _ESCAPES, line_buffering=by_line or raw.isatty())


def _open_closed_descriptors() -> None:
    """Give a closed descriptor to /dev/null: otherwise the next file or socket gets its number.

    The mode is the opposite of its use, so reads and writes still fail.
    """
    for descriptor, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, mode)  # the lowest free number
            os.set_inheritable(descriptor, True)


def _escape(error: UnicodeError) -> tuple[str, int]:
    r"""Characters that an encoding lacks as `\u00e9`: readable, and valid in JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[n]:02x}{units[n + 1]:02x}" for n in range(0, len(units), 2)), error.end
