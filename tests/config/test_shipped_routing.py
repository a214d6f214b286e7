"""Where the shipped files send a job: by default, by synonyms, by ids of providers, and within bound groups."""

from __future__ import annotations

import pytest

from openfall import config
from openfall.config.paths import SHIPPED
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.routing.chain_selection import RouteRequest, select_chain
from openfall.router_core.routing.fleet_state import FleetState
from openfall.router_core.routing.route import NothingFits, route


def catalog_of(name: str) -> Catalog:
    return config.load(next(path for path in SHIPPED if path.stem == name), environ={}).catalog


@pytest.mark.parametrize(
    ("name", "prompt", "place"),
    [
        *(("echo-brain", prompt, "task simple") for prompt in ("hi", "2+2?", "Was ist ein Mutex?")),
        ("echo-brain", "Test the resilient system", "task simple"),
        ("artifacts", "hi", "role general"),
        ("ace", "hi", "role ace"),
        ("groups", "write a function", "role others"),
    ],
)
def test_a_prompt_without_a_word_gets_the_default_of_the_file(name: str, prompt: str, place: str) -> None:
    catalog = catalog_of(name)
    selection = select_chain(catalog, RouteRequest(texts=(prompt,)), None)
    assert selection
    assert selection.place == place
    role = catalog.roles.get(selection.role or "")
    assert role is None or role.ensemble is None


@pytest.mark.parametrize(
    ("alias", "task"),
    [("erd", "mermaid"), ("diagram", "mermaid"), ("architecture", "mermaid"), ("tasks", "jira"), ("planning", "jira")],
)
def test_the_artifact_types_may_be_named_by_their_synonyms(alias: str, task: str) -> None:
    selection = select_chain(catalog_of("artifacts"), RouteRequest(task=alias), None)
    assert selection
    assert selection.task == task


@pytest.mark.parametrize(
    ("name", "named", "alias"),
    [
        ("ace", "anthropic/claude-opus-4.6", "opus"),
        ("ace", "claude-haiku-4-5", "haiku"),
        ("echo-brain", "qwen2.5-coder:32b", "qwen-coder-32b"),
        ("groups", "claude-sonnet-4-5", "sonnet"),
    ],
)
def test_a_model_may_be_named_as_its_provider_names_it(name: str, named: str, alias: str) -> None:
    selection = select_chain(catalog_of(name), RouteRequest(target=named), None)
    assert selection
    assert selection.chain == (alias,)


@pytest.mark.parametrize(
    ("group", "choice"),
    [
        ("whatsapp:main", {"role": "others"}),
        ("whatsapp:main", {"model": "flat-cloud"}),
        ("whatsapp:friends", {"role": "main"}),
        ("whatsapp:friends", {"model": "sonnet"}),
    ],
)
def test_main_never_uses_the_flat_backend_and_no_other_group_reaches_sonnet(group: str, choice: dict[str, str]) -> None:
    catalog = catalog_of("groups")
    with pytest.raises(NothingFits, match="is bound to its models"):
        route(catalog, lambda urgency: FleetState(), RouteRequest(group=group, **choice))


def test_a_message_without_a_group_is_not_expensive_by_accident() -> None:
    catalog = catalog_of("groups")
    chain = route(catalog, lambda urgency: FleetState(), RouteRequest(texts=("Write a story",))).chain
    assert chain == ("flat-cloud", "haiku")
