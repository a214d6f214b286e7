"""Tables at several widths of the terminal: no word is broken, nothing is left out."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from rich.cells import cell_len
from rich.console import Console

from openfall.producers.cli.tables import show_table, table
from tests.producers.cli.conftest import Run

COLUMNS = ("breaker", "state", "since", "opened", "cause", "why")
ROWS: Sequence[tuple[object, ...]] = (
    (
        "tower/coder-32b",
        "open, next probe in 24s",
        "3m",
        4,
        "connection (connection refused)",
        "3 calls failed in a row",
    ),
    ("anthropic/haiku", "closed", "-", 1234567, "-", ""),
    ("rack/日本語モデル", "half open", "2h", 0, "timeout", "no first token within 5 s"),
)
WORDS = [word for row in (COLUMNS, *ROWS) for cell in row for word in str(cell).split()]


def shown(width: int, columns: tuple[str, ...] = COLUMNS, rows: Sequence[tuple[object, ...]] = ROWS) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, markup=False, emoji=False, highlight=False).print(table(columns, rows, width))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [200, 120, 100, 80, 72, 60, 50, 40])
def test_no_word_is_broken_and_nothing_left_out_at_any_width(width: int) -> None:
    lines = shown(width)
    assert all(cell_len(line.rstrip()) <= width for line in lines)
    words = " ".join(lines).split()
    assert [word for word in WORDS if word not in words and word != "breaker"] == []


def test_a_wide_terminal_shows_a_row_in_one_line_and_a_narrow_one_wraps_at_spaces() -> None:
    assert any(all(str(cell) in line for cell in ROWS[0]) for line in shown(200))
    assert "state" in shown(80)[0] or "state" in shown(80)[1]


def test_a_terminal_that_is_too_narrow_for_a_table_shows_a_block_for_each_row() -> None:
    lines = shown(40)
    assert [line for line in lines if not line.startswith(" ")] == [
        "tower/coder-32b",
        "anthropic/haiku",
        "rack/日本語モデル",
    ]
    assert any(line.split() == ["opened", "1234567"] for line in lines)


def test_a_name_that_is_longer_than_the_terminal_is_shown_to_its_end() -> None:
    name = "gpu.a-model-with-a-very-long-name-indeed.interactive"
    assert "".join(shown(30, ("queue", "waiting"), [(name, 3)])[:2]) == name


@pytest.mark.parametrize("width", [60, 40])
def test_a_table_without_room_names_the_columns_that_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    show_table(COLUMNS, ROWS, narrow=2)
    out, err = capsys.readouterr()
    left_out = err.removeprefix("no room for ").partition(":")[0].split(", ")
    assert (*out.splitlines()[0].split(), *left_out) == COLUMNS


@pytest.mark.parametrize("width", ["80", "60", "40"])
def test_a_queue_is_shown_whole_at_every_width(openfall: Run, environment: dict[str, str], width: str) -> None:
    openfall("enqueue", "-", "-u", "interactive", "-m", "tiny", stdin="one")
    environment["COLUMNS"] = width
    for command in ("queues", "status"):
        lines = openfall(command).stdout.splitlines()
        assert any(line.startswith("gpu.tiny.interactive") for line in lines)
