"""The models in the memory of an endpoint."""

from __future__ import annotations

from dataclasses import dataclass

from openfall.router_core.catalog.model_names import same_model


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model in an endpoint's memory. `upstream` is the endpoint's own spelling, `other_names` are further ones of the
    same model there: compare by `is_called`.

    `vram_gb` is in GiB; `vram_share` is the part of the model on the card (0 to 1). None means unknown.
    """

    upstream: str
    other_names: tuple[str, ...] = ()
    vram_gb: float | None = None
    vram_share: float | None = None

    def is_called(self, name: str) -> bool:
        """Whether a name means this model."""
        return any(same_model(name, own) for own in (self.upstream, *self.other_names))
