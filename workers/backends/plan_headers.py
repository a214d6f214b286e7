"""The used shares of a subscription, which providers name in the headers of their responses. Pure.

Claude: `anthropic-ratelimit-unified-5h-utilization: 0.81`, `-5h-status` and `-5h-reset` (epoch seconds), and the same
for `7d`. Codex: `x-codex-primary-used-percent: 81`, `-window-minutes` and `-reset-after-seconds`, and the same for
`secondary`. A header that cannot be read is as if it were missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from openfall.router_core.deciding.subscription_limits import MAX_PAUSE_SECONDS, PlanShare
from openfall.workers.backends.retry_after import until

_CLAUDE = "anthropic-ratelimit-unified-"
_CLAUDE_WINDOWS = (("5h", 18_000), ("7d", 604_800))
_CODEX_WINDOWS = ("primary", "secondary")
_MAX_SHARE = 2.0
"""A larger share is no share: a provider that lets calls exceed a limit reports little more than 1."""


def read_plan_shares(headers: Mapping[str, str]) -> tuple[PlanShare, ...]:
    """The used share of each window, as far as the headers name it. `headers` ignore case."""
    return (*_of_claude(headers), *_of_codex(headers))


def _of_claude(headers: Mapping[str, str]) -> Iterator[PlanShare]:
    for number, (window, length) in enumerate(_CLAUDE_WINDOWS, start=1):
        name = f"{_CLAUDE}{window}"
        share = _number(headers.get(f"{name}-utilization", ""))
        if headers.get(f"{name}-status", "").strip() == "rejected":
            share = 1.0
        if share is not None and share <= _MAX_SHARE:
            wait = until(headers.get(f"{name}-reset", ""), headers.get("date", ""))
            yield _share(number, length, share, wait)


def _of_codex(headers: Mapping[str, str]) -> Iterator[PlanShare]:
    for number, window in enumerate(_CODEX_WINDOWS, start=1):
        name = f"x-codex-{window}"
        percent, minutes = (_number(headers.get(f"{name}-{last}", "")) for last in ("used-percent", "window-minutes"))
        length = round((minutes or 0.0) * 60)
        if percent is not None and percent <= 100 * _MAX_SHARE and 0 < length <= MAX_PAUSE_SECONDS:
            yield _share(number, length, percent / 100, _number(headers.get(f"{name}-reset-after-seconds", "")))


def _share(number: int, length: int, share: float, wait: float | None) -> PlanShare:
    """A window resets after its length at the latest, also if its reset is not named."""
    resets_in = length if wait is None else min(round(wait), length)
    return PlanShare(number, length, round(1000 * min(share, 1.0)), resets_in)


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,9}(\.\d{1,20})?", text := text.strip(), re.ASCII) else None
