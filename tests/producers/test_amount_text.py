"""Amounts of money and of time for people."""

from __future__ import annotations

import pytest

from openfall.producers.amount_text import format_seconds, format_usd


@pytest.mark.parametrize(
    ("usd", "shown"),
    [(None, "$?"), (0, "$0"), (1e-8, "<$0.0000001"), (0.0000105, "$0.0000105"), (0.000421, "$0.000421"), (0.1, "$0.10"),
     (0.105, "$0.105"), (0.21, "$0.21"), (1.2, "$1.20"), (12.5, "$12.50")],
)  # fmt: skip
def test_an_amount_has_the_digits_with_which_a_few_add_up(usd: float | None, shown: str) -> None:
    assert format_usd(usd) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0.0, "0.0s"), (0.0342, "0.034s"), (0.1, "0.1s"), (12.34, "12.3s")])
def test_a_time_below_a_tenth_of_a_second_is_not_zero(seconds: float, shown: str) -> None:
    assert format_seconds(seconds) == shown
