from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.caller_groups import Group
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.catalog_errors import UnknownName
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Pool
from openfall.router_core.catalog.roles_and_tasks import Role, TaskType
from openfall.router_core.catalog.urgency_policy import URGENCY_DEFAULTS, Cloud
from openfall.router_core.jobs.job import ConsideredModel
from openfall.router_core.routing.chain_selection import RouteRequest
from openfall.router_core.routing.fleet_state import Blocked, FleetState, ModelState
from openfall.router_core.routing.requirements import Requirements
from openfall.router_core.routing.route import NothingFits, Route, route
from openfall.router_core.vocabulary import BlockReason, Urgency

BACKENDS = {
    "tower": Backend(url="http://127.0.0.1:8080", pool="gpu"),
    "provider": Backend(url="https://example.invalid/v1", pool="cloud"),
}
MODELS = {
    "coder": ModelSpec(upstream="coder:32b", backends=("tower",), quality={"code": 0.95}),
    "tiny": ModelSpec(upstream="tiny:3b", backends=("tower",), context=100, tools=False),
    "opus": ModelSpec(upstream="opus-4-6", backends=("provider",), context=200_000, images=True),
    "haiku": ModelSpec(upstream="haiku-4-5", backends=("provider",), context=200_000),
}
ROLES = {
    "chat": Role(chain=("coder", "haiku"), urgency=Urgency.INTERACTIVE),
    "ace": Role(chain=("opus", "haiku", "tiny")),
    "private": Role(chain=("opus", "coder"), local_only=True),
    "tiny-only": Role(chain=("tiny",)),
    "away": Role(chain=("opus", "haiku")),
}
TASKS = {
    "code": TaskType(chain=("haiku", "coder"), words=("function",), urgency=Urgency.BATCH),
    "diary": TaskType(chain=("haiku", "coder"), local_only=True),
}
GROUPS = (
    Group(name="family", match=("family:*",), local_only=True),
    Group(name="calm", match=("calm:*",), urgency=Urgency.BACKGROUND),
    Group(name="others", match=("*",), chain=("haiku", "tiny")),
)
SHUT = Blocked(BlockReason.BREAKER, 1024.0, "its breaker is open (5 failures in a row) for 24 s more")


def catalog(**parts: Any) -> Catalog:
    return Catalog(
        **{"backends": BACKENDS, "models": MODELS, "roles": ROLES, "tasks": TASKS, "groups": GROUPS, **parts}
    )


CATALOG = catalog()


def routed(by: Catalog = CATALOG, fleet: FleetState | None = None, **caller: Any) -> Route:
    return route(by, lambda urgency: fleet or FleetState(), RouteRequest(**caller), 1000.0)


def refused(by: Catalog = CATALOG, fleet: FleetState | None = None, **caller: Any) -> NothingFits:
    with pytest.raises(NothingFits) as caught:
        routed(by, fleet, **caller)
    return caught.value


class TestWhereItGoes:
    def test_a_role_leads_to_the_first_model_of_its_chain_at_its_own_urgency(self) -> None:
        assert routed(role="chat") == Route(
            chain=("coder", "haiku"),
            configured_chain=("coder", "haiku"),
            queue="gpu.coder.interactive",
            urgency=Urgency.INTERACTIVE,
            role="chat",
            reason="role chat: coder first of 2",
            considered=(
                ConsideredModel(model="coder", reason="1st in role chat"),
                ConsideredModel(model="haiku", reason="2nd in role chat"),
            ),
        )

    def test_a_model_leads_to_itself_alone(self) -> None:
        assert routed(target="haiku") == Route(
            chain=("haiku",),
            configured_chain=("haiku",),
            queue="cloud.haiku.background",
            urgency=Urgency.BACKGROUND,
            reason="the caller named this model",
            considered=(ConsideredModel(model="haiku", reason="requested by name"),),
        )

    def test_the_words_of_a_prompt_lead_to_a_task(self) -> None:
        result = routed(texts=("write a function",), fleet=FleetState({"coder": ModelState(loaded=True)}))
        assert (result.task, result.role, result.queue) == ("code", None, "gpu.coder.batch")
        assert result.reason == "code (classified: 'function'; 0.5): coder first of 2, loaded, 0.95 for code"

    def test_a_group_leads_to_its_chain_and_has_its_name_in_the_catalog(self) -> None:
        result = routed(group="whatsapp:friends", target="auto")
        assert (result.group, result.chain, result.reason) == (
            "others",
            ("haiku", "tiny"),
            "group others: haiku first of 2",
        )

    def test_an_empty_catalog_has_no_model_to_call(self) -> None:
        assert str(refused(Catalog())) == (
            "the configuration has no roles, no tasks and no models: there is no model to call"
        )

    def test_an_unknown_name_is_refused(self) -> None:
        with pytest.raises(UnknownName, match=r"unknown role, task or model 'chatt'\. Did you mean 'chat'\?"):
            routed(target="chatt")


