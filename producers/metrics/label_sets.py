"""The closed sets of labels: names of the catalog, and words of this version. Everything else counts as `other`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.state.metric_counts import OTHER
from openfall.router_core.vocabulary import BreakerState, ErrorClass, Fallback, HoldReason, Remedy, Urgency

NOTIFIERS = frozenset({"discord", "webhook"})
"""`webhook`: those of jobs too."""
NOTIFIED = frozenset({"delivered", "failed", "dead"})
CAUSES = frozenset({*ErrorClass, *Fallback, *HoldReason, "late", "stranded", "blocked", "overdue"})

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelSets:
    """The values that each label may have. An empty value says that there is none."""

    values: Mapping[str, frozenset[str]]

    def fold(self, names: Iterable[str], labels: Iterable[str | None]) -> Labels:
        """The values of some labels, with `other` for those that are unknown."""
        return tuple(
            "" if not value else value if value in self.values[name] else OTHER
            for name, value in zip(names, labels, strict=True)
        )


def label_sets(catalog: Catalog) -> LabelSets:
    """The sets of a catalog."""
    models = frozenset(catalog.models)
    return LabelSets({
        "role": frozenset({*catalog.roles, *catalog.tasks}),
        "urgency": frozenset(Urgency),
        "group": frozenset(group.name for group in catalog.groups),
        "model": models,
        "from": models,
        "to": models,
        "backend": frozenset(catalog.backends),
        "pool": frozenset(backend.pool for backend in catalog.backends.values()),
        "card": frozenset(filter(None, map(catalog.card_of, catalog.backends))),
        "state": frozenset(BreakerState),
        "cause": CAUSES,
        "reason": frozenset(HoldReason),
        "remedy": frozenset(Remedy),
        "by": frozenset({"release", "request"}),
        "notifier": NOTIFIERS,
        "outcome": NOTIFIED,
    })  # fmt: skip
