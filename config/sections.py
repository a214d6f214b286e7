"""The sections of a file that make the catalog, in their order: what an entry of each may say, and how they stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from openfall.config.backends import POOL, backend_entry
from openfall.config.entries import Entry
from openfall.config.groups import group_entry
from openfall.config.models import (
    URGENCY_POLICY,
    model_entry,
    role_entry,
    task_entry,
)
from openfall.config.open_fall import open_fall_entry
from openfall.config.references import References
from openfall.config.settings import BREAKERS, RETRY


class Form(Enum):
    """How the entries of a section stand in the file."""

    NAMED = "a mapping of names to entries"
    LISTED = "a list of entries"
    BY_URGENCY = "a mapping of urgencies to entries"
    SINGLE = "one entry"


@dataclass(frozen=True, slots=True)
class Section:
    """One section. Its entry knows the keys; which names there are is known only of a file."""

    form: Form
    entry: Entry[Any]
    about: str


_ANY = References("name")

CATALOG: Mapping[str, Section] = {
    "pools": Section(
        Form.NAMED, POOL, "Which workers serve a backend. Without it: `gpu`, which is local, and `cloud`, which is not."
    ),
    "backends": Section(Form.NAMED, backend_entry(_ANY), "Where models run."),
    "models": Section(Form.NAMED, model_entry(_ANY, _ANY), "Models under names of your own."),
    "roles": Section(Form.NAMED, role_entry(_ANY), "What callers ask for by name."),
    "tasks": Section(Form.NAMED, task_entry(_ANY), "Kinds of prompt: a caller names one, or its words tell it."),
    "groups": Section(
        Form.LISTED, group_entry(_ANY, _ANY, _ANY), "Whose job it is, by the group that a caller names: the first fits."
    ),
    "urgency": Section(Form.BY_URGENCY, URGENCY_POLICY, "How soon an answer should start, and how long it is wanted."),
    "breakers": Section(Form.SINGLE, BREAKERS, "When a failing model is left alone, and how it comes back."),
    "retry": Section(Form.SINGLE, RETRY, "How the same model is asked again."),
    "open_fall": Section(Form.SINGLE, open_fall_entry(_ANY), "What happens when nothing can serve a job."),
}
