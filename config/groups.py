"""`groups`: whose job it is. The first that fits applies."""

from __future__ import annotations

from dataclasses import replace

from openfall.config.document import Node
from openfall.config.entries import Entry, built, own_name
from openfall.config.field_types import (
    FieldType,
    flag,
    listed,
    text,
)
from openfall.config.models import URGENCY
from openfall.config.problems import quoted
from openfall.config.references import References
from openfall.router_core.catalog.entries import Group

_NAME: FieldType[str] = FieldType(own_name, {"type": "string"})


def group_entry(roles: References, tasks: References, models: References) -> Entry[Group]:
    """What a group may say, where these roles, tasks and models exist."""
    return Entry(
        Group,
        {
            "name": _NAME.meaning("How the ledger and the log call it."),
            "match": listed(text).meaning("Shell patterns for the group that a caller names: `whatsapp:*`."),
            "role": roles.one.meaning("The role that its jobs take."),
            "task": tasks.one.meaning("Or the task."),
            "chain": models.many.meaning("Or the models. With none of the three the group only limits."),
            "urgency": URGENCY.meaning("The most urgent that its jobs may be."),
            "local_only": flag.meaning("Its jobs never leave the local pools."),
        },
    )


def read_groups(section: Node | None, entry: Entry[Group]) -> tuple[Group, ...]:
    """The groups that have a name and a pattern, in order; what is wrong with any is reported."""
    groups: dict[str, Group] = {}
    for number_, item in enumerate(section.items() if section is not None else (), start=1):
        place = replace(item, path=f"groups.{item.name or number_}")
        group = built(entry, place)
        if not {"name", "match"} <= group.model_fields_set:
            continue
        if group.name in groups:
            place.report(f"another group is called {quoted(group.name)}", "Give each a name of its own.")
        else:
            groups[group.name] = group
    return tuple(groups.values())
