"""The receipt of an answer: who answered, why, after how many tries. As headers, and as `openfall` in bodies."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from openfall.router_core.jobs.result import Result

MAX_REASON_BYTES = 300


def receipt_of(result: Result) -> dict[str, Any]:
    """The receipt for the body of a response."""
    return {
        "job": result.id,
        "status": str(result.status),
        "model_used": result.model if result.answered else None,
        "backend": result.backend if result.answered else None,
        "fallback_used": result.fallback_used,
        "attempts": len(result.attempts),
        "selection_reason": result.selection_reason,
        "refused": result.refused,
        "degraded": result.degraded,
        "degraded_by": None if result.degraded_by is None else str(result.degraded_by),
        "final": result.final,
        "held_for": None if result.held_for is None else str(result.held_for),
        "waited_ms": round(result.waited * 1000),
        "latency_ms": result.latency_ms,
        "cost_usd": result.cost_usd,
    }


def receipt_headers(result: Result, *, joined: bool = False) -> dict[str, str]:
    """The receipt as headers. `reason` is percent-encoded: it may have words of any language."""
    fields: dict[str, Any] = {
        "job": result.id,
        "status": str(result.status),
        "model": result.model if result.answered else None,
        "backend": result.backend if result.answered else None,
        "attempts": len(result.attempts),
        "fallback": _flag(result.fallback_used),
        "degraded": str(result.degraded_by) if result.degraded_by else None,
        "final": _flag(result.final),
        "joined": "true" if joined else None,
        "waited-ms": round(result.waited * 1000),
        "took-ms": result.latency_ms,
        "cost-usd": None if result.cost_usd is None else f"{result.cost_usd:.9f}".rstrip("0").rstrip("."),
        "reason": _encoded(result.selection_reason),
    }
    return {f"x-openfall-{name}": str(value) for name, value in fields.items() if value is not None}


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _encoded(text: str) -> str:
    """Percent-encoded UTF-8 of at most `MAX_REASON_BYTES`, cut between characters."""
    return quote(text.encode()[: MAX_REASON_BYTES // 3].decode(errors="ignore"), safe=" ,;:()=+.'")
