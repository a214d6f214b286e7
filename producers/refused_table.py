"""The requests that the gateway refused today: for `openfall keys refused`, `status`, `top` and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from openfall.producers.amount_text import plural
from openfall.producers.duration_text import format_age
from openfall.producers.gateway.error_table import TABLE
from openfall.producers.table import Table
from openfall.router_core.state.client_keys import OF_THE_GATEWAY, OF_THE_PAGE
from openfall.router_core.state.refused_requests import NO_KEY, RefusedRequests

COLUMNS = ("key", "cause", "HTTP", "today", "last", "what helps")
MAX_NAMED = 3

REMEDIES: Mapping[str, str] = {
    "no_key": "its caller sends a known key: openfall keys list, keys new",
    "not_allowed": "a key with this right: openfall keys list has what each may do",
    "local_only": "openfall local-only off, or a local model for the role",
    "rate_limit": "fewer requests, or a key with a higher limit (a minute, at once)",
    "queue_full": "more workers, or a higher max_queued of the urgency",
    "rate_limited": "its provider limits the model: fewer requests, or a further model in the chain",
    "budget": "openfall budgets raise NAME USD",
    "unknown_model": "its caller names a role, task or model of the configuration",
    "unknown_url": "its caller uses an address of /docs",
    "wrong_method": "its caller uses an address of /docs",
    "not_found": "nothing: what its caller asks for has ended, or was never there",
    "too_large": "a shorter request, or a higher gateway: {max_body}",
}
"""What ends each cause. For any other the response names the field of the request that is wrong."""


_SHOWN = {NO_KEY: "no known key", OF_THE_GATEWAY: "gateway without keys", OF_THE_PAGE: "page without a key"}
"""The callers that have no key: at a gateway that demands none, and visitors of the page."""


def refused_table(refused: Sequence[RefusedRequests], now: float) -> Table:
    rows = [
        (_SHOWN.get(row.key, row.key), row.cause,
         str(TABLE[row.cause].status) if row.cause in TABLE else "-", row.count,
         f"{format_age(max(0.0, now - row.last_at))} ago" if row.last_at else "-",
         REMEDIES.get(row.cause, "its caller corrects the request: the response says how"))
        for row in refused
    ]  # fmt: skip
    return Table(columns=COLUMNS, rows=rows, if_empty="no request was refused today (UTC)")


_OF = {NO_KEY: "without a known key", OF_THE_GATEWAY: "without a key", OF_THE_PAGE: "of the page"}


def describe_refused(refused: Sequence[RefusedRequests]) -> str:
    """`142 requests were refused today: 130 of anna (rate_limit), 12 without a known key (no_key)`. Empty: none was."""
    if not refused:
        return ""
    named = [f"{row.count:,} {_OF.get(row.key, f'of {row.key}')} ({row.cause})" for row in refused[:MAX_NAMED]]
    if rest := sum(row.count for row in refused[MAX_NAMED:]):
        named.append(f"{rest:,} more")
    total = sum(row.count for row in refused)
    return f"{plural(total, 'request')} {'was' if total == 1 else 'were'} refused today: {', '.join(named)}"