class TestUrgency:
    def test_that_of_the_caller_wins_over_that_of_the_role(self) -> None:
        assert routed(role="chat", urgency=Urgency.BATCH).queue == "gpu.coder.batch"

    def test_that_of_the_role_wins_over_that_of_the_task(self) -> None:
        assert routed(role="chat", task="code").urgency is Urgency.INTERACTIVE
        assert routed(role="ace", task="code").urgency is Urgency.BATCH

    def test_a_role_beside_a_model_gives_its_own(self) -> None:
        assert routed(role="chat", model="haiku").queue == "cloud.haiku.interactive"

    def test_without_any_it_is_background(self) -> None:
        assert routed(role="ace").urgency is Urgency.BACKGROUND

    def test_a_group_limits_it_though_the_caller_named_the_role(self) -> None:
        result = routed(role="chat", group="calm:x", urgency=Urgency.INTERACTIVE)
        assert (result.urgency, result.group) == (Urgency.BACKGROUND, "calm")
        assert result.reason == "role chat: coder first of 2; group calm is background at most"

    @pytest.mark.parametrize("urgency", [Urgency.BACKGROUND, Urgency.BATCH])
    def test_what_is_within_the_limit_of_a_group_stays(self, urgency: Urgency) -> None:
        result = routed(role="chat", group="calm:x", urgency=urgency)
        assert (result.urgency, result.reason) == (urgency, "role chat: coder first of 2")


class TestLocalOnly:
    @pytest.mark.parametrize(
        ("caller", "parts", "words"),
        [
            ({"role": "chat", "local_only": True}, {}, "the job is local-only"),
            ({"role": "chat", "group": "family:ann"}, {}, "group family is local-only"),
            ({"role": "private"}, {}, "role private is local-only"),
            ({"task": "diary"}, {}, "task diary is local-only"),
            ({"role": "chat", "task": "diary"}, {}, "task diary is local-only"),
            ({"role": "chat"}, {"local_only": True}, "the configuration is local-only"),
        ],
    )
    def test_each_local_only_rule_excludes_the_cloud_models(self, caller: Any, parts: Any, words: str) -> None:
        result = routed(catalog(**parts), **caller)
        assert result.chain == ("coder",)
        assert result.local_only
        assert result.considered[-1].reason == f"left out: {words}"
        assert not result.considered[-1].chosen

    def test_the_switch_of_the_fleet_holds_for_every_job(self) -> None:
        result = routed(fleet=FleetState(local_only=True), role="private")
        assert result.chain == ("coder",)
        result = routed(fleet=FleetState(local_only=True), role="chat")
        assert (result.chain, result.local_only) == (("coder",), True)
        assert result.considered[-1].reason == "left out: the fleet is switched to local-only"

    def test_an_excluded_first_model_is_named_with_the_reason(self) -> None:
        assert routed(role="private").reason == "role private: coder; opus left out: role private is local-only"

    def test_an_urgency_that_stays_local_excludes_cloud_models_but_does_not_mark_the_job(self) -> None:
        home = URGENCY_DEFAULTS[Urgency.BATCH].model_copy(update={"allow_cloud": Cloud.NO})
        by = catalog(urgency={**URGENCY_DEFAULTS, Urgency.BATCH: home})
        result = routed(by, role="chat", urgency=Urgency.BATCH)
        assert (result.chain, result.local_only) == (("coder",), False)
        assert result.considered[-1].reason == "left out: batch jobs stay in the local pools"

    def test_a_pool_is_local_by_its_setting_and_not_by_its_name(self) -> None:
        result = routed(catalog(pools={"gpu": Pool(), "cloud": Pool(local=True)}), role="chat", local_only=True)
        assert result.chain == ("haiku",)

    def test_when_no_model_is_local_the_job_is_refused_with_those_that_could(self) -> None:
        error = refused(role="away", local_only=True)
        assert str(error) == (
            "no model can take this job (opus: the job is local-only; haiku: the job is local-only). "
            "Of the other models coder, tiny could: name it as the model, or add it to the chain."
        )
        assert [considered.model for considered in error.considered] == ["opus", "haiku"]

    def test_without_any_local_model_the_remedy_is_to_add_one(self) -> None:
        models = {name: spec for name, spec in MODELS.items() if spec.backends == ("provider",)}
        by = catalog(models=models, roles={}, tasks={}, groups=())
        assert str(refused(by, model="opus", local_only=True)).endswith(
            "Add a model of a local pool that can, or allow such jobs to leave the local pools."
        )


