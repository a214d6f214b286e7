"""What exists: pools, backends, models, roles. Strict: it names every contradiction at once when it is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator

from router_core.job import Urgency

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
"""Of a pool, backend, model or role. No dots: a queue's name is `{pool}.{model}.{urgency}`."""

Seconds = Annotated[float, Field(gt=0)]


class UnknownName(LookupError):
    """A pool, model, role or backend that the catalog does not have. The message names the nearest that it has."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name = kind, name
        known = sorted(known)
        near = get_close_matches(name, known, n=1)
        remedy = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known) or 'none'}."
        super().__init__(f"unknown {kind} {name!r}. {remedy}")


class Problem(BaseModel):
    """One contradiction: where it stands (`models.coder.at`) and what is wrong with it."""

    model_config = ConfigDict(frozen=True)

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class CatalogError(ValueError):
    """The catalog contradicts itself."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pool(_Entry):
    """Which workers serve a backend. What is `local` never leaves the machines of its owner."""

    local: bool = False


class Backend(_Entry):
    """One endpoint that serves models. `slots` is how many calls it gets at once from the whole fleet."""

    protocol: Literal["openai"] = "openai"
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+(/\S*)?$")]
    pool: Name
    slots: Annotated[int, Field(ge=1, le=4096)] = 4
    key: SecretStr = SecretStr("")
    keep_alive: bool | None = None
    """Use a connection again. None: yes, but not to an engine on this machine (see `workers.backends.registry`)."""
    embedded: bool = False
    """Started and watched by `openfall up` on this machine."""


class ModelSpec(_Entry):
    """A model under our own name. `upstream` is the name that the provider knows it by."""

    upstream: Annotated[str, StringConstraints(min_length=1)]
    at: Annotated[tuple[Name, ...], Field(min_length=1)]
    ctx: Annotated[int, Field(ge=1)] = 4096
    timeout: Seconds = 120.0
    max_tokens: Annotated[int, Field(ge=1)] | None = None


class Role(_Entry):
    """What a caller asks for by name: a chain and its defaults."""

    chain: Annotated[tuple[Name, ...], Field(min_length=1)]
    urgency: Urgency | None = None


class UrgencyPolicy(_Entry):
    """`start_within` is the target for an answer to start, `give_up` the time after which nobody wants it. Seconds."""

    start_within: Seconds
    give_up: Seconds


URGENCY_DEFAULTS: Mapping[Urgency, UrgencyPolicy] = {
    Urgency.INTERACTIVE: UrgencyPolicy(start_within=5, give_up=120),
    Urgency.BACKGROUND: UrgencyPolicy(start_within=30, give_up=3600),
    Urgency.BATCH: UrgencyPolicy(start_within=3600, give_up=86400),
}

POOL_DEFAULTS: Mapping[str, Pool] = {"gpu": Pool(local=True), "cloud": Pool()}


class Catalog(_Entry):
    """Everything a job can be sent to."""

    pools: Mapping[Name, Pool] = POOL_DEFAULTS
    backends: Mapping[Name, Backend] = {}
    models: Mapping[Name, ModelSpec] = {}
    roles: Mapping[Name, Role] = {}
    urgency: Mapping[Urgency, UrgencyPolicy] = URGENCY_DEFAULTS

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if problems := tuple(self._problems()):
            raise CatalogError(problems)
        return self

    def _problems(self) -> Iterator[Problem]:
        yield from _backend_problems(self)
        yield from _model_problems(self)
        yield from _role_problems(self)
        yield from (Problem(place=f"urgency.{word}", message="missing") for word in Urgency if word not in self.urgency)

    def model(self, alias: str) -> ModelSpec:
        """The model of that alias; `UnknownName` when there is none."""
        if alias not in self.models:
            raise UnknownName("model", alias, self.models)
        return self.models[alias]

    def pool_of(self, alias: str) -> str:
        """The pool whose workers serve a model."""
        return self.backends[self.model(alias).at[0]].pool

    def queue(self, alias: str, urgency: Urgency) -> str:
        """The queue in which a job of that urgency waits for that model."""
        return f"{self.pool_of(alias)}.{alias}.{urgency}"

    def models_of(self, pool: str) -> tuple[str, ...]:
        """The models that a worker of that pool serves; `UnknownName` when there is no such pool."""
        if pool not in self.pools:
            raise UnknownName("pool", pool, self.pools)
        return tuple(alias for alias in self.models if self.pool_of(alias) == pool)


def _backend_problems(catalog: Catalog) -> Iterator[Problem]:
    for name, backend in catalog.backends.items():
        if backend.pool not in catalog.pools:
            yield _unknown(f"backends.{name}.pool", "pool", backend.pool, catalog.pools)


def _model_problems(catalog: Catalog) -> Iterator[Problem]:
    for name, model in catalog.models.items():
        place = f"models.{name}.at"
        for backend in model.at:
            if backend not in catalog.backends:
                yield _unknown(place, "backend", backend, catalog.backends)
        pools = {catalog.backends[backend].pool for backend in model.at if backend in catalog.backends}
        if len(pools) > 1:
            message = f"its backends are in different pools ({', '.join(sorted(pools))}): one model, one pool"
            yield Problem(place=place, message=message)


def _role_problems(catalog: Catalog) -> Iterator[Problem]:
    for name, role in catalog.roles.items():
        place = f"roles.{name}.chain"
        for alias in role.chain:
            if alias not in catalog.models:
                yield _unknown(place, "model", alias, catalog.models)
        if len(set(role.chain)) < len(role.chain):
            yield Problem(place=place, message="a model stands in it twice")
        if name in catalog.models and role.chain != (name,):
            yield Problem(place=f"roles.{name}", message="a model has the same name: callers could mean either")


def _unknown(place: str, kind: str, name: str, known: Iterable[str]) -> Problem:
    return Problem(place=place, message=str(UnknownName(kind, name, known)))
