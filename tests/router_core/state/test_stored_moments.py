"""A stored batch, file, Response or key whose moments no calendar has cannot be read: no page can show them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openfall.router_core.state.batches import BatchTerms
from openfall.router_core.state.client_keys import ClientKey
from openfall.router_core.state.decoding import read_model
from openfall.router_core.state.stored_files import StoredFile
from openfall.router_core.state.stored_responses import StoredResponse

BATCH = {
    "id": "batch_1", "form": "openai", "producer": "bot", "endpoint": "/v1/chat/completions", "directory": "d",
    "created_at": 1_800_000_000, "deadline": 1_800_086_400,
}  # fmt: skip
FILE = {
    "id": "file_1", "producer": "bot", "filename": "a.jsonl", "purpose": "batch", "bytes": 5, "directory": "d",
    "created_at": 1_800_000_000, "expires_at": 1_800_086_400,
}  # fmt: skip
RESPONSE = {"producer": "bot", "asked_for": "chat", "created_at": 1_800_000_000, "echo": {}}
KEY = {"name": "bot", "digest": "ab", "created_at": 1_800_000_000.5}
STORED: list[tuple[Any, dict[str, Any]]] = [
    (BatchTerms, BATCH), (StoredFile, FILE), (StoredResponse, RESPONSE), (ClientKey, KEY),
]  # fmt: skip
MOMENTS = [(kind, row, name) for kind, row in STORED for name in row if name.endswith("_at") or name == "deadline"]


@pytest.mark.parametrize(("kind", "row", "name"), MOMENTS, ids=lambda value: getattr(value, "__name__", None))
@pytest.mark.parametrize("moment", [-1, 253402300800, 2**63, 10**30, 1e308, -1e300])
def test_a_moment_that_no_calendar_has_makes_its_record_unreadable(
    kind: Any, row: dict[str, Any], name: str, moment: float
) -> None:
    assert read_model(kind, json.dumps(row).encode()) is not None
    assert read_model(kind, json.dumps({**row, name: moment}).encode()) is None
