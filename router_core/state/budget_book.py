"""Budgets as the scripts read them, and as they stand in Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from pydantic_core import to_json

from openfall.router_core.catalog.budget_windows import NEVER_ENDS, BudgetWindow, earlier_windows, windows_from
from openfall.router_core.catalog.budgets import Budget
from openfall.router_core.catalog.prices import nanodollars
from openfall.router_core.deciding.forecast import EARLIER_WINDOWS, Forecast, forecast
from openfall.router_core.jobs.over_budget import OverBudget, OverCause, describe_sums
from openfall.router_core.routing.fleet_state import FOREVER, SpentBudget
from openfall.router_core.routing.spent_budgets import budget_key
from openfall.router_core.state import keys
from openfall.router_core.state.decoding import read_moment, read_number, read_text
from openfall.router_core.state.redis_connection import RedisConnection, pairs
from openfall.router_core.state.unreadable_notes import note_unreadable
from openfall.router_core.vocabulary import Urgency

WINDOWS = 4
"""Windows that a script gets of each budget: it takes the first that has not ended on its own clock."""
EARLIER_SECONDS = 129_600.0
"""How much earlier the first of them is: the caller's own clock may be wrong by a day before its first claim."""
AUDIT_MS = 60_000
SUMS = ("spent", "reserved", "unconfirmed", "calls", "refused", "needed")
"""The sums of a window, in their order there: the last two only of a window that has refused calls."""
_SUM_BYTES, _LENGTHS, _TOO_LARGE = 8, (32, 48), 2**53


class BudgetBook:
    """The budgets of a catalog, packed for the scripts. They are packed again when a window has ended."""

    def __init__(self, budgets: Sequence[Budget]) -> None:
        self._budgets = budgets
        self._packed, self._until = b"", 0.0

    def pack(self, now: float) -> bytes:
        """The budgets, with their windows from `now` (epoch seconds) on. Empty: there are none."""
        if self._budgets and not self._until - EARLIER_SECONDS <= now < self._until:
            windows = {budget.name: self._windows(budget, now) for budget in self._budgets}
            self._until = min(ends for rows in windows.values() for _, ends, _ in rows if ends > now * 1000) / 1000
            self._packed = to_json({budget.name: _pack(budget, windows[budget.name]) for budget in self._budgets})
        return self._packed

    def _windows(self, budget: Budget, now: float) -> list[tuple[str, int, int]]:
        windows = windows_from(budget.per, ZoneInfo(budget.timezone), now - EARLIER_SECONDS, WINDOWS)
        return [(window.name, int(window.ends_at * 1000), int(window.starts_at * 1000)) for window in windows]


def _pack(budget: Budget, windows: list[tuple[str, int, int]]) -> dict[str, Any]:
    limit = nanodollars(budget.usd)
    conditions = {name: getattr(budget, name) for name in ("group", "role", "task", "producer", "each")}
    return {
        "limit": limit,
        "others_limit": int(limit * (1 - budget.reserved_interactive)),
        "windows": windows,
        **{name: str(value) for name, value in conditions.items() if value is not None},
    }


def read_over(text: str) -> OverBudget | None:
    """Read what a script says of a call that does not fit; None: it fits, or the text cannot be read."""
    words = text.split(" ")
    if len(words) != 8 or words[2] not in set(OverCause):
        if text:
            note_unreadable("names a budget in another shape")
        return None
    until = min(read_moment(words[1].encode()), NEVER_ENDS)
    spent, reserved, unconfirmed, limit, bound = (read_number(word.encode()) for word in words[3:])
    return OverBudget(words[0], until, OverCause(words[2]), spent, reserved, unconfirmed, limit, bound)


def write_over(over: OverBudget) -> str:
    """The text that `read_over` reads."""
    sums = (over.spent, over.reserved, over.unconfirmed, over.limit, over.bound)
    return " ".join(map(str, (over.budget, int(over.until * 1000), over.cause, *sums)))


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """A window of a budget, in nanodollars. `owner`: its group, producer or role; empty: all callers. `limit` contains
    what it was raised by. `refused` counts the claims whose call did not fit; the last of them may cost `needed` (0: a
    call has fitted since). `forecast` None: nothing is known yet."""

    budget: Budget
    window: str
    ends_at: float
    limit: int
    starts_at: float = 0.0
    owner: str = ""
    spent: int = 0
    reserved: int = 0
    unconfirmed: int = 0
    calls: int = 0
    refused: int = 0
    needed: int = 0
    forecast: Forecast | None = None

    @property
    def left(self) -> int:
        """What a further call may cost at most."""
        return max(0, self.limit - self.spent - self.reserved - self.unconfirmed)

    @property
    def is_spent(self) -> bool:
        """Whether the next call does not fit, also when those in flight have ended."""
        return self.limit - self.used < max(1, self.needed)

    @property
    def used(self) -> int:
        """What is spent, or may have been billed."""
        return self.spent + self.unconfirmed


