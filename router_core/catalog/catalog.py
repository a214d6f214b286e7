"""The catalog: everything a job can be sent to, and the policies."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Self

from pydantic import model_validator

from openfall.router_core.catalog.catalog_errors import MAX_NAME_CHARACTERS, AmbiguousName, CatalogError, UnknownName
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.model_names import models_meant, nearest_model
from openfall.router_core.catalog.pools import Billing
from openfall.router_core.catalog.unchecked_catalog import UncheckedCatalog
from openfall.router_core.catalog.validation import validate_catalog
from openfall.router_core.vocabulary import Urgency


class Catalog(UncheckedCatalog):
    """A catalog without contradictions. Building another raises a `ValidationError` with a `CatalogError` in it."""

    @model_validator(mode="after")
    def _has_no_contradiction(self) -> Self:
        if problems := tuple(validate_catalog(self)):
            raise CatalogError(problems)
        return self

    def model(self, alias: str) -> ModelSpec:
        """The model of an alias. Raises `UnknownName`."""
        if alias not in self.models:
            raise UnknownName("model", alias, self.models)
        return self.models[alias]

    def find_model(self, name: str, *, kind: str = "model", known: Iterable[str] = ()) -> str:
        """The alias that a caller means: the alias itself, or an id of a provider (`anthropic/claude-opus-4.6`).

        Raises `AmbiguousName` if several models have the id, and `UnknownName`, which may propose one of `known` too.
        """
        if name in self.models:
            return name
        if len(name) > MAX_NAME_CHARACTERS:
            raise UnknownName(kind, name, {*known, *self.models})
        upstreams = {alias: spec.upstream for alias, spec in self.models.items()}
        meant = models_meant(name, upstreams)
        if len(meant) > 1:
            raise AmbiguousName(kind, name, meant)
        if not meant:
            near = nearest_model(name, upstreams)
            hint = f"{near!r} ({upstreams[near]})" if near is not None else ""
            raise UnknownName(kind, name, {*known, *self.models}, hint)
        return meant[0]

    def find_task(self, name: str) -> str | None:
        """The task of a name or an alias; None: there is none."""
        if name in self.tasks:
            return name
        return next((task for task, spec in self.tasks.items() if name in spec.aliases), None)

    def pool_of(self, alias: str) -> str:
        """The pool whose workers serve a model."""
        return self.backends[self.model(alias).backends[0]].pool

    def is_local(self, alias: str) -> bool:
        """Whether requests to a model stay on the owner's machines."""
        return self.pools[self.pool_of(alias)].local

    def billing(self, backend: str) -> Billing:
        """How calls at a backend are paid for."""
        spec = self.backends[backend]
        return spec.billing or (Billing.LOCAL if self.pools[spec.pool].local else Billing.METERED)

    def is_metered(self, backend: str) -> bool:
        """Whether each call at a backend is paid for."""
        return self.billing(backend) is Billing.METERED

    def card_of(self, backend: str) -> str | None:
        """The graphics card of a backend whose models openfall loads and evicts. None: its server decides."""
        spec = self.backends[backend]
        return None if spec.vram_gb is None else spec.card or backend

    def credentials(self, backend: str) -> dict[str, str]:
        """The API keys of a backend by their names, in the order of the file. Empty if the backend has no key.

        A name is a digest that reveals nothing. Backends of one host with the same key share it. The host is part of
        it, so that a dummy key (`ollama`) does not connect unrelated backends.
        """
        spec = self.backends[backend]
        host = spec.url.split("/")[2]
        return {_digest(f"{host} {key}"): key for key in spec.secrets}

    def call_timeout(self, alias: str, urgency: Urgency) -> float:
        """The maximum time of one call of a model for a job of an urgency, in seconds: the model's own, else the
        urgency's, else as long as the job is wanted."""
        policy = self.urgency[urgency]
        return self.model(alias).timeout or policy.timeout or policy.expires_after

    def queue(self, alias: str, urgency: Urgency) -> str:
        """The queue of a model for jobs of an urgency."""
        return f"{self.pool_of(alias)}.{alias}.{urgency}"

    def models_of(self, pool: str) -> tuple[str, ...]:
        """The models that a worker of a pool serves. Raises `UnknownName`."""
        if pool not in self.pools:
            raise UnknownName("pool", pool, self.pools)
        return tuple(alias for alias in self.models if self.pool_of(alias) == pool)


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=5, person=b"openfall").hexdigest()
