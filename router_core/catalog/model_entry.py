"""A model under a name of the owner's choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from openfall.router_core.catalog.backend_entry import Gigabytes
from openfall.router_core.catalog.capabilities import Capabilities, Thinking, is_known_to_embed, known_capabilities
from openfall.router_core.catalog.field_types import (
    BackendName,
    CatalogEntry,
    Count,
    Seconds,
    SecondsOrZero,
    TaskName,
    Text,
    Tokens,
)
from openfall.router_core.catalog.prices import Prices
from openfall.router_core.vocabulary import JobKind


class ModelSpec(CatalogEntry):
    """A model: where it runs, what it takes, and what it costs."""

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
