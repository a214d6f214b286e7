"""When a card is thrashing: its loads, added up over a window."""

from __future__ import annotations

import pytest

from openfall.router_core.placement.thrashing import is_thrashing


@pytest.mark.parametrize(
    ("loads", "thrashes"),
    [
        ([], False),
        ([(900.0, 100.0), (700.0, 100.0)], False),  # exactly a third of 600 s
        ([(900.0, 100.0), (700.0, 101.0)], True),
        ([(0.0, 399.0)], False),  # before the window
        ([(300.0, 301.0)], True),  # of which 201 s are within it
    ],
)
def test_a_card_thrashes_when_loads_took_more_than_their_share_of_the_window(loads, thrashes) -> None:
    assert is_thrashing(loads, 1000.0) is thrashes
