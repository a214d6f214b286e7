"""What is set beside the catalog: where Redis and the data are, how engines run, what is kept, how much is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from openfall.config.bounds import at_least, at_most_all, more_than_nothing
from openfall.config.document import Node
from openfall.config.entries import Entry, Table, read
from openfall.config.field_types import (
    FieldType,
    elsewhere,
    flag,
    seconds,
    secret,
    share,
    size_in_bytes,
    whole,
    written,
)
from openfall.config.paths import FILE_NAME, is_shipped
from openfall.config.redact import redact_value
from openfall.config.webhooks import host_patterns, signing_secret
from openfall.router_core.catalog.policies import RetryPolicy
from openfall.router_core.deciding.breaker import BreakerPolicy

SHIPPED_MODELS = ("smollm2",)
REDIS_URL_FILE = "redis.url"
"""In the data directory: the address of the embedded Redis, while it runs."""

EMBEDDED = "embedded"
_REDIS_SCHEMES = frozenset({"redis", "rediss", "unix"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How an embedded engine runs. `ctx`: tokens for each of its `parallel` slots. `threads` None: its own choice."""

    model: str = SHIPPED_MODELS[0]
    """The name of a shipped model, or the absolute path of a GGUF file."""
    ctx: int = 2048
    threads: int | None = None
    parallel: int
    gpu_layers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything of a configuration that is not the catalog. Times are in seconds, paths are absolute."""

    source: Path
    redis_url: str | None = field(repr=False)
    """None: the embedded one. It may carry a password."""
    data_dir: Path
    engines: Mapping[str, EngineSettings] = field(default_factory=dict)
    """By the name of the embedded backend."""
    keep_results: float = 86400.0
    keep_prompts: bool = False
    max_prompt_bytes: int = 4 * 2**20
    worker_slots: int = 16
    worker_grace: float = 30.0
    worker_procs: int = 1
    keep_unread: float = 7 * 86400.0
    """What nobody has fetched from an inbox is kept so long."""
    memory_limit: float = 0.85
    """The share of Redis's `maxmemory` above which nothing more is accepted."""
    notify_discord: str | None = field(default=None, repr=False)
    """The address carries its token."""
    notify_webhook: str | None = field(default=None, repr=False)
    notify_at_most: tuple[int, float] = (1, 600.0)
    """So many notices in so many seconds, for each incident and notifier."""
    notify_on_recovery: bool = True
    webhook_secret: str | None = field(default=None, repr=False)
    """`whsec_` and base64 (Standard Webhooks), or any text. Without one no webhook is sent."""
    webhook_allow: tuple[str, ...] = ()
    """Shell patterns of the hosts (`host` or `host:port`) that callers may name; empty: any public one."""
    webhook_private: bool = False
    """Callers may name private addresses, and plain http."""


class NoRedis(Exception):
    """There is no Redis to speak to. The message says how to get one."""


def redis_url(settings: Settings) -> str:
    """The address of Redis: the configured one, or that of the embedded server; `NoRedis` when that does not run."""
    if settings.redis_url is not None:
        return settings.redis_url
    try:
        url = (settings.data_dir / REDIS_URL_FILE).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        url = ""
    if url:
        return url
    file = FILE_NAME if is_shipped(settings.source) else settings.source
    remedy = f"Start it with `openfall up`, or set REDIS_URL (or `redis:` in {file})."
    raise NoRedis(f"No Redis: nothing runs in {settings.data_dir}. {remedy}")


def _redis_address(place: Node) -> str | None:
    """`embedded`, or the URL of a Redis. It may carry a password: no message shows it."""
    told = secret(place)
    if told is None or told == EMBEDDED or _is_redis(told):
        return told
    place.report(f"must be {EMBEDDED} or an address such as redis://127.0.0.1:6379/0, rediss://... or unix://...")
    return None


redis_address: FieldType[str] = FieldType(_redis_address, {"type": "string"}, lambda url: written(redact_value(url)))

