from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.entries import Backend, Group, ModelSpec, Pool, Role, TaskType
from openfall.router_core.catalog.errors import UnknownName
from openfall.router_core.catalog.policies import URGENCY_DEFAULTS, Cloud
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


def routed(actual: Catalog = CATALOG, fleet: FleetState | None = None, **calls_received: Any) -> Route:
    return route(actual, lambda urgency: fleet or FleetState(), RouteRequest(**calls_received), 1000.0)


def refused(actual: Catalog = CATALOG, fleet: FleetState | None = None, **calls_received: Any) -> NothingFits:
    with pytest.raises(NothingFits) as caught:
        routed(actual, fleet, **calls_received)
    return caught.value


class TestWhereItGoes:
    def test_a_role_leads_to_the_first_model_of_its_chain_at_its_own_urgency(self) -> None:
        assert routed(role="chat") == Route(
            chain=("coder", "haiku"),
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
            queue="cloud.haiku.background",
            urgency=Urgency.BACKGROUND,
            reason="the caller named this model",
            considered=(ConsideredModel(model="haiku", reason="requested by name"),),
        )

    def test_the_words_of_a_prompt_lead_to_a_task(self) -> None:
        readout = routed(text="write a function", fleet=FleetState({"coder": ModelState(loaded=True)}))
        assert (readout.task, readout.role, readout.queue) == ("code", None, "gpu.coder.batch")
        assert readout.reason == "code (classified: 'function'; 0.5): coder first of 2, loaded, 0.95 for code"

    def test_a_group_leads_to_its_chain_and_is_told_by_the_name_of_the_catalog(self) -> None:
        readout = routed(group="whatsapp:friends", target="auto")
        assert (readout.group, readout.chain, readout.reason) == (
            "others",
            ("haiku", "tiny"),
            "group others: haiku first of 2",
        )

    def test_without_anything_there_is_nothing_to_ask(self) -> None:
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
        readout = routed(role="chat", group="calm:x", urgency=Urgency.INTERACTIVE)
        assert (readout.urgency, readout.group) == (Urgency.BACKGROUND, "calm")
        assert readout.reason == "role chat: coder first of 2; group calm is background at most"

    @pytest.mark.parametrize("urgency", [Urgency.BACKGROUND, Urgency.BATCH])
    def test_what_is_within_the_limit_of_a_group_stays(self, urgency: Urgency) -> None:
        readout = routed(role="chat", group="calm:x", urgency=urgency)
        assert (readout.urgency, readout.reason) == (urgency, "role chat: coder first of 2")


class TestLocalOnly:
    @pytest.mark.parametrize(
        ("calls_received", "parts", "words"),
        [
            ({"role": "chat", "local_only": True}, {}, "the job is local-only"),
            ({"role": "chat", "group": "family:ann"}, {}, "group family is local-only"),
            ({"role": "private"}, {}, "role private is local-only"),
            ({"task": "diary"}, {}, "task diary is local-only"),
            ({"role": "chat", "task": "diary"}, {}, "task diary is local-only"),
            ({"role": "chat"}, {"local_only": True}, "the configuration is local-only"),
        ],
    )
    def test_whoever_forbids_it_no_cloud_model_is_left(self, calls_received: Any, parts: Any, words: str) -> None:
        readout = routed(catalog(**parts), **calls_received)
        assert readout.chain == ("coder",)
        assert readout.local_only
        assert readout.considered[-1].reason == f"left out: {words}"
        assert not readout.considered[-1].chosen

    def test_the_switch_of_the_fleet_holds_for_every_job(self) -> None:
        readout = routed(fleet=FleetState(local_only=True), role="private")
        assert readout.chain == ("coder",)
        readout = routed(fleet=FleetState(local_only=True), role="chat")
        assert (readout.chain, readout.local_only) == (("coder",), True)
        assert readout.considered[-1].reason == "left out: the fleet is switched to local-only"

    def test_the_model_that_is_left_out_is_told_where_it_would_have_been_first(self) -> None:
        assert routed(role="private").reason == "role private: coder; opus left out: role private is local-only"

    def test_an_urgency_that_stays_at_home_leaves_cloud_models_out_but_is_no_promise(self) -> None:
        home = URGENCY_DEFAULTS[Urgency.BATCH].model_copy(update={"allow_cloud": Cloud.NO})
        actual = catalog(urgency={**URGENCY_DEFAULTS, Urgency.BATCH: home})
        readout = routed(actual, role="chat", urgency=Urgency.BATCH)
        assert (readout.chain, readout.local_only) == (("coder",), False)
        assert readout.considered[-1].reason == "left out: batch jobs stay in the local pools"

    def test_a_pool_is_local_when_it_says_so_not_by_its_name(self) -> None:
        readout = routed(catalog(pools={"gpu": Pool(), "cloud": Pool(local=True)}), role="chat", local_only=True)
        assert readout.chain == ("haiku",)

    def test_when_no_model_is_local_the_job_is_refused_with_those_that_could(self) -> None:
        error = refused(role="away", local_only=True)
        assert str(error) == (
            "no model can take this job (opus: the job is local-only; haiku: the job is local-only). "
            "Of the other models coder, tiny could: name it as the model, or add it to the chain."
        )
        assert [element.model for element in error.considered] == ["opus", "haiku"]

    def test_without_any_local_model_the_remedy_is_to_add_one(self) -> None:
        models = {name: spec for name, spec in MODELS.items() if spec.backends == ("provider",)}
        actual = catalog(models=models, roles={}, tasks={}, groups=())
        assert str(refused(actual, model="opus", local_only=True)).endswith(
            "Add a model of a local pool that can, or allow such jobs to leave the local pools."
        )


