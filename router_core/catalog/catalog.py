"""The catalog: everything a job can be sent to, and the policies."""

from __future__ import annotations

from hashlib import blake2b
from typing import Self

from pydantic import model_validator

from openfall.router_core.catalog.entries import Billing, ModelSpec, UncheckedCatalog
from openfall.router_core.catalog.errors import CatalogError, UnknownName
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

    def credentials(self, backend: str) -> dict[str, str]:
        """The API keys of a backend by their names, in the order of the file. Empty if the backend has no key.

        A name is a digest that reveals nothing. Backends of one host with the same key share it. The host is part of
        it, so that a dummy key (`ollama`) does not connect unrelated backends.
        """
        spec = self.backends[backend]
        host = spec.url.split("/")[2]
        return {_digest(f"{host} {key}"): key for key in spec.secrets}

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