BREAKERS = Entry(
    BreakerPolicy,
    {
        "open_after": whole.meaning("So many failures in a row open a breaker."),
        "failure_rate": share.meaning("So does this share of failed calls in `window`."),
        "slow_rate": share.meaning("And this share of slow ones (see `slow_after` of a model)."),
        "least_calls": whole.meaning("Shares are taken of so many calls at least."),
        "window": seconds.meaning("The calls of how long."),
        "recover_after": seconds.meaning("How long it stays open before a health prompt tries again."),
        "recover_most": seconds.meaning("That doubles each further time, up to this."),
        "spread": share.meaning("Each time is longer or shorter by up to this share."),
        "forget_after": seconds.meaning("Closed for so long, and how often it opened is forgotten."),
        "probes": whole.meaning("So many answered health prompts in a row close it."),
        "probe_timeout": seconds.meaning("The longest that one of them may take."),
        "ramp": seconds.meaning("After closing, slots come back evenly over this time."),
    },
)

RETRY = Entry(
    RetryPolicy,
    {
        "times": whole.meaning("How often the same model is asked again after a failure that may pass."),
        "base": seconds.meaning("After this long first, then twice, four times ..."),
        "most": seconds.meaning("... up to this."),
        "budget": share.meaning("The share of a pool's calls that may be such repetitions."),
    },
)

SECTIONS: Mapping[str, tuple[Table, Mapping[str, str]]] = {
    "privacy": (
        {
            "keep_results": seconds.meaning("How long an answer can be asked for."),
            "keep_prompts": flag.meaning("Keep prompts as long as answers, not only until there is one."),
            "keep_unread": more_than_nothing(seconds).meaning("How long an answer lies in an inbox for its reader."),
            "local_only": elsewhere(flag).meaning("Nothing leaves the local pools, whatever else is said."),
        },
        {"keep_results": "keep_results", "keep_prompts": "keep_prompts", "keep_unread": "keep_unread"},
    ),
    "limits": (
        {
            "prompt": at_least(1, size_in_bytes).meaning("The largest request, in bytes."),
            "memory": at_most_all(more_than_nothing(share)).meaning(
                "Above this share of Redis's `maxmemory` nothing more is accepted."
            ),
        },
        {"prompt": "max_prompt_bytes", "memory": "memory_limit"},
    ),
    "webhooks": (
        {
            "secret": signing_secret.meaning(
                'What every webhook is signed with. Write "${VARIABLE:-}": it is never shown.'
            ),
            "allow": host_patterns.meaning(
                "The hosts that callers may name, as shell patterns of host or host:port. Without it: every public one."
            ),
            "private": flag.meaning(
                "Callers may name addresses of private networks and of this machine, and plain http, too."
            ),
        },
        {"secret": "webhook_secret", "allow": "webhook_allow", "private": "webhook_private"},
    ),
    "workers": (
        {
            "slots": at_least(1, whole).meaning("Calls at once in one worker."),
            "grace": seconds.meaning("How long a worker that is told to stop lets its calls end."),
            "procs": at_least(1, whole).meaning("Workers of each pool that `openfall up` starts."),
        },
        {"slots": "worker_slots", "grace": "worker_grace", "procs": "worker_procs"},
    ),
}
"""For each section its keys and kinds, and the field of `Settings` that each key sets."""

ABOUT: Mapping[str, str] = {
    "privacy": "What is kept, and what may leave.",
    "limits": "What is taken in.",
    "webhooks": "Posts to addresses that callers name, or you do (`open_fall: notify`).",
    "workers": "How workers run.",
}
"""What each section is for."""


def read_local_only(sections: Mapping[str, Node]) -> bool:
    """`privacy: local_only`, which is the catalog's."""
    place = sections["privacy"].entries().get("local_only") if "privacy" in sections else None
    return bool(flag(place)) if place is not None else False


def read_settings(sections: Mapping[str, Node]) -> dict[str, Any]:
    """The fields of `Settings` that the file sets in these sections."""
    values = {}
    for name, (table, fields) in SECTIONS.items():
        if name in sections:
            values.update({fields[key]: value for key, value in read(sections[name], table).items()})
    return values


def _is_redis(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in _REDIS_SCHEMES and "://" in url and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
