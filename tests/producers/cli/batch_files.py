"""The files of a batch: a line of its input, the rows of its output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LINES = 40  # of the input that the fixture `source` writes


def line(custom_id: str, prompt: str, **more: Any) -> str:
    body = {"messages": [{"role": "user", "content": prompt}], "model": "tags", **more.pop("body", {})}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body, **more})


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in path.read_text().splitlines()]


def every_line_has_one_row(path: Path) -> bool:
    return sorted(row["custom_id"] for row in read_rows(path)) == sorted(f"line-{n}" for n in range(LINES))
