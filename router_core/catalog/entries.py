"""What exists: pools, backends, models, roles. Strict: it names every contradiction at once when it is built."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator

from openfall.router_core.catalog.policies import (
    URGENCY_DEFAULTS,
    RetryPolicy,
    Seconds,
    Share,
    UrgencyPolicy,
)
from openfall.router_core.catalog.validation import DEFAULT_QUALITY as DEFAULT_QUALITY
from openfall.router_core.catalog.validation import CatalogError as CatalogError
from openfall.router_core.catalog.validation import UnknownName as UnknownName
from openfall.router_core.catalog.validation import validate_catalog
from openfall.router_core.deciding.breaker import BreakerPolicy
from openfall.router_core.degrading.policy import CannedReply, OpenFallPolicy, Remedy
from openfall.router_core.jobs.job import Urgency

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
"""Of a pool, backend, model or role. No dots: a queue's name is `{pool}.{model}.{urgency}`."""

Usd = Annotated[float, Field(ge=0)]
Protocol = Literal["openai", "anthropic", "ollama"]
"""The wire form that a backend speaks."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pool(_Entry):
    """Which workers serve a backend. What is `local` never leaves the machines of its owner."""

    local: bool = False


class Billing(StrEnum):
    """Who pays for a call, and how."""

    LOCAL = "local"  # our own machine: nothing
    FLAT = "flat"  # a subscription: nothing more for this call
    METERED = "metered"  # by the token


class Backend(_Entry):
    """One endpoint that serves models. `slots` is how many calls it gets at once from the whole fleet."""

    protocol: Protocol = "openai"
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+(/\S*)?$")]
    pool: Name
    slots: Annotated[int, Field(ge=1, le=4096)] = 4
    reserved_interactive: Annotated[int, Field(ge=0)] = 0
    """Of these slots so many are for interactive jobs alone."""
    api_key: SecretStr = SecretStr("")
    billing: Billing | None = None
    """None: local in a local pool, metered in any other."""
    vram_gb: Annotated[float, Field(gt=0)] | None = None
    """Memory of its graphics card, for an endpoint that loads models by itself."""
    api_version: str | None = None
    """The `anthropic-version` that it is spoken to with; None: the adapter's own."""
    keep_alive: bool | None = None
    """Use a connection again. None: yes, but not to an engine on this machine (see `workers.backends.registry`)."""
    embedded: bool = False
    """Started and watched by `openfall up` on this machine."""


class Prices(_Entry):
    """US dollars for a million tokens. What is None is not known, and never taken for 0."""

    input: Usd | None = None
    output: Usd | None = None
    cache_read: Usd | None = None
    """Input found in the provider's cache. None: as `input`."""
    cache_write: Usd | None = None


class ModelSpec(_Entry):
    """A model under our own name. `upstream` is the name that the provider knows it by.

    `tools`, `json_schema`, `images` and `sampling_params` (temperature, top_p, top_k) say what it can be asked for.
    """

    upstream: Annotated[str, StringConstraints(min_length=1)]
    backends: Annotated[tuple[Name, ...], Field(min_length=1)]
    context: Annotated[int, Field(ge=1)] = 4096
    timeout: Seconds = 120.0
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    tools: bool = True
    json_schema: bool = True
    images: bool = False
    sampling_params: bool = True
    vram_gb: Annotated[float, Field(gt=0)] | None = None
    load_time: Seconds | None = None
    """Seconds to load it where it is not loaded. None: it need not be loaded, or nobody knows."""
    slow_after: Seconds | None = None
    """A call that takes longer counts as slow for the breaker."""
    quality: Mapping[Name, Share] = {}
    """How well it does a type of task; under `default` for all that are not named."""
    usd_per_mtok: Prices | None = None


class Pick(StrEnum):
    """How the best of several answers is found."""

    QUALITY = "quality"  # the model with the highest quality for the task
    AGREEMENT = "agreement"  # the answer that is most like the others
    JUDGE = "judge"  # a model reads them and says


class Ensemble(_Entry):
    """Several models are asked, one after the other through the queue, and the best answer is kept.

    `answers`: how many of the chain are to answer.
    """

    answers: Annotated[int, Field(ge=2, le=8)] = 2
    pick: Pick = Pick.QUALITY
    judge: Name | None = None
    """The model that judges; only with `pick: judge`."""


