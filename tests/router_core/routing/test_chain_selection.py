from __future__ import annotations

from typing import Any

import pytest

from openfall.router_core.catalog.answer_policy import Ensemble
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.caller_groups import Group
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.prices import Prices
from openfall.router_core.catalog.roles_and_tasks import Role, TaskType
from openfall.router_core.catalog.urgency_policy import Order
from openfall.router_core.routing.chain_selection import ChainSelection, RouteRequest, get_group, select_chain

MODELS = {name: ModelSpec(upstream=name, backends=("tower",)) for name in ("coder", "tiny", "opus")}
ROLES = {"ace": Role(chain=("opus", "coder"), order=Order.BY_URGENCY), "chat": Role(chain=("tiny",))}
TASKS = {"code": TaskType(chain=("coder", "tiny"), words=("function", "class"))}
GROUPS = (
    Group(name="main", match=("whatsapp:main", "discord:#main"), role="ace"),
    Group(name="coders", match=("*:code-?",), task="code"),
    Group(name="capped", match=("capped:*",), local_only=True),
    Group(name="others", match=("*",), chain=("tiny", "coder")),
)

CLOUD = {
    "backends": {
        "tower": Backend(url="http://127.0.0.1:8080", pool="gpu"),
        "provider": Backend(url="http://127.0.0.1:8081", pool="cloud"),
    },
    "models": {
        **MODELS,
        "metered": ModelSpec(upstream="metered", backends=("provider",)),
        "priced": ModelSpec(upstream="priced", backends=("provider",), usd_per_mtok=Prices(input=3, output=15)),
    },
}


def catalog(**parts: Any) -> Catalog:
    backends = {"tower": Backend(url="http://127.0.0.1:8080", pool="gpu")}
    return Catalog(**{"backends": backends, "models": MODELS, "roles": ROLES, "tasks": TASKS, **parts})


def chosen(by: Catalog | None = None, **request: Any) -> ChainSelection:
    by = by or catalog(groups=GROUPS)
    selection = select_chain(by, RouteRequest(**request), get_group(by, request.get("group")))
    assert selection
    return selection


def test_a_role_gives_its_chain_and_its_order() -> None:
    assert chosen(role="ace") == ChainSelection(
        chain=("opus", "coder"), why="role ace", place="role ace", order=Order.BY_URGENCY, role="ace"
    )


def test_a_task_gives_its_chain_ranked_by_urgency() -> None:
    assert chosen(task="code") == ChainSelection(
        chain=("coder", "tiny"), why="task code", place="task code", order=Order.BY_URGENCY, task="code"
    )


def test_a_model_is_a_chain_of_its_own_and_a_role_beside_it_only_gives_its_defaults() -> None:
    why = "the caller named this model"
    assert chosen(model="tiny") == ChainSelection(chain=("tiny",), why=why)
    assert chosen(model="tiny", role="ace", task="code") == ChainSelection(
        chain=("tiny",), why=why, role="ace", task="code"
    )


def test_a_role_comes_before_a_task_which_still_gives_its_scores() -> None:
    selection = chosen(role="ace", task="code")
    assert (selection.chain, selection.role, selection.task) == (("opus", "coder"), "ace", "code")


@pytest.mark.parametrize(
    ("target", "chain"), [("ace", ("opus", "coder")), ("code", ("coder", "tiny")), ("opus", ("opus",))]
)
def test_a_target_names_a_role_a_task_or_a_model(target: str, chain: tuple[str, ...]) -> None:
    assert chosen(target=target).chain == chain


def test_a_target_does_not_count_beside_a_name() -> None:
    assert chosen(target="no such thing", role="chat").chain == ("tiny",)