class TestNeeds:
    def test_a_model_that_cannot_take_the_prompt_is_left_out_and_the_next_is_first(self) -> None:
        result = routed(role="chat", needs=Requirements(tokens_at_least=5120))
        assert (result.chain, result.queue) == (("haiku",), "cloud.haiku.interactive")
        exclusion = "coder left out: its context is 4096 tokens, the prompt has at least 5120"
        assert result.reason == f"role chat: haiku; {exclusion}"
        assert result.considered[-1] == ConsideredModel(
            model="coder", reason=exclusion.removeprefix("coder "), chosen=False
        )

    def test_numbers_are_those_of_the_chain_as_it_is_written(self) -> None:
        result = routed(role="ace", needs=Requirements(tools=True))
        assert [(considered.model, considered.reason) for considered in result.considered] == [
            ("opus", "1st in role ace"),
            ("haiku", "2nd in role ace"),
            ("tiny", "left out: it does not support tools"),
        ]

    def test_when_none_can_the_job_is_refused_with_those_that_could(self) -> None:
        assert str(refused(role="chat", needs=Requirements(images=True))) == (
            "no model can take this job (coder: it does not support images; haiku: it does not support images). "
            "Of the other models opus could: name it as the model, or add it to the chain."
        )

    def test_when_no_model_can_take_it_the_remedy_is_to_reduce_the_request(self) -> None:
        assert str(refused(role="tiny-only", needs=Requirements(tokens_at_least=300_000))) == (
            "no model can take this job (tiny: its context is 100 tokens, the prompt has at least 300000). "
            "Reduce the request, or add a model that can take it to the configuration."
        )


class TestTheReason:
    def test_a_first_model_that_waits_for_late_jobs_is_named_unless_the_chain_is_ranked(self) -> None:
        result = routed(role="mixed", by=catalog(roles={"mixed": Role(chain=("opus", "tiny"), urgency=Urgency.BATCH)}))
        assert result.reason == (
            "role mixed: tiny first of 2; opus behind the local models: "
            "batch jobs may leave the local pools only when late"
        )
        assert routed(task="code").reason == "task code: coder first of 2, 0.95 for code"

    def test_a_first_model_that_is_moved_back_is_named_with_the_cause(self) -> None:
        result = routed(fleet=FleetState({"coder": ModelState(blocked=SHUT)}), role="chat")
        assert (result.chain, result.queue) == (("haiku", "coder"), "cloud.haiku.interactive")
        assert result.reason == (
            "role chat: haiku first of 2; coder moved back: its breaker is open (5 failures in a row) for 24 s more"
        )

    def test_a_first_model_that_is_blocked_has_its_block_in_the_reason(self) -> None:
        fleet = FleetState({"tiny": ModelState(blocked=SHUT)})
        assert routed(fleet=fleet, role="tiny-only", urgency=Urgency.INTERACTIVE).reason == (
            f"role tiny-only: tiny; {SHUT.detail}"
        )
        assert routed(fleet=fleet, model="tiny", urgency=Urgency.INTERACTIVE).reason == (
            f"the caller named this model; {SHUT.detail}"
        )

    def test_the_reason_of_a_single_model_has_whether_it_is_loaded(self) -> None:
        fleet = FleetState({"tiny": ModelState(loaded=True)})
        assert routed(fleet=fleet, model="tiny").reason == "the caller named this model: loaded"

    def test_a_better_ranked_model_needs_no_excuse_for_the_first_as_written(self) -> None:
        result = routed(task="code", urgency=Urgency.BACKGROUND)
        assert (result.chain, result.reason) == (
            ("coder", "haiku"),
            "task code: coder first of 2, 0.95 for code",
        )


STATES = st.builds(
    ModelState,
    blocked=st.sampled_from([None, SHUT]),
    loaded=st.sampled_from([None, True, False]),
    waiting=st.integers(0, 9),
)


@given(
    route_request=st.builds(
        RouteRequest,
        target=st.sampled_from([None, "auto", *ROLES, *TASKS, *MODELS]),
        group=st.sampled_from([None, "family:x", "calm:x", "else"]),
        urgency=st.sampled_from([None, *Urgency]),
        local_only=st.booleans(),
        needs=st.builds(
            Requirements, tools=st.booleans(), images=st.booleans(), tokens_at_least=st.sampled_from([0, 150, 5000])
        ),
        texts=st.sampled_from([(), ("a function",)]),
    ),
    switched=st.booleans(),
    states=st.dictionaries(st.sampled_from(list(MODELS)), STATES),
)
def test_every_route_obeys_its_request_and_the_fleet(
    route_request: RouteRequest, switched: bool, states: dict[str, ModelState]
) -> None:
    try:
        result = route(CATALOG, lambda urgency: FleetState(states, local_only=switched), route_request, 1000.0)
    except NothingFits as error:
        message, names = str(error), [considered.model for considered in error.considered]
    else:
        _check(result, route_request, switched)
        return
    assert names
    assert all(f"{name}: " in message for name in names)


def _check(result: Route, route_request: RouteRequest, switched: bool) -> None:
    chosen = [considered.model for considered in result.considered if considered.chosen]
    assert tuple(chosen) == result.chain
    assert len(set(chosen)) == len(chosen)
    assert result.queue == CATALOG.queue(result.chain[0], result.urgency)
    if route_request.local_only or switched or route_request.group == "family:x" or result.local_only:
        assert result.local_only
        assert all(CATALOG.is_local(alias) for alias in result.chain)
    if route_request.group == "calm:x":
        assert result.urgency is not Urgency.INTERACTIVE
    for alias in result.chain:
        spec = MODELS[alias]
        assert spec.context >= route_request.needs.tokens_at_least
        assert spec.tools or not route_request.needs.tools
        assert spec.images or not route_request.needs.images
