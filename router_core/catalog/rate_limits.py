"""The limits of a provider as the claim counts them: calls and tokens a minute, of each key of a backend.

The rule is GCRA, the generic cell rate algorithm (ITU-T I.371, annex A): a token bucket that needs one number, the
moment at which the bucket is full again. Each call moves it by its cost in milliseconds. A call may start when the
bucket has its cost. The bucket holds `burst` of a minute's limit and gets the rest within a minute, so no minute has
more than the limit.

A call with more tokens than the bucket holds starts when the bucket is full, and the calls after it wait until it is
paid back. It costs so much that a minute of such calls has no more than the limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from openfall.router_core.catalog.backend_entry import Backend

MINUTE_MS = 60_000.0


@dataclass(frozen=True, slots=True)
class Rate:
    """One limit. `unit_ms` is the cost of one call, or of one token; `burst_ms` is what the bucket holds.

    `tokens`: it counts tokens, not calls. `others`: it counts only calls that are not interactive. The scripts read it
    as it is."""

    name: str
    per_minute: int
    unit_ms: float
    burst_ms: float
    tokens: bool = False
    others: bool = False

    @property
    def text(self) -> str:
        """The limit for people."""
        noun = f"{'token' if self.tokens else 'request'}{'' if self.per_minute == 1 else 's'}"
        text = f"limit of {self.per_minute:,} {noun} a minute"
        return f"{text} for jobs that are not interactive" if self.others else text

    def cost_ms(self, tokens: int) -> float:
        """What a call with `tokens` costs. No call costs more than a minute's limit: it could never start."""
        if not self.tokens:
            return self.unit_ms
        counted = min(tokens, self.per_minute)
        alone = MINUTE_MS if 2 * counted >= self.per_minute else MINUTE_MS * counted / (self.per_minute - counted)
        return max(counted * self.unit_ms, alone)


def rates_for(backend: Backend) -> tuple[Rate, ...]:
    """The limits of each key of a backend.

    Where a backend reserves slots for interactive jobs, the same share of its limits is reserved: the other jobs have
    limits of their own."""
    rates = list(_rates(backend, 1.0, ""))
    if backend.reserved_interactive:
        rates += _rates(backend, 1 - backend.reserved_interactive / backend.slots, "other-")
    return tuple(rates)


def _rates(backend: Backend, share: float, prefix: str) -> Iterator[Rate]:
    others = bool(prefix)
    if backend.requests_per_minute is not None:
        limit = max(1, int(backend.requests_per_minute * share))
        burst = max(1, int(limit * backend.burst))
        unit_ms = MINUTE_MS / (limit - burst + 1)  # calls are whole: the last one of a minute needs no wait after it
        yield Rate(f"{prefix}requests", limit, unit_ms, burst * unit_ms, others=others)
    if backend.tokens_per_minute is not None:
        limit = max(1, int(backend.tokens_per_minute * share))
        unit_ms = MINUTE_MS / (limit * (1 - backend.burst))
        yield Rate(f"{prefix}tokens", limit, unit_ms, limit * backend.burst * unit_ms, tokens=True, others=others)


@dataclass(frozen=True, slots=True)
class ChargedCall:
    """What the claim charged for a call: to the limits of a key (empty: the backend has none), by an estimate of its
    tokens."""

    key: str
    interactive: bool
    tokens: int


def corrections(
    rates: Sequence[Rate], charged: ChargedCall, used_tokens: int | None, *, called: bool
) -> dict[str, float]:
    """By how many milliseconds each bucket must be moved after a call.

    `used_tokens` were counted by the provider (None: unknown, so the estimate stays). Not `called`: everything is given
    back."""
    moved = {}
    for rate in rates:
        if rate.others and charged.interactive:
            continue
        estimate = rate.cost_ms(charged.tokens)
        cost = 0.0 if not called else estimate if used_tokens is None else rate.cost_ms(used_tokens)
        if cost != estimate:
            moved[f"{charged.key} {rate.name}"] = cost - estimate
    return moved
