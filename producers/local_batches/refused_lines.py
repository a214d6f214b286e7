"""The lines of a run that cannot be submitted: each has one error row in the output file, as long as it is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openfall.producers.local_batches.batch_file_lines import InvalidLine, refusal_row, refused_line_number
from openfall.producers.local_batches.output_journal import Journal, line_key


class RefusedLines:
    """`earlier` has the row ids of lines that earlier runs refused, by `line_key`."""

    def __init__(self, earlier: Mapping[str, str]) -> None:
        self._earlier = dict(earlier)
        self._keys: set[str] = set()
        self._new_rows: list[dict[str, Any]] = []

    def add(self, line: InvalidLine) -> None:
        """Refuse a line. Its row is written by the next `write`, unless the file has it already."""
        row = refusal_row(line)
        self._keys.add(line_key(row))
        if self._earlier.get(line_key(row)) != row["id"]:
            self._new_rows.append(row)

    def write(self, journal: Journal, accepted: set[str]) -> None:
        """Write the new rows. Remove those of lines that are accepted now (by custom id), or refused for another
        reason."""
        rows, self._new_rows = self._new_rows, []
        self._remove(journal, accepted | set(map(line_key, rows)))
        journal.add(rows)

    def write_last(self, journal: Journal, last_number: int) -> None:
        """As `write`, after the last line. Also remove the rows of lines without a custom id of their own that this run
        has read and not refused: they were corrected."""
        numbers = {key: refused_line_number(key) for key in self._earlier.keys() - self._keys}
        self.write(journal, {key for key, number in numbers.items() if number is not None and number <= last_number})

    def _remove(self, journal: Journal, keys: set[str]) -> None:
        outdated = self._earlier.keys() & keys
        journal.remove((), outdated)
        for key in outdated:
            del self._earlier[key]