class CheckKind(StrEnum):
    """What an answer may be asked to be. The text is the answer's own, without reasoning."""

    NOT_EMPTY = "not_empty"
    JSON = "json"
    JSON_SCHEMA = "json_schema"  # holds the schema that the request itself asked for
    CODE_BLOCK = "code_block"
    MERMAID = "mermaid"
    HTML = "html"


class Order(StrEnum):
    """Whether a chain is tried as it is written, or ranked for each job by its urgency."""

    AS_WRITTEN = "as_written"
    BY_URGENCY = "by_urgency"


class Role(_Entry):
    """What a caller asks for by name: a chain and its defaults."""

    chain: Annotated[tuple[Name, ...], Field(min_length=1)]
    urgency: Urgency | None = None
    order: Order = Order.AS_WRITTEN
    local_only: bool = False
    checks: tuple[CheckKind, ...] = ()
    pattern: str | None = None
    """A regular expression that must be found in the answer; one more check."""
    ensemble: Ensemble | None = None
    open_fall: tuple[Remedy, ...] | None = None
    """What is done when nothing can serve a job of it; None: as its urgency says."""
    canned_reply: CannedReply | None = None


class TaskType(Role):
    """A kind of prompt: chosen by the caller, or classified by its `words` (whole words or phrases, any case)."""

    order: Order = Order.BY_URGENCY
    words: tuple[str, ...] = ()


class Group(_Entry):
    """Whose job it is, by the group that a caller names: the first group with a fitting pattern applies.

    `match` are shell patterns (`whatsapp:*`). It names a role, a task or a chain, or none of them: then it only limits.
    """

    name: Name
    match: Annotated[tuple[str, ...], Field(min_length=1)]
    role: Name | None = None
    task: Name | None = None
    chain: tuple[Name, ...] | None = None
    urgency: Urgency | None = None
    """The most urgent that its jobs may be."""
    local_only: bool = False


POOL_DEFAULTS: Mapping[str, Pool] = {"gpu": Pool(local=True), "cloud": Pool()}


class Catalog(_Entry):
    """Everything a job can be sent to."""

    pools: Mapping[Name, Pool] = POOL_DEFAULTS
    backends: Mapping[Name, Backend] = {}
    models: Mapping[Name, ModelSpec] = {}
    roles: Mapping[Name, Role] = {}
    tasks: Mapping[Name, TaskType] = {}
    groups: tuple[Group, ...] = ()
    urgency: Mapping[Urgency, UrgencyPolicy] = URGENCY_DEFAULTS
    breakers: BreakerPolicy = BreakerPolicy()
    retry: RetryPolicy = RetryPolicy()
    open_fall: OpenFallPolicy = OpenFallPolicy()
    local_only: bool = False
    """Nothing leaves the local pools, whatever the fleet's own switch says."""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if problems := tuple(validate_catalog(self)):
            raise CatalogError(problems)
        return self

    def model(self, alias: str) -> ModelSpec:
        """The model of that alias; `UnknownName` when there is none."""
        if alias not in self.models:
            raise UnknownName("model", alias, self.models)
        return self.models[alias]

    def pool_of(self, alias: str) -> str:
        """The pool whose workers serve a model."""
        return self.backends[self.model(alias).backends[0]].pool

    def is_local(self, alias: str) -> bool:
        """Whether what a model is asked stays on the machines of its owner."""
        return self.pools[self.pool_of(alias)].local

    def billing(self, backend: str) -> Billing:
        """How calls at a backend are paid for."""
        spec = self.backends[backend]
        return spec.billing or (Billing.LOCAL if self.pools[spec.pool].local else Billing.METERED)

    def credential(self, backend: str) -> str:
        """A name for the key of a backend that tells nothing of it; empty when it has none.

        Backends of one host with the same key share it. So a key that means nothing (`ollama`) binds no strangers.
        """
        spec = self.backends[backend]
        key, host = spec.api_key.get_secret_value(), spec.url.split("/")[2]
        return blake2b(f"{host} {key}".encode(), digest_size=5, person=b"openfall").hexdigest() if key else ""

    def queue(self, alias: str, urgency: Urgency) -> str:
        """The queue in which a job of that urgency waits for that model."""
        return f"{self.pool_of(alias)}.{alias}.{urgency}"

    def models_of(self, pool: str) -> tuple[str, ...]:
        """The models that a worker of that pool serves; `UnknownName` when there is no such pool."""
        if pool not in self.pools:
            raise UnknownName("pool", pool, self.pools)
        return tuple(alias for alias in self.models if self.pool_of(alias) == pool)
