"""What is set beside the catalog: where Redis and the data are, how engines run, what is kept, how much is done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from openfall.config.document import Node
from openfall.config.entries import Entry, built
from openfall.config.field_types import (
    FieldType,
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
from openfall.router_core.catalog.policies import RetryPolicy, Seconds
from openfall.router_core.deciding.breaker import BreakerPolicy

SHIPPED_MODELS = ("smollm2",)
REDIS_URL_FILE = "redis.url"
"""In the data directory: the address of the embedded Redis, while it runs."""

EMBEDDED = "embedded"
_REDIS_SCHEMES = frozenset({"redis", "rediss", "unix"})


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EngineSettings(_Section):
    """How an embedded engine runs."""

    model: str = SHIPPED_MODELS[0]
    """The name of a shipped model, or the absolute path of a GGUF file."""
    context: int = 2048
    """Tokens for each of the `parallel` slots."""
    threads: int | None = None
    """None: the engine chooses."""
    parallel: int
    gpu_layers: int = 0


class PrivacySection(_Section):
    """What is kept, and what may leave."""

    keep_prompts: bool = False
    local_only: bool = False


class RetentionSection(_Section):
    """How long answers are kept. Seconds."""

    results: Annotated[float, Field(ge=0)] = 86400.0
    unread: Seconds = 7 * 86400.0


class LimitsSection(_Section):
    """What is accepted."""

    max_prompt: Annotated[int, Field(ge=1)] = 4 * 2**20
    """Bytes."""
    max_memory: Annotated[float, Field(gt=0, le=1)] = 0.85
    """Above this share of Redis's `maxmemory` nothing more is accepted."""


class WebhooksSection(_Section):
    """Webhooks that callers name."""

    secret: str | None = Field(default=None, repr=False)
    """`whsec_` and base64 (Standard Webhooks), or any text. Without one no webhook is sent."""
    allow: tuple[str, ...] = ()
    """Shell patterns of the hosts (`host` or `host:port`) that callers may name; empty: any public one."""
    private: bool = False
    """Callers may name private addresses, and plain http."""


class WorkersSection(_Section):
    """How workers run."""

    slots: Annotated[int, Field(ge=1)] = 16
    shutdown_grace: Annotated[float, Field(ge=0)] = 30.0
    processes: Annotated[int, Field(ge=1)] = 1


class NotifySection(_Section):
    """Who is notified of an incident, and how often."""

    discord: str | None = Field(default=None, repr=False)
    """The address carries its token."""
    webhook: str | None = Field(default=None, repr=False)
    rate_limit: tuple[int, float] = (1, 600.0)
    """So many notices in so many seconds, for each incident and notifier."""
    on_recovery: bool = True


class Settings(_Section):
    """Everything of a configuration that is not the catalog. Times are in seconds, paths are absolute."""

    source: Path
    redis_url: str | None = Field(repr=False)
    """None: the embedded one. It may carry a password."""
    data_dir: Path
    engines: Mapping[str, EngineSettings] = {}
    """By the name of the embedded backend."""
    privacy: PrivacySection = PrivacySection()
    retention: RetentionSection = RetentionSection()
    limits: LimitsSection = LimitsSection()
    webhooks: WebhooksSection = WebhooksSection()
    workers: WorkersSection = WorkersSection()
    notify: NotifySection = NotifySection()


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
        "consecutive_failures": whole.meaning("So many failures in a row open a breaker."),
        "failure_rate": share.meaning("So does this share of failed calls in `window`."),
        "slow_call_rate": share.meaning("And this share of slow ones (see `slow_after` of a model)."),
        "minimum_calls": whole.meaning("Shares are taken of so many calls at least."),
        "window": seconds.meaning("The calls of how long."),
        "open_for": seconds.meaning("How long it stays open before a health prompt tries again."),
        "open_for_max": seconds.meaning("That doubles each further time, up to this."),
        "jitter": share.meaning("Each time is longer or shorter by up to this share."),
        "reset_after": seconds.meaning("Closed for so long, and how often it opened is forgotten."),
        "probe_successes": whole.meaning("So many answered health prompts in a row close it."),
        "probe_timeout": seconds.meaning("The longest that one of them may take."),
        "slow_start": seconds.meaning("After closing, slots come back evenly over this time."),
    },
)

RETRY = Entry(
    RetryPolicy,
    {
        "max_retries": whole.meaning("How often the same model is asked again after a failure that may pass."),
        "initial_backoff": seconds.meaning("After this long first, then twice, four times ..."),
        "max_backoff": seconds.meaning("... up to this."),
        "retry_budget": share.meaning("The share of a pool's calls that may be such repetitions."),
    },
)

SECTIONS: Mapping[str, Entry[Any]] = {
    "privacy": Entry(
        PrivacySection,
        {
            "keep_prompts": flag.meaning("Keep prompts as long as answers, not only until there is one."),
            "local_only": flag.meaning("Nothing leaves the local pools, whatever else is said."),
        },
    ),
    "retention": Entry(
        RetentionSection,
        {
            "results": seconds.meaning("How long an answer can be asked for."),
            "unread": seconds.meaning("How long an answer lies in an inbox for its reader."),
        },
    ),
    "limits": Entry(
        LimitsSection,
        {
            "max_prompt": size_in_bytes.meaning("The largest request, in bytes."),
            "max_memory": share.meaning("Above this share of Redis's `maxmemory` nothing more is accepted."),
        },
    ),
    "webhooks": Entry(
        WebhooksSection,
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
    ),
    "workers": Entry(
        WorkersSection,
        {
            "slots": whole.meaning("Calls at once in one worker."),
            "shutdown_grace": seconds.meaning("How long a worker that is told to stop lets its calls end."),
            "processes": whole.meaning("Workers of each pool that `openfall up` starts."),
        },
    ),
}
"""The sections that set fields of `Settings`."""

ABOUT: Mapping[str, str] = {
    "privacy": "What is kept, and what may leave.",
    "retention": "How long answers are kept.",
    "limits": "What is taken in.",
    "webhooks": "Posts to addresses that callers name, or you do (`open_fall: notify`).",
    "workers": "How workers run.",
}
"""What each section is for."""


def read_settings(sections: Mapping[str, Node]) -> dict[str, Any]:
    """The fields of `Settings` that the file sets in these sections."""
    return {name: built(entry, sections[name]) for name, entry in SECTIONS.items() if name in sections}


def _is_redis(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in _REDIS_SCHEMES and "://" in url and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
