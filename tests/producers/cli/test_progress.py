"""The bar of a long command in terminals of every width."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console
from rich.progress import Progress

from openfall.producers.cli.progress import columns


@pytest.mark.parametrize("width", [40, 63, 64, 80, 99, 100, 200])
def test_a_bar_cuts_no_number(width: int) -> None:
    shown = StringIO()
    console = Console(file=shown, force_terminal=True, width=width, no_color=True)
    with Progress(*columns(width), console=console, auto_refresh=False) as bar:
        task = bar.add_task("done", total=20_000, detail="")
        bar.update(task, completed=14_600, detail="95.3/s, 0 failed", refresh=True)
    assert "14600/20000" in shown.getvalue()
    assert "95.3/s, 0 failed" in shown.getvalue()
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown.getvalue()
    assert ("left" in shown.getvalue()) == (width >= 64)