class TestNeeds:
    def test_a_model_that_cannot_take_the_prompt_is_left_out_and_the_next_is_first(self) -> None:
        readout = routed(role="chat", needs=Requirements(tokens_at_least=5120))
        assert (readout.chain, readout.queue) == (("haiku",), "cloud.haiku.interactive")
        actual = "coder left out: its context is 4096 tokens, the prompt has at least 5120"
        assert readout.reason == f"role chat: haiku; {actual}"
        assert readout.considered[-1] == ConsideredModel(
            model="coder", reason=actual.removeprefix("coder "), chosen=False
        )

    def test_numbers_are_those_of_the_chain_as_it_is_written(self) -> None:
        readout = routed(role="ace", needs=Requirements(tools=True))
        assert [(element.model, element.reason) for element in readout.considered] == [
            ("opus", "1st in role ace"),
            ("haiku", "2nd in role ace"),
            ("tiny", "left out: it does not support tools"),
        ]

    def test_when_none_can_the_job_is_refused_with_those_that_could(self) -> None:
        assert str(refused(role="chat", needs=Requirements(images=True))) == (
            "no model can take this job (coder: it does not support images; haiku: it does not support images). "
            "Of the other models opus could: name it as the model, or add it to the chain."
        )

    def test_when_no_model_at_all_can_the_remedy_says_so(self) -> None:
        assert str(refused(role="tiny-only", needs=Requirements(tokens_at_least=300_000))) == (
            "no model can take this job (tiny: its context is 100 tokens, the prompt has at least 300000). "
            "Reduce the request, or add a model that can take it to the configuration."
        )


class TestTheReason:
    def test_a_primary_that_waits_until_the_job_is_late_is_told_unless_the_chain_is_ranked_anyway(self) -> None:
        readout = routed(
            role="mixed", actual=catalog(roles={"mixed": Role(chain=("opus", "tiny"), urgency=Urgency.BATCH)})
        )
        assert readout.reason == (
            "role mixed: tiny first of 2; opus behind the local models: "
            "batch jobs may leave the local pools only when late"
        )
        assert routed(task="code").reason == "task code: coder first of 2, 0.95 for code"

    def test_a_primary_that_is_moved_back_is_told_with_its_cause(self) -> None:
        readout = routed(fleet=FleetState({"coder": ModelState(blocked=SHUT)}), role="chat")
        assert (readout.chain, readout.queue) == (("haiku", "coder"), "cloud.haiku.interactive")
        assert readout.reason == (
            "role chat: haiku first of 2; coder moved back: its breaker is open (5 failures in a row) for 24 s more"
        )

    def test_a_model_that_is_first_though_it_is_blocked_says_so(self) -> None:
        fleet = FleetState({"tiny": ModelState(blocked=SHUT)})
        assert routed(fleet=fleet, role="tiny-only", urgency=Urgency.INTERACTIVE).reason == (
            f"role tiny-only: tiny; {SHUT.detail}"
        )
        assert routed(fleet=fleet, model="tiny", urgency=Urgency.INTERACTIVE).reason == (
            f"the caller named this model; {SHUT.detail}"
        )

    def test_a_model_by_itself_says_whether_it_is_loaded(self) -> None:
        fleet = FleetState({"tiny": ModelState(loaded=True)})
        assert routed(fleet=fleet, model="tiny").reason == "the caller named this model: loaded"

    def test_a_better_ranked_model_needs_no_excuse_for_the_first_as_written(self) -> None:
        readout = routed(task="code", urgency=Urgency.BACKGROUND)
        assert (readout.chain, readout.reason) == (
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
    calls_received=st.builds(
        RouteRequest,
        target=st.sampled_from([None, "auto", *ROLES, *TASKS, *MODELS]),
        group=st.sampled_from([None, "family:x", "calm:x", "else"]),
        urgency=st.sampled_from([None, *Urgency]),
        local_only=st.booleans(),
        needs=st.builds(
            Requirements, tools=st.booleans(), images=st.booleans(), tokens_at_least=st.sampled_from([0, 150, 5000])
        ),
        text=st.sampled_from(["", "a function"]),
    ),
    switched=st.booleans(),
    states=st.dictionaries(st.sampled_from(list(MODELS)), STATES),
)
def test_whatever_is_asked_the_route_holds_together(
    calls_received: RouteRequest, switched: bool, states: dict[str, ModelState]
) -> None:
    try:
        readout = route(CATALOG, lambda urgency: FleetState(states, local_only=switched), calls_received, 1000.0)
    except NothingFits as error:
        actual, names = str(error), [element.model for element in error.considered]
    else:
        _check(readout, calls_received, switched)
        return
    assert names
    assert all(f"{name}: " in actual for name in names)


def _check(readout: Route, calls_received: RouteRequest, switched: bool) -> None:
    chosen = [element.model for element in readout.considered if element.chosen]
    assert tuple(chosen) == readout.chain
    assert len(set(chosen)) == len(chosen)
    assert readout.queue == CATALOG.queue(readout.chain[0], readout.urgency)
    if calls_received.local_only or switched or calls_received.group == "family:x" or readout.local_only:
        assert readout.local_only
        assert all(CATALOG.is_local(alias) for alias in readout.chain)
    if calls_received.group == "calm:x":
        assert readout.urgency is not Urgency.INTERACTIVE
    for alias in readout.chain:
        spec = MODELS[alias]
        assert spec.context >= calls_received.needs.tokens_at_least
        assert spec.tools or not calls_received.needs.tools
        assert spec.images or not calls_received.needs.images
