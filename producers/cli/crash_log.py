"""An unexpected error: one line for the user, and the traceback in a log of its own."""

from __future__ import annotations

import tempfile
import traceback
from types import TracebackType


def report_unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print one line, and write the traceback to a log that only the user can read."""
    if issubclass(kind, KeyboardInterrupt):
        return
    from openfall.producers.cli.terminal import print_line

    text = (str(error).splitlines() or [""])[0][:200]
    message = f"openfall: unexpected error ({kind.__name__}: {text})."
    try:
        with tempfile.NamedTemporaryFile("wb", prefix="openfall-", suffix=".log", delete=False) as log:
            text = "".join(traceback.format_exception(kind, error, trace))
            log.write(text.encode("utf-8", "backslashreplace"))
    except OSError as failure:
        print_line(f"{message} No log of it can be written: {failure.strerror}")
    else:
        print_line(f"{message} Details: {log.name}")