@pytest.mark.parametrize(
    ("caller", "words"),
    [
        ({"target": "aec"}, "unknown role, task or model 'aec'. Did you mean 'ace'?"),
        ({"target": "cod"}, "unknown role, task or model 'cod'. Did you mean 'code'?"),
        ({"target": "tiyn"}, "unknown role, task or model 'tiyn'. Did you mean 'tiny'?"),
        ({"role": ""}, "unknown role ''. Known: ace, chat."),
        ({"task": "coed"}, "unknown task 'coed'. Did you mean 'code'?"),
        ({"model": "ace"}, "unknown model 'ace'. Known: coder, opus, tiny."),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(caller: Any, words: str) -> None:
    with pytest.raises(UnknownName) as caught:
        chosen(**caller)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("group", "name"),
    [("whatsapp:main", "main"), ("discord:#main", "main"), ("x:code-7", "coders"), ("Whatsapp:Main", "others")],
)
def test_the_first_group_with_a_matching_pattern_applies_and_case_counts(group: str, name: str) -> None:
    match = get_group(catalog(groups=GROUPS), group)
    assert match
    assert match.name == name


def test_no_group_applies_without_a_name_or_a_matching_pattern() -> None:
    assert get_group(catalog(groups=GROUPS), None) is None
    assert get_group(catalog(groups=GROUPS[:2]), "elsewhere") is None


@pytest.mark.parametrize("target", [None, "", "auto"])
def test_without_a_name_from_the_caller_the_group_decides(target: str | None) -> None:
    selection = chosen(target=target, group="whatsapp:main", texts=("a function",))
    assert (selection.role, selection.chain, selection.why) == ("ace", ("opus", "coder"), "group main, role ace")
    selection = chosen(target=target, group="x:code-1")
    assert (selection.task, selection.chain, selection.why) == ("code", ("coder", "tiny"), "group coders, task code")
    selection = chosen(target=target, group="anywhere", texts=("a function",))
    assert selection == ChainSelection(chain=("tiny", "coder"), why="group others", place="group others")


def test_a_caller_comes_before_its_group() -> None:
    assert chosen(group="whatsapp:main", target="chat").role == "chat"


def test_a_group_that_only_limits_leaves_the_choice_to_the_prompt() -> None:
    selection = chosen(group="capped:x", texts=("a function of a class",))
    assert (selection.task, selection.why) == ("code", "code (classified: 'function', 'class'; 0.8)")


@pytest.mark.parametrize(
    ("parts", "chain", "why"),
    [
        ({}, ("tiny",), "role chat (the default)"),
        ({"roles": {"ace": ROLES["ace"]}}, ("opus", "coder"), "role ace (the default)"),
        ({"roles": {}}, ("coder", "tiny"), "task code (the default)"),
        ({"roles": {}, "tasks": {}}, ("coder",), "model coder (the default: the cheapest)"),
        ({"default": "code"}, ("coder", "tiny"), "task code (the default)"),
        ({"default": "ace"}, ("opus", "coder"), "role ace (the default)"),
    ],
)
def test_without_any_other_source_the_default_applies(parts: Any, chain: tuple[str, ...], why: str) -> None:
    selection = chosen(catalog(**parts), texts=("hello",))
    assert (selection.chain, selection.why) == (chain, why)


def test_without_a_default_the_cheapest_role_is_taken_and_never_an_ensemble() -> None:
    both = Role(chain=("coder", "tiny"), ensemble=Ensemble())
    roles = {"chat": both, "ace": Role(chain=("metered",)), "local": Role(chain=("coder", "metered"))}
    selection = chosen(catalog(**CLOUD, roles=roles))
    assert (selection.role, selection.why) == ("local", "role local (the default: the cheapest)")
    pair = TaskType(chain=both.chain, ensemble=both.ensemble)
    assert chosen(catalog(roles={"chat": both}, tasks={"pair": pair})).chain == ("coder",)


def test_an_unknown_price_is_never_the_cheapest() -> None:
    roles = {"ace": Role(chain=("metered",)), "priced": Role(chain=("priced",))}
    assert chosen(catalog(**CLOUD, roles=roles)).role == "priced"


def test_a_caller_may_name_a_task_by_an_alias_and_the_job_has_its_own_name() -> None:
    by = catalog(tasks={"code": TaskType(chain=("coder",), aliases=("program", "script"))})
    assert chosen(by, task="program") == chosen(by, target="script") == chosen(by, task="code")
    assert chosen(by, role="ace", task="script").task == chosen(by, model="tiny", task="script").task == "code"


def test_a_caller_may_name_a_model_by_the_id_of_its_provider() -> None:
    by = catalog(models={**MODELS, "haiku": ModelSpec(upstream="claude-haiku-4-5", backends=("tower",))})
    for named in ("anthropic/claude-haiku-4.5", "claude-haiku-4-5"):
        selection = chosen(by, model=named)
        assert (selection.chain, selection.why) == (("haiku",), f"the caller named this model as {named}")
        assert chosen(by, target=named) == selection


@pytest.mark.parametrize(
    ("request_", "remedy"),
    [
        ({"role": "opus"}, "unknown role 'opus'. Did you mean the model 'opus'?"),
        ({"role": "code"}, "unknown role 'code'. Did you mean the task 'code'?"),
        ({"role": "vendor/opus"}, "unknown role 'vendor/opus'. Did you mean the model 'opus'?"),
        ({"task": "chat"}, "unknown task 'chat'. Did you mean the role 'chat'?"),
        ({"task": "cod"}, "unknown task 'cod'. Did you mean 'code'?"),
    ],
)
def test_a_name_of_another_kind_is_an_error_that_names_the_kind(request_: Any, remedy: str) -> None:
    with pytest.raises(UnknownName) as caught:
        chosen(**request_)
    assert str(caught.value) == remedy


def test_a_model_called_auto_is_that_model() -> None:
    by = catalog(models={**MODELS, "auto": ModelSpec(upstream="auto", backends=("tower",))})
    assert chosen(by, target="auto").chain == ("auto",)


def test_a_role_called_auto_is_that_role() -> None:
    selection = chosen(catalog(roles={**ROLES, "auto": Role(chain=("opus",))}), target="auto")
    assert selection.role == "auto"


def test_an_empty_catalog_selects_no_chain() -> None:
    assert select_chain(Catalog(), RouteRequest(texts=("hello",)), None) is None
