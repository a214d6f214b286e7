"""The section `open_fall`: what happens when nothing can serve a job."""

from __future__ import annotations

from pydantic import Field

from openfall.config.settings import NotifySection, Settings
from openfall.router_core.catalog.field_types import CatalogEntry, Count
from openfall.router_core.catalog.open_fall_policy import OpenFallPolicy, Remedies
from openfall.router_core.vocabulary import Urgency

_POLICY = OpenFallPolicy()
_POLICY_KEYS = ("default_fallbacks", "canned_reply", "last_answer_ttl", "hold_for")


class ReleaseSection(CatalogEntry):
    """How held jobs come back."""

    initial: Count = Field(
        _POLICY.release_initial,
        description="Jobs released at once to a recovered model. It grows by one for each answer ...",
    )
    max: Count | None = Field(_POLICY.release_max, description="... up to this. Without it: the slots of its backends.")


class _UrgencyRemedies(CatalogEntry):
    interactive: Remedies = Field(
        _POLICY.remedies[Urgency.INTERACTIVE],
        description="Remedies for a job whose caller waits. The first that is available is used.",
    )
    background: Remedies = Field(
        _POLICY.remedies[Urgency.BACKGROUND], description="Remedies for a job whose answer is read soon."
    )
    batch: Remedies = Field(
        _POLICY.remedies[Urgency.BATCH], description="Remedies for a job whose caller does not wait."
    )
    default: Remedies | None = Field(None, description="Remedies for each of these urgencies without its own.")


class OpenFallSection(OpenFallPolicy, _UrgencyRemedies):
    """The section as it is written: the policy of the catalog, and who is notified."""

    release: ReleaseSection = Field(
        ReleaseSection(), description="How held jobs come back to a recovered model: slowly at first."
    )
    notify: NotifySection = Field(NotifySection(), description="Who is notified.")

    def policy(self) -> OpenFallPolicy:
        """The part of the catalog."""
        return OpenFallPolicy(
            **{name: getattr(self, name) for name in _POLICY_KEYS},
            remedies={urgency: self._remedies(urgency) for urgency in Urgency},
            release_initial=self.release.initial,
            release_max=self.release.max,
        )

    def _remedies(self, urgency: Urgency) -> Remedies:
        own: Remedies = getattr(self, urgency)
        return own if urgency in self.model_fields_set or self.default is None else self.default

    @classmethod
    def of(cls, policy: OpenFallPolicy, settings: Settings) -> OpenFallSection:
        """The section that reads as this policy and these settings."""
        return cls(
            **{name: getattr(policy, name) for name in _POLICY_KEYS},
            **{str(urgency): remedies for urgency, remedies in policy.remedies.items()},
            release=ReleaseSection(initial=policy.release_initial, max=policy.release_max),
            notify=settings.notify,
        )
