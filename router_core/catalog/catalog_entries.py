"""The entries of a catalog: pools, backends, models, roles, tasks and groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from openfall.router_core.catalog.answer_policy import CheckKind, Ensemble
from openfall.router_core.catalog.backend_entry import Backend, Gigabytes
from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.catalog.budgets import Budget, SpendPolicy
from openfall.router_core.catalog.capabilities import Capabilities, Thinking, is_known_to_embed, known_capabilities
from openfall.router_core.catalog.field_types import (
    BackendName,
    CatalogEntry,
    Count,
    Format,
    ModelName,
    Name,
    RoleName,
    RoleOrTaskName,
    Seconds,
    SecondsOrZero,
    TaskName,
    Text,
    Tokens,
)
from openfall.router_core.catalog.open_fall_policy import CannedReply, OpenFallPolicy, Remedies
from openfall.router_core.catalog.pools import POOL_DEFAULTS, Pool
from openfall.router_core.catalog.prices import Prices, Usd
from openfall.router_core.catalog.retry_policy import RetryPolicy
from openfall.router_core.catalog.urgency_policy import URGENCY_DEFAULTS, Order, UrgencyPolicy
from openfall.router_core.vocabulary import JobKind, Urgency


class ModelSpec(CatalogEntry):
    """A model under a name of the owner's choice."""

    upstream: Text = Field(description="The name that the backend knows it by.")
    backends: Annotated[tuple[BackendName, ...], Field(min_length=1)] = Field(
        description="The backends that serve it, all in one pool."
    )
    context: Tokens = Field(4096, description="Context in tokens. A prompt that cannot fit is not sent.")
    timeout: Seconds | None = Field(None, description="Maximum time of one call. Without it: as the urgency says.")
    first_token_timeout: Seconds | None = Field(
        None,
        description="Maximum time until the first token, once the model is loaded. Without it: as the urgency says.",
    )
    stall_timeout: Seconds | None = Field(
        None, description="Maximum time without progress once an answer has begun. Without it: as the urgency says."
    )
    max_tokens: Tokens | None = Field(None, description="Maximum tokens of an answer where the caller sets no limit.")
    tools: bool = Field(True, description="It can call tools.")
    json_schema: bool = Field(True, description="Its answers can be held to a JSON Schema.")
    images: bool = Field(False, description="It accepts images.")
    embeds: bool | None = Field(
        None, description="It turns texts into vectors, and completes nothing. Without it: known by its name."
    )
    max_inputs: Count | None = Field(
        None, description="The most texts in one request for embeddings. Without it: 512 for OpenAI, else 64."
    )
    sampling_params: bool | None = Field(
        None, description="It accepts temperature, top_p and top_k. Without it: known by its name, else yes."
    )
    thinking: Thinking | None = Field(
        None,
        description="How Anthropic's protocol asks it to think: by a `budget` of tokens, `adaptive` by an effort, or "
        "`none`. Without it: known by its name, else learned from the first refusal.",
    )
    vram_gb: Gigabytes | None = Field(None, description="Memory in GB that it uses on a graphics card.")
    slots: Count | None = Field(
        None, description="Maximum concurrent calls of this model, fleet-wide, on a card. Without it: as the backend."
    )
    keep_warm: SecondsOrZero | None = Field(None, description="How long it stays idle on a card. Without it: a minute.")
    pinned: bool = Field(False, description="Once loaded it never leaves its card.")
    preload: bool = Field(False, description="Loaded on its card without a job, where that displaces nothing.")
    quantization: str | None = Field(None, description="Shown in `openfall models`; nothing depends on it.")
    load_time: Seconds | None = Field(
        None,
        description="Time to load it. Without it: 2 s for each GB of `vram_gb`, else that of the file's slowest model.",
    )
    slow_after: Seconds | None = Field(None, description="A call that takes longer counts as slow for the breaker.")
    quality: Mapping[TaskName, Annotated[float, Field(ge=0, le=1)]] = Field(
        {}, description="From 0 to 1: how well it does a task. `default`: every task that is not named."
    )
    flex: bool = Field(
        False,
        description="Jobs that are not interactive and have half an hour to their deadline ask for the provider's "
        "service tier `flex`: cheaper and slower (OpenAI, Gemini). Without capacity there, the standard one is called.",
    )
    usd_per_mtok: Prices | None = Field(
        None,
        description="US dollars for a million tokens. Without it, and with metered billing: from `config/prices.yaml`, "
        "if the model is listed; otherwise unknown, which is not 0.",
    )

    @property
    def kind(self) -> JobKind:
        """The kind of jobs that it takes. While a file is checked, a model with a fault may have no upstream."""
        embeds = is_known_to_embed(getattr(self, "upstream", "")) if self.embeds is None else self.embeds
        return JobKind.EMBEDDING if embeds else JobKind.COMPLETION

    @property
    def passed_on(self) -> bool:
        """Whether an Ollama passes its calls on to the machines of its maker. It is never in memory there."""
        return getattr(self, "upstream", "").lower().endswith((":cloud", "-cloud"))

    @property
    def capabilities(self) -> Capabilities:
        """What it takes in a request: as configured, else as known by its name."""
        known = known_capabilities(self.upstream)
        sampling = known.sampling_params if self.sampling_params is None else self.sampling_params
        return Capabilities(self.thinking or known.thinking, sampling)