def spent_budgets(states: Sequence[BudgetState], urgency: Urgency) -> dict[str, SpentBudget]:
    """The budgets that have nothing left for calls of an urgency."""
    spent = {}
    for state in states:
        share = 0.0 if urgency is Urgency.INTERACTIVE else state.budget.reserved_interactive
        if state.used >= int(state.limit * (1 - share)):
            until = FOREVER if state.ends_at >= NEVER_ENDS else state.ends_at
            key = budget_key(state.budget.name, state.owner)
            spent[key] = SpentBudget(until, f"budget {key} is spent: {describe_sums(state.used, state.limit)}")
    return spent


async def list_budgets(
    link: RedisConnection, budgets: Sequence[Budget], now: float, *, forecasts: bool = True
) -> list[BudgetState]:
    """The present window of each budget; of a budget for `each`, that of each which has had a call in it. A forecast
    reads earlier windows too."""
    raises = pairs(await link.command("HGETALL", keys.BUDGET_RAISES))
    members = await link.command("ZRANGEBYSCORE", keys.BUDGETS, f"({now * 1000:.0f}", "+inf")
    with link.notes.reading(keys.BUDGETS):
        started = list(map(read_text, members))
    earlier = EARLIER_WINDOWS if forecasts else 0
    rows = [row for budget in budgets for row in _rows(budget, started, now, earlier)]
    names = [name for row in rows for name in row.fields]
    packed = dict(zip(names, await link.command("HMGET", keys.BUDGET_SUMS, *names), strict=True)) if names else {}
    with link.notes.reading(keys.BUDGET_RAISES):
        raised = {name: _raised(row, now) for name, row in raises.items()}
    with link.notes.reading(keys.BUDGET_SUMS):
        return [_state(row, packed, raised, now) for row in rows]


@dataclass(frozen=True, slots=True)
class _Row:
    """A window whose sums are read, and the fields of windows before that are like it."""

    budget: Budget
    window: BudgetWindow
    owner: str
    field: str
    earlier: tuple[str, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.field, *self.earlier)


def _rows(budget: Budget, started: Sequence[str], now: float, windows_before: int) -> list[_Row]:
    zone = ZoneInfo(budget.timezone)
    window = windows_from(budget.per, zone, now, 1)[0]
    earlier = earlier_windows(budget.per, zone, now, windows_before)
    start = f"{budget.name}:{window.name}"
    own = [start] if budget.each is None else [row for row in started if row.startswith(f"{start}:")]
    rows = []
    for name in own:
        suffix = name.removeprefix(start)
        before = tuple(f"{budget.name}:{window}{suffix}" for window in earlier)
        rows.append(_Row(budget, window, unquote(suffix.removeprefix(":").replace("=", "%")), name, before))
    return rows


def _state(row: _Row, packed: Mapping[str, bytes | None], raised: Mapping[str, int], now: float) -> BudgetState:
    budget, sums = row.budget, _read_sums(packed[row.field])
    limit = nanodollars(budget.usd) + raised.get(budget.name, 0)
    used = sums.get("spent", 0) + sums.get("unconfirmed", 0)
    earlier = [_read_sums(before).get("spent", 0) for name in row.earlier if (before := packed[name]) is not None]
    return BudgetState(
        budget=budget,
        window=row.window.name,
        ends_at=row.window.ends_at,
        starts_at=row.window.starts_at,
        limit=limit,
        owner=row.owner,
        forecast=forecast(row.window, now, used, limit, earlier),
        **sums,
    )


def _read_sums(packed: bytes | None) -> dict[str, int]:
    """The sums of a window as budget_sums.lua writes them; none of one that has had no call, or cannot be read."""
    if packed is None:
        return {}
    if len(packed) not in _LENGTHS:
        note_unreadable("has another length")
        return {}
    sums = [int.from_bytes(packed[at : at + _SUM_BYTES], "little") for at in range(0, len(packed), _SUM_BYTES)]
    if sum(sums[:4]) >= _TOO_LARGE:
        note_unreadable("is out of range")
        return {}
    return {name: value for name, value in zip(SUMS, sums, strict=False) if value < _TOO_LARGE}


def _raised(row: bytes, now: float) -> int:
    """The sum of the raises that have not ended: see budget_raises.lua."""
    words = row.split(b" ")
    if len(words) % 2:
        note_unreadable("is no list of raises")
    return sum(read_number(by) for by, until in zip(words[::2], words[1::2], strict=False) if read_moment(until) > now)


async def raise_budget(link: RedisConnection, name: str, by: int, until: float) -> int:
    """Raise the limit of a budget by `by` nanodollars more, until a moment (epoch seconds); 0 ends all raises of the
    budget. Returns what it is raised by now. Held jobs that wait for a budget are examined again. It works also when
    the memory of Redis is full."""
    return int(await link.script("budget_raise", {"name": name, "by": by, "ends": int(until * 1000)}))


async def examine_held_for_budgets(link: RedisConnection) -> None:
    """Let held jobs that wait for a budget be examined again: a changed configuration may have raised its limit."""
    await link.script("budget_raise", {})


async def audit_budgets(link: RedisConnection) -> list[str]:
    """Compare what budgets have reserved with the calls in flight, once a minute for the whole fleet; correct it.
    Returns the budgets that were corrected."""
    return [read_text(row) for row in await link.script("budget_audit", {"check_ms": AUDIT_MS})]
