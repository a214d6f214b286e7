"""The lines of a run that cannot be submitted. One with a custom id of its own has an error row in the output file, as
long as it is wrong. The others are only named, with their numbers, since rows without an id look alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.producers.local_batches.batch_file_lines import InvalidLine, refusal_row
from openfall.producers.local_batches.output_journal import Journal


class RefusedLines:
    """`earlier` has the row ids of lines that earlier runs refused, by custom id."""

    def __init__(self, earlier: Mapping[str, str]) -> None:
        self._earlier = dict(earlier)
        self._new_rows: list[dict[str, Any]] = []

    def add(self, line: InvalidLine) -> None:
        """Refuse a line. Its row is written by the next `write`, unless the file has it already."""
        row = refusal_row(line)
        if line.custom_id is not None and self._earlier.get(line.custom_id) != row["id"]:
            self._new_rows.append(row)

    def write(self, journal: Journal, accepted: set[str]) -> None:
        """Write the new rows. Remove those of lines that are accepted now (by custom id), or refused for another
        reason."""
        rows, self._new_rows = self._new_rows, []
        outdated = self._earlier.keys() & (accepted | {row["custom_id"] for row in rows})
        journal.remove((), outdated)
        for custom_id in outdated:
            del self._earlier[custom_id]
        journal.add(rows)
