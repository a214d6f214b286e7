"""The events of a job in words, for a caller that waits for its answer. Each text says only what is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_NEWS = frozenset({"loading", "scheduled", "fallen"})


def is_news(event: Mapping[str, Any]) -> bool:
    """Whether the event is worth a line of its own: a model is being loaded, or a call has failed."""
    return event["event"] in _NEWS or (event["event"] == "queued" and "why" in event)


def describe_event(event: Mapping[str, Any]) -> str:
    """What happens to the job now."""
    describe = _TEXTS.get(event["event"])
    return describe(event) if describe is not None else "being answered"


def _describe_wait(event: Mapping[str, Any]) -> str:
    why = f"{event['why']}; " if "why" in event else ""
    place = f", number {event['position']} in the queue" if "position" in event else ""
    return f"{why}waiting for {_model(event)}{place}"


def _model(event: Mapping[str, Any]) -> str:
    """The model of the queue; in an update of the position alone: a worker."""
    parts = str(event.get("queue", "")).split(".")
    return parts[1] if len(parts) == 3 else "a worker"


def _describe_load(event: Mapping[str, Any]) -> str:
    expected = event.get("expected_seconds")
    expectation = f", about {expected:g} s" if expected is not None else ""
    so_far = f" ({event['seconds']} s so far)" if event["seconds"] else ""
    return f"{event['backend']} loads {event['model']}{expectation}{so_far}"


def _describe_growth(event: Mapping[str, Any]) -> str:
    if text := event["text_characters"]:
        return f"{event['model']} is writing: {text:,} characters so far"
    return f"{event['model']} is thinking: {event['characters']:,} characters so far"


def _describe_whole(event: Mapping[str, Any]) -> str:
    limits = f"{event['seconds']} s so far, at most {event['limit_seconds']} s"
    return f"{event['backend']} sends the answer of {event['model']} in one piece: {limits}"


def _describe_hold(event: Mapping[str, Any]) -> str:
    if event.get("by") == "default_fallback":
        return f"fallback model: {event['detail']}"
    return f"held ({event['reason']}): {event['detail']}; openfall held list shows what it waits for"


_TEXTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "queued": _describe_wait,
    "waiting_for_model": lambda event: f"waits: {event['why']}",
    "model_switching": lambda event: f"waits: {event['why']}",
    "put_back": lambda event: f"its call was stopped: {event['why']}; it waits again",
    "blocked": lambda event: f"waits: {event['why']}",
    "scheduled": lambda event: f"{event.get('why', 'no answer')}; repeated in a moment",
    "started": lambda event: f"claimed for {event['backend']}, no token so far",
    "loading": _describe_load,
    "waiting": _describe_whole,
    "writing": _describe_growth,
    "fallen": lambda event: f"no model can serve it now ({event['reason']}): {event['detail']}",
    "degraded": _describe_hold,
    "held": _describe_hold,
}
"""The text of each event that has one of its own."""
