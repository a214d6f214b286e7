"""Keys that have a new name or are unsupported. A file with one is refused, with what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from openfall.config.other_tools_keys import OTHER_TOOLS

_URGENCY = {"give_up": "expires_after", "share": "min_share", "depth": "max_queued", "cloud": "allow_cloud"}

RENAMED: Mapping[str, Mapping[str, str]] = {
    "backends.*": {"key": "api_key", "reserved": "reserved_interactive"},
    "backends.*.engine": {"ctx": "context"},
    "models.*": {"at": "backends", "ctx": "context", "load_s": "load_time"},
    "urgency.interactive": _URGENCY,
    "urgency.background": _URGENCY,
    "urgency.batch": _URGENCY,
    "breakers": {
        "open_after": "consecutive_failures",
        "least_calls": "minimum_calls",
        "slow_rate": "slow_call_rate",
        "recover_after": "open_for",
        "recover_most": "open_for_max",
        "spread": "jitter",
        "forget_after": "reset_after",
        "probes": "probe_successes",
        "ramp": "slow_start",
    },
    "retry": {"times": "max_retries", "base": "initial_backoff", "most": "max_backoff", "budget": "retry_budget"},
    "open_fall": {"stand_ins": "default_fallbacks", "last_answer_for": "last_answer_ttl", "keep": "hold_for"},
    "open_fall.release": {"first": "initial", "most": "max"},
    "open_fall.notify": {"at_most": "rate_limit"},
    "privacy": {"keep_results": "retention.results", "keep_unread": "retention.unread"},
    "limits": {"prompt": "max_prompt", "memory": "max_memory"},
    "workers": {"grace": "shutdown_grace", "procs": "processes"},
}
"""By section, the former keys and the present ones. `*` is the name of an entry."""

REMEDIES: Mapping[str, str] = {"other_model": "default_fallback"}
"""Former values of `open_fall`, and the present ones."""

UNSUPPORTED: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "backends.*": {
        "keep_alive": (
            "keep_alive has two meanings",
            "Write reuse_connections: no for connections, or keep_in_memory: 1h for the models of an Ollama.",
        )
    },
}
"""By section, the keys that were once accepted, why they are refused, and the remedy."""

_OF_ENTRIES = ("backends", "models", "roles", "tasks", "groups", "pools", "budgets")


def refuse_former_key(path: str, key: str) -> tuple[str, str] | None:
    """The message and the remedy for a former key of a section. None if it is not one."""
    section = _section(path)
    present = RENAMED.get(section, {}).get(key)
    if present is None:
        return UNSUPPORTED.get(section, {}).get(key)
    message = f"{section}.{key} is now {present if '.' in present else f'{section}.{present}'}".replace(".*.", ".")
    return message, "Write the new name."


def meant_by(path: str, key: str) -> tuple[str, ...]:
    """The key that another tool's word means in a section; empty: none is known."""
    present = OTHER_TOOLS.get(_section(path), {}).get(key.lower().replace("-", "_"))
    return () if present is None else (present,)


def has_former_key(path: str, key: str, present: Iterable[str]) -> bool:
    """Whether a missing key is present under a former name or under one of another tool, which is reported as such."""
    former = RENAMED.get(_section(path), {})
    return any(former.get(word) == key or key in meant_by(path, word) for word in present)


def _section(path: str) -> str:
    """The path of a mapping, with `*` for the name of an entry."""
    section, dot, rest = path.partition(".")
    if not dot or section not in _OF_ENTRIES:
        return path
    return ".".join([section, "*", *rest.split(".")[1:]])
