"""The used share of a subscription, in the headers of Claude and Codex."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from openfall.router_core.deciding.subscription_limits import PlanShare
from openfall.workers.backends.plan_headers import read_plan_shares

DATE = "Mon, 30 Nov 2026 00:00:00 GMT"
NOW = 1_795_996_800
CLAUDE = "anthropic-ratelimit-unified-5h"
CODEX = "x-codex-primary"


def read(**headers: str) -> tuple[PlanShare, ...]:
    return read_plan_shares(CIMultiDict({"Date": DATE} | headers))


def test_claude_names_both_windows_with_their_resets():
    assert read(**{
        f"{CLAUDE}-utilization": "0.8125", f"{CLAUDE}-status": "allowed", f"{CLAUDE}-reset": str(NOW + 600),
        "Anthropic-RateLimit-Unified-7d-Utilization": "0.02",
    }) == (PlanShare(1, 18_000, 812, 600), PlanShare(2, 604_800, 20, 604_800))  # fmt: skip


def test_codex_names_both_windows_with_their_lengths_and_resets():
    assert read(**{
        f"{CODEX}-used-percent": "81.5", f"{CODEX}-window-minutes": "300", f"{CODEX}-reset-after-seconds": "90",
        "x-codex-secondary-used-percent": "100", "x-codex-secondary-window-minutes": "10080",
    }) == (PlanShare(1, 18_000, 815, 90), PlanShare(2, 604_800, 1000, 604_800))  # fmt: skip


def test_a_rejected_window_is_used_up_and_a_share_above_1_is_1():
    assert [share.permille for share in read(**{f"{CLAUDE}-status": "rejected"})] == [1000]
    assert [share.permille for share in read(**{f"{CLAUDE}-utilization": "1.04"})] == [1000]


@pytest.mark.parametrize("text", ["", "nan", "-0.5", "0.5, 0.6", "81", "1e3", "٠.5", "inf", "0x1", "9" * 400, "0.5%"])
def test_a_share_that_cannot_be_read_is_ignored(text):
    assert read(**{f"{CLAUDE}-utilization": text}) == ()


@pytest.mark.parametrize(
    ("percent", "minutes"),
    [("50", ""), ("50", "0"), ("50", "-5"), ("50", "many"), ("50", "999999999"), ("201", "300"), ("x", "300")],
)
def test_a_window_of_codex_needs_a_share_and_a_length(percent, minutes):
    assert read(**{f"{CODEX}-used-percent": percent, f"{CODEX}-window-minutes": minutes}) == ()


@pytest.mark.parametrize("reset", ["", "soon", "-1", str(NOW + 10**8)])
def test_a_reset_that_cannot_be_read_or_is_too_late_is_a_whole_window_away(reset):
    (share,) = read(**{f"{CLAUDE}-utilization": "0.5", f"{CLAUDE}-reset": reset})
    assert share.resets_in_seconds == 18_000


def test_the_headers_of_other_providers_name_no_share():
    assert read(**{"x-ratelimit-remaining-tokens": "10", "anthropic-ratelimit-tokens-remaining": "0"}) == ()
