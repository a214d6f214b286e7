"""The settings: everything of a configuration that is not the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import Annotated

from pydantic import Field

from openfall.config.errors import nearest, quoted
from openfall.config.gateway_settings import GatewaySection
from openfall.config.paths import FILE_NAME, VARIABLE, is_shipped, resolve
from openfall.config.scalars import FieldType, escape, rate, read_text, size_in_bytes
from openfall.config.signing_secret import signing_secret
from openfall.config.webhook_addresses import discord_hook, hook, host_patterns
from openfall.config.yaml_document import Node
from openfall.router_core.catalog.field_types import CatalogEntry, Count, Format, PositiveShare, Seconds, SecondsOrZero
from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.errors import OpenfallError
from openfall.router_core.redis_preconditions import ServerTerms

SHIPPED_MODELS = ("smollm2",)
REDIS_URL_FILE = "redis.url"
"""In the data directory: the address of the embedded Redis, while it runs."""
RESTARTS_SUFFIX = ".restarts"
"""In the data directory: `ENGINE.restarts` counts how often an embedded engine was started again."""


def _read_model(node: Node) -> str | None:
    """A shipped model by its name, or the absolute path of a file. A bare word is a name, not a path."""
    model = read_text(node)
    if model is None or model in SHIPPED_MODELS:
        return model
    if "/" in model or model.endswith(".gguf"):
        return str(resolve(model, node.document.base, node.document.environ))
    node.report(f"unknown model {quoted(node.raw.value)}", f"{nearest(model, SHIPPED_MODELS)} Or write a path.")
    return None


engine_model: FieldType[str] = FieldType(_read_model, {"type": "string"}, escape)


class EngineSettings(CatalogEntry):
    """How an embedded engine runs."""

    model: Annotated[str, engine_model] = Field(
        SHIPPED_MODELS[0],
        description="`smollm2`, which is shipped, or the path of a GGUF file, from this file's directory.",
    )
    context: Annotated[int, Field(ge=256), Format.TOKENS] = Field(2048, description="Context in tokens for each call.")
    threads: Count | None = Field(None, description="CPU threads. Without it: the engine chooses.")
    parallel: Count | None = Field(None, description="Maximum concurrent calls. Without it: the backend's `slots`.")
    gpu_layers: Annotated[int, Field(ge=0)] = Field(0, description="Layers of the model on the graphics card.")


class PrivacySection(CatalogEntry):
    """What is kept, and what may leave the local pools."""

    keep_prompts: bool = Field(False, description="Keep prompts as long as answers, not only until there is an answer.")
    local_only: bool = Field(False, description="Nothing leaves the local pools, whatever else is configured.")


class RetentionSection(CatalogEntry):
    """How long answers are kept. Seconds."""

    results: SecondsOrZero = Field(86400.0, description="How long an answer can be fetched.")
    unread: Seconds = Field(7 * 86400.0, description="How long an unread answer stays in an inbox.")


class LimitsSection(CatalogEntry):
    """What is accepted."""

    max_prompt: Annotated[int, Field(ge=1), size_in_bytes] = Field(
        4 * 2**20,
        description="Maximum size of a request of the Python client and the command line, in bytes. "
        "The HTTP gateway has `gateway: max_body`.",
    )
    max_memory: PositiveShare = Field(0.85, description="Above this share of Redis's `maxmemory` no job is accepted.")


class WebhooksSection(CatalogEntry):
    """Webhooks that callers name."""

    secret: Annotated[str, signing_secret] | None = Field(
        None, repr=False, description='The secret that signs every webhook. Write "${VARIABLE:-}": it is never shown.'
    )
    allow: Annotated[tuple[str, ...], host_patterns] = Field(
        (),
        description="The hosts that callers may name, as shell patterns of host or host:port. "
        "Without it: every public one.",
    )
    private: bool = Field(
        False, description="Callers may also name plain http, and addresses of private networks and of this machine."
    )


class WorkersSection(CatalogEntry):
    """How workers run."""

    slots: Count = Field(16, description="Maximum concurrent calls of one worker.")
    shutdown_grace: SecondsOrZero = Field(
        30.0, description="How long a worker that shuts down waits for its calls to end."
    )
    processes: Count = Field(1, description="Workers of each pool that `openfall up` starts.")


class LogFormat(StrEnum):
    """The form of a line of the log."""

    HUMAN = "human"
    JSON = "json"


class LogsSection(CatalogEntry):
    """The logs of workers and of the HTTP gateway."""

    format: LogFormat = Field(
        LogFormat.HUMAN,
        description="`human`: a line for people. `json`: an object of JSON in each line. `--log-format` wins over it.",
    )


class TracesSection(CatalogEntry):
    """Traces of OpenTelemetry: one for each job."""

    endpoint: str | None = Field(
        None,
        pattern="^https?://",
        description="Where workers send spans (OTLP over HTTP): `http://otel:4318/v1/traces`. Needs the extra `otel`.",
    )


class NotifySection(CatalogEntry):
    """Who is notified of an incident, and how often."""

    discord: Annotated[str, discord_hook] | None = Field(
        None,
        repr=False,
        description='A Discord webhook that receives notices. Write "${DISCORD_WEBHOOK:-}": it is never shown.',
    )
    webhook: Annotated[str, hook] | None = Field(
        None, repr=False, description="An address that receives the same by a signed POST. It needs `webhooks: secret`."
    )
    rate_limit: Annotated[tuple[int, float], rate] = Field(
        (1, 600.0),
        description="Maximum notices of one incident, for each notifier. The next notice counts what happened between.",
    )
    on_recovery: bool = Field(True, description="Also notify when the incident is over.")
    actions: bool = Field(False, description="Also notify of what operators do (`openfall audit`).")

    @property
    def action_notifiers(self) -> tuple[str, ...]:
        """The names of the notifiers that are sent what operators do."""
        urls = (("discord", self.discord), ("webhook", self.webhook)) if self.actions else ()
        return tuple(name for name, url in urls if url)


class SettingsSections(CatalogEntry):
    """The sections of a file that become settings."""

    privacy: PrivacySection = Field(PrivacySection(), description="What is kept, and what may leave the local pools.")
    retention: RetentionSection = Field(RetentionSection(), description="How long answers are kept.")
    limits: LimitsSection = Field(LimitsSection(), description="What is accepted.")
    webhooks: WebhooksSection = Field(
        WebhooksSection(), description="Posts to addresses that callers name, or you do (`open_fall: notify`)."
    )
    workers: WorkersSection = Field(WorkersSection(), description="How workers run.")
    gateway: GatewaySection = Field(GatewaySection(), description="The HTTP gateway: `openfall serve`.")
    logs: LogsSection = Field(LogsSection(), description="The logs of workers and of the HTTP gateway.")
    traces: TracesSection = Field(TracesSection(), description="Traces of OpenTelemetry. Off without an endpoint.")


class Settings(SettingsSections):
    """The settings. Times are in seconds, paths are absolute."""

    source: Path
    redis: RedisServer = RedisServer()
    data_dir: Path
    engines: Mapping[str, EngineSettings] = {}
    """By the name of the embedded backend."""
    notify: NotifySection = NotifySection()

    @property
    def server_terms(self) -> ServerTerms:
        """What is wanted of Redis."""
        return ServerTerms(accepted_risks=self.redis.accept_risks, max_memory_share=self.limits.max_memory)


class NoRedis(OpenfallError):
    """There is no Redis to connect to. The message says how to get one."""

    remedy = "set `REDIS_URL`, or start `openfall up`"


def redis_server(settings: Settings) -> RedisServer:
    """The Redis of a configuration, with the address of the embedded server. Raises `NoRedis` if that does not run."""
    if not settings.redis.is_embedded:
        return settings.redis
    address = settings.data_dir / REDIS_URL_FILE
    file = FILE_NAME if is_shipped(settings.source) else settings.source
    other_server = f"set REDIS_URL (or `redis:` in {file}) to the address of a server."
    try:
        url = address.read_text(encoding="utf-8").strip()
    except PermissionError:
        remedy = f"Run this as the user of `openfall up`, or {other_server}"
        raise NoRedis(f"No Redis: {address} belongs to another user and cannot be read. {remedy}") from None
    except (OSError, UnicodeDecodeError):
        url = ""
    if url:
        return settings.redis.model_copy(update={"url": url})
    cause = f"`openfall up` does not run here ({address} names no server)"
    elsewhere = f"If it runs in another folder, set the variable that it prints there: {VARIABLE} or REDIS_URL."
    raise NoRedis(f"No Redis: {cause}. Start it, or {other_server} {elsewhere}")


def engine_restarts(settings: Settings) -> int | None:
    """How often `openfall up` has started an engine of this configuration again. None: no engine runs in its data
    directory."""
    counts = []
    for name in settings.engines:
        try:
            counts.append(int((settings.data_dir / f"{name}{RESTARTS_SUFFIX}").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue
    return sum(counts) if counts else None


def variable_for_other_folders(settings: Settings) -> str:
    """What a program in another folder sets to reach the embedded Redis of this one: `NAME=value`, as a shell takes
    it. Raises `NoRedis`."""
    if is_shipped(settings.source):
        return f"REDIS_URL={quote(redis_server(settings).url or '')}"
    return f"{VARIABLE}={quote(str(settings.source))}"
