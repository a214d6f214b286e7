"""`openfall status` counts the values in Redis that could not be read, and its JSON lists them."""

from __future__ import annotations

import json
from typing import Any

from openfall.router_core.state import keys
from tests.producers.cli.conftest import Run


def test_values_that_could_not_be_read_are_listed(openfall: Run, store: Any) -> None:
    assert json.loads(openfall("status", "--json").stdout)["unreadable"] == []
    notes = [{"at": 1000, "what": "of:job:x state", "why": "is no number"}, "no object"]
    store.lpush(keys.UNREADABLE, *(json.dumps(note) for note in notes))
    store.hset(keys.COUNTERS, "unreadable", 1)
    assert "1 value in Redis could not be read (status --json lists them)" in openfall("status").stdout
    (value,) = json.loads(openfall("status", "--json").stdout)["unreadable"]
    assert (value["place"], value["why"]) == ("of:job:x state", "is no number")
