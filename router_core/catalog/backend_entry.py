"""The entry of a backend: one endpoint, and what loads its models."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints

from openfall.router_core.catalog.field_types import (
    CatalogEntry,
    Count,
    Format,
    Name,
    PoolName,
    PositiveShare,
    Seconds,
    SecondsOrZero,
    Tokens,
)
from openfall.router_core.catalog.pools import Billing

Gigabytes = Annotated[float, Field(gt=0)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+(/\S*)?$"), Format.URL]
Protocol = Literal["openai", "anthropic", "ollama"]
"""The wire protocol of a backend."""


class Loader(StrEnum):
    """What loads the models of a backend on order."""

    OLLAMA = "ollama"
    SIDECAR = "sidecar"
    LLAMA_SERVER = "llama-server"
    LLAMA_SWAP = "llama-swap"


OLLAMA_BESIDE = 1.25
"""Ollama loads a model beside others only into 80 % of the free memory; else it evicts one by its own choice."""


class Backend(CatalogEntry):
    """One endpoint that serves models."""

    protocol: Protocol = Field("openai", description="Wire protocol.")
    url: Url = Field(
        description="Address: with or without its version (`/v1`), or the whole address of the endpoint "
        "(`.../chat/completions`). Without it, and with `protocol` given: the public one of Anthropic or OpenAI, "
        "or Ollama's usual one on this machine."
    )
    pool: PoolName = Field(description="The pool whose workers call it.")
    slots: Annotated[int, Field(ge=1, le=4096)] = Field(4, description="Maximum concurrent calls, fleet-wide.")
    reserved_interactive: Annotated[int, Field(ge=0)] = Field(
        0, description="How many of the slots are for interactive jobs alone."
    )
    api_key: SecretStr = Field(SecretStr(""), description='Credential. Write "${VARIABLE:-}": it is never shown.')
    api_keys: tuple[SecretStr, ...] = Field(
        (),
        description='Several keys in place of one: `["${A}", "${B:-}"]`. Calls take turns; an empty one is skipped.',
    )
    auth_token: SecretStr = Field(
        SecretStr(""),
        description="Credential that is sent as `Authorization: Bearer`, in place of `api_key`. It is never shown.",
    )
    requests_per_minute: Count | None = Field(None, description="Maximum calls a minute with each key, fleet-wide.")
    tokens_per_minute: Tokens | None = Field(
        None, description="Maximum tokens a minute with each key, fleet-wide: those of prompts and answers together."
    )
    burst: Annotated[PositiveShare, Field(le=0.5)] = Field(
        0.05, description="How much of a minute's limit may be used at once. The rest is spread over the minute."
    )
    billing: Billing | None = Field(
        None,
        description="`metered` by the token, `flat` for a subscription, `local` for a machine of your own. "
        "Without it: `local` in a local pool, `metered` in any other.",
    )
    plan_windows: tuple[Seconds, ...] = Field(
        (),
        description="With `billing: flat`: the lengths of the windows of its limits, which begin with the first "
        "call in them: `[5h, 7d]`. A key whose window is used up gets no call until it resets. Claude and Codex name "
        "the used share of their windows themselves.",
    )
    vram_gb: Gigabytes | None = Field(
        None, description="GB of its graphics card. With it, openfall decides which models its engine holds."
    )
    loader: Loader | None = Field(
        None,
        description="What loads its models: `ollama`, the `sidecar` of openfall, `llama-server` in router mode, or "
        "`llama-swap`. Without it: `ollama` for that protocol, else nothing.",
    )
    card: Annotated[Name, Format.NAME] | None = Field(
        None, description="Name of its graphics card, if backends share one. Without it: as the backend."
    )
    api_version: Annotated[str, Format.LITERAL] | None = Field(
        None, description="The `anthropic-version` to send. Without it: a version that is known to work."
    )
    responses: bool = Field(
        False,
        description="Its OpenAI-compatible server has `/responses` too: a request of that API is sent as it is. "
        "Without it such a request becomes a chat completion, without the tools that the provider runs.",
    )
    keep_in_memory: SecondsOrZero | None = Field(
        None,
        description="How long an Ollama keeps a model in memory after its last call. "
        "Without it: as that server is set (5 minutes, unless OLLAMA_KEEP_ALIVE says otherwise).",
    )
    reuse_connections: bool | None = Field(None, description="Without it: yes, but not on this machine.")
    embedded: bool = Field(False, description="Started and watched by `openfall up` on this machine.")

    @property
    def loads_models(self) -> bool:
        """Whether its engine says which models are in memory, and loads others."""
        return self.protocol == "ollama" or self.loader is not None

    @property
    def beside(self) -> float:
        """The free memory that a load beside other models needs, as a multiple of the model's."""
        return OLLAMA_BESIDE if self.protocol == "ollama" else 1.0

    @property
    def has_auth_token(self) -> bool:
        """Whether its credential is a token, which wins over its key."""
        return bool(self.auth_token.get_secret_value())

    @property
    def secrets(self) -> tuple[str, ...]:
        """Its token, else its keys, that have a value."""
        own = (self.auth_token,) if self.has_auth_token else self.api_keys or (self.api_key,)
        keys = (key.get_secret_value() for key in own)
        return tuple(key for key in keys if key)
