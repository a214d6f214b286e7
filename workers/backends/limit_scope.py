"""The scope of a limit that refuses a call (what it counts), by the words, codes and headers of the refusal. Pure.

Providers refuse a call for the limit of one model (Gemini's quotas `PerModel`, Groq's tokens of a day, OpenRouter's
free models, Copilot's premium requests, Claude's Opus week) and for that of a key (a plan, an account, an organization)
with the same status. Words about a model come first: many such refusals name the account too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from openfall.router_core.jobs.outcome import RefusedLimit
from openfall.router_core.vocabulary import LimitScope

MODEL_CODES = "openrouter_free_tier_daily user_model_rate_limited"
MODEL_TEXT = (
    r"per[ _-]?(base[ _-]?)?model|free-models-per-|temporarily rate-limited upstream|for team \S+ and model \S"
    r"|\blimit: \d+, model: \S"
    r"|premium (model |interaction|request)|\b(opus|sonnet|haiku|fable)( \d[\w.]*)? (weekly |usage )?limit"
    r"|limit (reached|exceeded) for (model )?\S+ (\([^)]{1,80}\) )?in organi[sz]ation"
    r"|((usage|rate|daily|weekly|monthly|request) limit|quota)s? (of|for|on) (this|the|that|your) (\S+ )?model"
    r"|(this|the|that) model('s)? .{0,40}((usage|rate|daily|weekly|monthly) limit|quota)"
)
_KEY_TEXT = (
    r"\b(accounts?|organi[sz]ation|workspace|project|subscription|plan|quota|membership|billing|credits?"
    r"|(api|your|this|trial) key)\b|usage[ _]limit"
)
_LASTING_TEXT = (
    r"(per|this)[ _-]?(day|week|month)|daily|weekly|monthly|\ballowance|/ ?(day|week|month)\b|\b[TR]PD\b"
    r"|five_hour|seven_day"
    r"|\b[57][ -]?(hour|day)|usage[ _]limit"
)
_UNIFIED = "anthropic-ratelimit-unified-"
_KEY_CLAIMS = ("five_hour", "seven_day")


def find_limit(headers: Mapping[str, str], codes: frozenset[str], message: str) -> RefusedLimit:
    """The limit of a refused call. `headers` ignore case; `codes` are lower case."""
    subscription = _of_claude(headers) or _of_codex(headers)
    if subscription is not None:
        return subscription
    text = " ".join((*sorted(codes), message))
    is_lasting = _has(_LASTING_TEXT, text)
    if codes & frozenset(MODEL_CODES.split()) or _has(MODEL_TEXT, text):
        return RefusedLimit(LimitScope.MODEL, is_lasting)
    return RefusedLimit(LimitScope.KEY if _has(_KEY_TEXT, text) else LimitScope.UNKNOWN, is_lasting)


def _of_claude(headers: Mapping[str, str]) -> RefusedLimit | None:
    """A subscription to Claude names the limit that decides (`five_hour`, `seven_day_opus`). Without a name it is that
    of a model if none of the two limits of the account is used up."""
    if headers.get(f"{_UNIFIED}status", "").strip() != "rejected":
        return None
    claim = headers.get(f"{_UNIFIED}representative-claim", "").strip()
    states = [headers.get(f"{_UNIFIED}{window}-status", "").strip() for window in ("5h", "7d")]
    of_key = claim in _KEY_CLAIMS if claim else "rejected" in states or "" in states
    return RefusedLimit(LimitScope.KEY if of_key else LimitScope.MODEL, is_lasting=True)


def _of_codex(headers: Mapping[str, str]) -> RefusedLimit | None:
    """A subscription to Codex has two windows, and says how much of each is used."""
    shares = [headers.get(f"x-codex-{window}-used-percent", "") for window in ("primary", "secondary")]
    is_out = any(re.fullmatch(r"1\d\d(\.\d+)?", share.strip()) for share in shares)
    return RefusedLimit(LimitScope.KEY, is_lasting=True) if is_out else None


def _has(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.IGNORECASE) is not None