_ORDER = "`as_written`, or ranked for each job `by_urgency`: loaded and quick, or good and cheap."


class Role(CatalogEntry):
    """What a caller names: a chain and its defaults."""

    chain: Annotated[tuple[ModelName, ...], Field(min_length=1)] = Field(
        description="The models that may answer. The first is called first."
    )
    urgency: Urgency | None = Field(None, description="The urgency where the caller gives none.")
    order: Order = Field(Order.AS_WRITTEN, description=_ORDER)
    local_only: bool = Field(False, description="Its jobs never leave the local pools, whatever fails.")
    checks: tuple[CheckKind, ...] = Field(
        (), description="Checks of the answer. If one fails, the next model is called."
    )
    pattern: str | None = Field(
        None, description="A regular expression that must be found in the answer: one more check."
    )
    accept_refusals: bool = Field(
        False,
        description="A refusal is an answer. Without it, it is one only if no other model answers.",
    )
    ensemble: Ensemble | None = Field(None, description="Call several models, and keep the best answer.")
    open_fall: Remedies | None = Field(
        None, description="Remedies when nothing can serve its jobs. Without it: as in `open_fall`."
    )
    canned_reply: CannedReply | None = Field(
        None, description="The text of `canned_reply` for its jobs. Without it: as in `open_fall`."
    )


class TaskType(Role):
    """A kind of prompt: named by the caller, or classified by its `words`."""

    order: Order = Field(Order.BY_URGENCY, description=_ORDER)
    aliases: tuple[Annotated[Name, Format.NAME], ...] = Field(
        (), description="Other names of it for callers. Results and the ledger have its own name."
    )
    words: tuple[str, ...] = Field(
        (),
        description="Words or phrases that classify a prompt as this task, where the caller names none. English words "
        "also match in their other forms (`write`, `writing`). A word of several tasks only helps others to decide.",
    )


class Group(CatalogEntry):
    """A group of callers. The first group with a matching pattern applies.

    It names a role, a task or a chain, or none of them: then it only limits.
    """

    name: Annotated[Name, Format.NAME] = Field(description="Its name in the ledger and the log.")
    match: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="Shell patterns for the group that a caller names: `whatsapp:*`."
    )
    role: RoleName | None = Field(None, description="The role of its jobs.")
    task: TaskName | None = Field(None, description="Or the task.")
    chain: tuple[ModelName, ...] | None = Field(
        None, description="Or the models. With none of the three the group only limits."
    )
    urgency: Urgency | None = Field(None, description="The highest urgency of its jobs.")
    local_only: bool = Field(False, description="Its jobs never leave the local pools.")
    daily_usd: Usd | None = Field(
        None, description="US dollars a day (UTC) for calls of its jobs: short for an entry of `budgets`."
    )
    bound: bool = Field(
        False,
        description="Its jobs use its own models and no others, whatever a caller names: a job that names another is "
        "refused. A default fallback is one of them too.",
    )


class UncheckedCatalog(CatalogEntry):
    """The sections of a catalog, which may contradict each other."""

    pools: Mapping[Name, Pool] = Field(
        POOL_DEFAULTS,
        description="Which workers serve a backend. Without it: `gpu`, which is local, and `cloud`, which is not.",
    )
    backends: Mapping[Name, Backend] = Field({}, description="Where models run.")
    models: Mapping[Name, ModelSpec] = Field({}, description="Models under names of your own.")
    roles: Mapping[Name, Role] = Field({}, description="What callers ask for by name.")
    tasks: Mapping[Name, TaskType] = Field(
        {}, description="Kinds of prompt: a caller names one, or its words classify it."
    )
    groups: tuple[Group, ...] = Field(
        (), description="Groups of callers. The first group whose pattern matches applies."
    )
    budgets: tuple[Budget, ...] = Field(
        (), description="How much calls that are paid by the token may cost. All that count a call apply together."
    )
    spend: SpendPolicy = Field(SpendPolicy(), description="Notices about money.")
    default: RoleOrTaskName | None = Field(
        None,
        description="The role or task of a job for which neither its caller nor its group nor the words of its prompt "
        "choose the models. Without it: role `chat`, else the cheapest role, task or model.",
    )
    urgency: Mapping[Urgency, UrgencyPolicy] = Field(
        URGENCY_DEFAULTS, description="How soon an answer should start, and how long it is wanted."
    )
    breakers: BreakerPolicy = Field(
        BreakerPolicy(), description="When a failing model is no longer called, and how it comes back."
    )
    retry: RetryPolicy = Field(RetryPolicy(), description="How the same model is called again.")
    open_fall: OpenFallPolicy = Field(OpenFallPolicy(), description="What happens when nothing can serve a job.")
    local_only: bool = False
    """Nothing leaves the local pools, whatever the fleet's own switch says."""
