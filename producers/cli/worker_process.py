"""What needs a backend is done by the workers' side of the house: a process that tells what it finds line by line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any

from openfall.producers.cli.exit_codes import VerbFailed

LONGEST_LINE = 2**20


async def run_worker_command(config_path: Path | None, *args: str) -> AsyncGenerator[dict[str, Any], None]:
    """The lines of `python -m openfall.workers ARGS --json`, as they come. Raises `VerbFailed` when it breaks off."""
    from pydantic_core import from_json

    more = () if config_path is None else ("--config", str(config_path))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "openfall.workers", *args, "--json", "--quiet", *more,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=LONGEST_LINE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    errors = asyncio.create_task(process.stderr.read())
    lines = 0
    try:
        async for line in process.stdout:
            yield from_json(line)
            lines += 1
        code = await process.wait()
        if code in (2, 3) or (code and not lines):
            raise VerbFailed((await errors).decode(errors="replace").strip() or f"it ended with {code}", code)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        errors.cancel()
