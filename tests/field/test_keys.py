"""The table of former configuration keys, by which checks from outside this repository write their files."""

from __future__ import annotations

import json
from pathlib import Path

from openfall.config.former_keys import RENAMED


def test_the_table_of_former_keys_agrees_with_the_names_that_the_configuration_refuses() -> None:
    table = json.loads(Path(__file__).with_name("keys.json").read_text())
    renamed = {(former, present) for names in RENAMED.values() for former, present in names.items()}

    assert table
    assert set(table.items()) <= renamed
