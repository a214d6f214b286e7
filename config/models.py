"""`models`, `roles`, `tasks` and `urgency`: what callers ask for, and what that means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from openfall.config.document import Node
from openfall.config.entries import (
    Entry,
    built,
    by_name,
    named,
    within,
)
from openfall.config.field_types import (
    FieldType,
    flag,
    listed,
    number,
    one_of,
    seconds,
    share,
    size,
    text,
    whole,
    yes_no_or,
)
from openfall.config.open_fall import CANNED_REPLY, REMEDIES
from openfall.config.problems import quoted
from openfall.config.references import References
from openfall.router_core.catalog.entries import (
    DEFAULT_QUALITY,
    Backend,
    CheckKind,
    Ensemble,
    ModelSpec,
    Order,
    Pick,
    Pool,
    Prices,
    Role,
    TaskType,
)
from openfall.router_core.catalog.policies import URGENCY_DEFAULTS, Cloud, UrgencyPolicy
from openfall.router_core.jobs.job import Urgency

R = TypeVar("R", bound=Role)

_CLOUD_MARKS = (":cloud", "-cloud")
"""How Ollama names a model that a local host only passes on to a machine of its maker."""

URGENCY = one_of("urgency", list(Urgency))

URGENCY_POLICY = Entry(
    UrgencyPolicy,
    {
        "start_within": seconds.meaning("The target for an answer to start."),
        "expires_after": seconds.meaning("After this nobody wants the answer any more."),
        "min_share": share.meaning(
            "Of a pool's calls its jobs get at least so much, while more urgent ones wait, too."
        ),
        "max_queued": whole.meaning("How many of its jobs may wait for one model: more are refused."),
        "allow_cloud": yes_no_or(Cloud.WHEN_LATE).meaning(
            "Whether its jobs may leave the local pools; `when_late`: once they are past `start_within`."
        ),
    },
    optional=frozenset({"start_within", "expires_after"}),
)

PRICES = Entry(
    Prices,
    {
        "in": number.meaning("What is read."),
        "out": number.meaning("What is written."),
        "cache_read": number.meaning("What the provider finds in its cache. Without it: as `in`."),
        "cache_write": number.meaning("What the provider puts into its cache."),
    },
    {"in": "input", "out": "output"},
)


def model_entry(backends: References, tasks: References) -> Entry[ModelSpec]:
    """What a model may say, where these backends and tasks exist."""
    scored = References("task", {*tasks.declared, DEFAULT_QUALITY}, {*tasks.sound, DEFAULT_QUALITY})
    return Entry(
        ModelSpec,
        {
            "upstream": text.meaning("What the backend calls it."),
            "backends": backends.many.meaning("The backends that serve it, all in one pool."),
            "context": size.meaning("Tokens of context: a prompt that cannot fit is not sent."),
            "timeout": seconds.meaning("The longest that one call may take."),
            "max_tokens": size.meaning("The longest answer where the caller does not say."),
            "tools": flag.meaning("It can call tools."),
            "json_schema": flag.meaning("It can be held to a JSON Schema."),
            "images": flag.meaning("It can look at images."),
            "sampling_params": flag.meaning("It takes temperature, top_p and top_k."),
            "vram_gb": number.meaning("Memory in GB that it takes on a graphics card."),
            "load_time": seconds.meaning("How long it takes to load."),
            "slow_after": seconds.meaning("A call that takes longer counts as slow for the breaker."),
            "quality": by_name(scored, number).meaning(
                "From 0 to 1: how well it does a task; `default` for every task that is not named."
            ),
            "usd_per_mtok": within(PRICES).meaning(
                "US dollars for a million tokens. Without it, and with metered billing: from `config/prices.yaml`, "
                "if the model is there; else not known, which is not nothing."
            ),
        },
    )


def _ensemble_entry(models: References) -> Entry[Ensemble]:
    return Entry(
        Ensemble,
        {
            "answers": whole.meaning("How many models of the chain are to answer."),
            "pick": one_of("pick", list(Pick)).meaning(
                "By the `quality` of the model, by `agreement` among the answers, or by a `judge`."
            ),
            "judge": models.one.meaning("The model that judges."),
        },
    )


def _role_table(models: References) -> dict[str, FieldType[Any]]:
    return {
        "chain": models.many.meaning("The models that may answer: the first is asked first."),
        "urgency": URGENCY.meaning("How soon, where the caller does not say."),
        "order": one_of("order", list(Order)).meaning(
            "`as_written`, or ranked for each job `by_urgency`: loaded and quick, or good and cheap."
        ),
        "local_only": flag.meaning("Never leaves the local pools, whatever fails."),
        "checks": listed(one_of("check", list(CheckKind))).meaning("What an answer has to be, or the next is asked."),
        "pattern": text.meaning("A regular expression that has to be found in the answer."),
        "ensemble": within(_ensemble_entry(models)).meaning("Ask several, and keep the best answer."),
        "open_fall": REMEDIES.meaning("What is done when nothing can serve its jobs. Without it: as `open_fall` says."),
        "canned_reply": CANNED_REPLY.meaning("What `canned_reply` says to them. Without it: as `open_fall` says."),
    }


def role_entry(models: References) -> Entry[Role]:
    """What a role may say, where these models exist."""
    return Entry(Role, _role_table(models))


def task_entry(models: References) -> Entry[TaskType]:
    """What a type of task may say, where these models exist."""
    words = listed(text).meaning("Words or phrases that tell a prompt of this kind, where the caller does not say.")
    return Entry(TaskType, {**_role_table(models), "words": words})


def read_models(section: Node | None, backends: References, tasks: References) -> dict[str, ModelSpec]:
    """The models with at least one known backend; what is wrong with any is reported."""
    if section is None:
        return {}
    entry = model_entry(backends, tasks)
    models = {name: built(entry, place) for name, place in named(section)}
    return {name: model for name, model in models.items() if "backends" in model.model_fields_set}


def read_roles(section: Node | None, entry: Entry[R]) -> dict[str, R]:
    """The roles or tasks with at least one known model; what is wrong with any is reported."""
    if section is None:
        return {}
    return {
        name: _judged_whole(place, role)
        for name, place in named(section)
        if "chain" in (role := built(entry, place)).model_fields_set
    }


def _judged_whole(place: Node, role: R) -> R:
    """What follows from a mistake in a chain or an ensemble is not told too: the catalog does not see the ensemble."""
    broken = tuple(f"{place.path}.{key}" for key in ("chain", "ensemble"))
    faulty = any(problem.path.startswith(broken) for problem in place.page.problems)
    return role.model_copy(update={"ensemble": None}) if faulty else role


def read_urgency(section: Node | None) -> Mapping[Urgency, UrgencyPolicy]:
    """The urgencies: the catalog's own, with whatever the section says otherwise."""
    fields = section.fields(list(Urgency)) if section is not None else {}
    told = {
        Urgency(word): built(URGENCY_POLICY, place, URGENCY_DEFAULTS[Urgency(word)].model_dump())
        for word, place in fields.items()
    }
    return {**URGENCY_DEFAULTS, **told}


def refuse_leaks(
    section: Node, models: Mapping[str, ModelSpec], backends: Mapping[str, Backend], pools: Mapping[str, Pool]
) -> None:
    """Report each model that a local pool would pass on to the cloud: what is local never leaves."""
    for name, model in models.items():
        upstream = model.upstream if "upstream" in model.model_fields_set else ""
        local = [backends[place].pool for place in model.backends if pools[backends[place].pool].local]
        if local and upstream.lower().endswith(_CLOUD_MARKS):
            message = f"{quoted(upstream)} runs in the cloud, but pool {quoted(local[0])} is local"
            remedy = "Serve it at a backend of a pool that is not local."
            section.find(f"{name}.upstream").report(message, remedy)
