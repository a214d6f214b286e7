"""Every contradiction of a catalog is reported, and nothing else."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from openfall.router_core.catalog.answer_policy import Ensemble, Pick
from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.breaker_policy import BreakerPolicy
from openfall.router_core.catalog.caller_groups import Group
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.catalog_errors import CatalogError
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.open_fall_policy import OpenFallPolicy
from openfall.router_core.catalog.retry_policy import RetryPolicy
from openfall.router_core.catalog.roles_and_tasks import Role, TaskType
from openfall.router_core.vocabulary import Urgency

BACKENDS = {
    "tower": Backend(url="http://127.0.0.1:8080", pool="gpu"),
    "provider": Backend(url="https://example.invalid/v1", pool="cloud"),
}
MODELS = {
    "coder": ModelSpec(upstream="coder:32b", backends=("tower",)),
    "small": ModelSpec(upstream="small:3b", backends=("tower",)),
    "haiku": ModelSpec(upstream="haiku-4-5", backends=("provider",)),
    "opus": ModelSpec(upstream="opus-4-6", backends=("provider",)),
}
CLOUD = ("haiku", "opus")
MIXED = ("haiku", "coder")


def problems_of(**parts: object) -> list[str]:
    """The problems of a catalog of these parts, by default with two backends and four models."""
    try:
        Catalog.model_validate({"backends": BACKENDS, "models": MODELS, **parts})
    except ValidationError as caught:
        error = caught.errors()[0]["ctx"]["error"]
        assert isinstance(error, CatalogError)
        return [str(problem) for problem in error.problems]
    return []


def group(name: str, *match: str, **rest: object) -> Group:
    return Group.model_validate({"name": name, "match": match, **rest})


class TestNames:
    def test_a_bound_group_names_the_models_that_it_is_bound_to(self) -> None:
        assert problems_of(groups=(group("main", "*", bound=True, chain=("coder",)),)) == []
        assert problems_of(groups=(group("main", "*", bound=True),)) == [
            "groups.main.bound: it names no role, task or chain whose models it could be bound to"
        ]

    def test_an_alias_of_a_task_belongs_to_it_alone(self) -> None:
        tasks = {
            "code": TaskType(chain=("coder",), aliases=("small", "chat", "docs", "script")),
            "docs": TaskType(chain=("coder",), aliases=("script",)),
        }
        assert problems_of(roles={"chat": Role(chain=("coder",))}, tasks=tasks) == [
            "tasks.code.aliases: 'small': a model has the same name: callers could mean either",
            "tasks.code.aliases: 'chat': a role has the same name: callers could mean either",
            "tasks.code.aliases: 'docs': a task has the same name: callers could mean either",
            "tasks.docs.aliases: 'script': task 'code' has the same alias: callers could mean either",
        ]

    def test_a_default_is_a_role_or_a_task(self) -> None:
        roles = {"chat": Role(chain=("coder",))}
        assert problems_of(roles=roles, default="chat") == []
        assert problems_of(roles=roles, default="chad") == [
            "default: unknown role or task 'chad'. Did you mean 'chat'?"
        ]

    def test_a_quality_for_a_task_that_does_not_exist_is_reported_with_the_nearest(self) -> None:
        model = MODELS["coder"].model_copy(update={"quality": {"code": 0.9, "default": 0.5, "cod": 1.0}})
        assert problems_of(models={"coder": model}, tasks={"code": TaskType(chain=("coder",))}) == [
            "models.coder.quality.cod: unknown task 'cod'. Did you mean 'code'?"
        ]

    def test_a_task_with_the_name_of_a_role_is_refused(self) -> None:
        result = problems_of(roles={"code": Role(chain=CLOUD)}, tasks={"code": TaskType(chain=CLOUD)})
        assert result == ["tasks.code: a role has the same name: callers could mean either"]

    def test_a_task_with_the_name_of_a_model_is_refused_unless_it_means_just_that_model(self) -> None:
        assert problems_of(tasks={"coder": TaskType(chain=MIXED)}) == [
            "tasks.coder: a model has the same name: callers could mean either"
        ]
        assert not problems_of(tasks={"coder": TaskType(chain=("coder",))})

    def test_no_task_may_be_called_default(self) -> None:
        assert problems_of(tasks={"default": TaskType(chain=CLOUD)}) == [
            "tasks.default: 'default' is the quality of every other task, and cannot name one"
        ]

    def test_a_task_with_an_unknown_model_is_reported(self) -> None:
        assert problems_of(tasks={"code": TaskType(chain=("codr",))}) == [
            "tasks.code.chain: unknown model 'codr'. Did you mean 'coder'?"
        ]


class TestChecks:
    def test_a_pattern_that_is_no_regular_expression_is_refused(self) -> None:
        assert problems_of(roles={"chat": Role(chain=CLOUD, pattern="(a")}) == [
            "roles.chat.pattern: not a regular expression: missing ), unterminated subpattern"
        ]
        assert not problems_of(roles={"chat": Role(chain=CLOUD, pattern="^a+$")})


class TestEnsembles:
    def problems(self, role: dict[str, object], **ensemble: object) -> list[str]:
        result = {"chain": CLOUD, **role, "ensemble": Ensemble.model_validate(ensemble)}
        return problems_of(roles={"best": Role.model_validate(result)})

    def test_more_answers_than_models_are_refused(self) -> None:
        assert self.problems({}, answers=3) == ["roles.best.ensemble.answers: 3 answers from a chain of 2"]
        assert not self.problems({}, answers=2)

    def test_pick_judge_needs_a_judge(self) -> None:
        assert self.problems({}, pick=Pick.JUDGE) == ["roles.best.ensemble: it has no judge: name a model as its judge"]
        assert not self.problems({}, pick=Pick.JUDGE, judge="opus")

    def test_an_unused_judge_is_refused(self) -> None:
        assert self.problems({}, pick=Pick.AGREEMENT, judge="opus") == [
            "roles.best.ensemble.judge: the pick is by agreement, so no model judges: write pick: judge"
        ]

    def test_an_unknown_judge_is_reported(self) -> None:
        assert self.problems({}, pick=Pick.JUDGE, judge="opos") == [
            "roles.best.ensemble.judge: unknown model 'opos'. Did you mean 'opus'?"
        ]

    def test_a_judge_in_the_cloud_reads_no_local_answers(self) -> None:
        role = {"chain": ("coder", "small"), "local_only": True}
        assert self.problems(role, pick=Pick.JUDGE, judge="haiku") == [
            "roles.best.ensemble.judge: its jobs may only go to local models, and this one is not"
        ]
        assert not self.problems(role, pick=Pick.JUDGE, judge="small")


class TestLocalOnly:
    def test_a_chain_without_a_local_model_can_serve_no_local_job(self) -> None:
        assert problems_of(roles={"diary": Role(chain=CLOUD, local_only=True)}) == [
            "roles.diary.chain: its jobs may only go to local models, and none of these is one"
        ]
        assert not problems_of(roles={"diary": Role(chain=MIXED, local_only=True)})

    def test_a_problem_of_a_model_is_reported_only_there(self) -> None:
        models = {"lost": ModelSpec(upstream="x", backends=("moon",))}
        assert problems_of(models=models, roles={"diary": Role(chain=("lost",), local_only=True)}) == [
            "models.lost.backends: unknown backend 'moon'. Known: provider, tower."
        ]
        assert problems_of(
            backends={"tower": BACKENDS["tower"].model_copy(update={"pool": "gpuu"})},
            models={"coder": MODELS["coder"]},
            roles={"diary": Role(chain=("coder",), local_only=True)},
        ) == ["backends.tower.pool: unknown pool 'gpuu'. Did you mean 'gpu'?"]

    @pytest.mark.parametrize("key", ["role", "task"])
    def test_a_local_group_needs_a_local_model_in_its_role_or_task(self, key: str) -> None:
        roles = {"far": Role(chain=CLOUD), "mixed": Role(chain=MIXED)}
        parts = {"roles": roles} if key == "role" else {"tasks": {n: TaskType(chain=r.chain) for n, r in roles.items()}}
        assert problems_of(**parts, groups=(group("home", "a", local_only=True, **{key: "far"}),)) == [
            f"groups.home.{key}: its jobs may only go to local models, and this chain has none"
        ]
        assert not problems_of(**parts, groups=(group("home", "a", local_only=True, **{key: "mixed"}),))

    def test_a_local_group_needs_a_local_model_in_its_chain(self) -> None:
        assert problems_of(groups=(group("home", "a", local_only=True, chain=CLOUD),)) == [
            "groups.home.chain: its jobs may only go to local models, and none of these is one"
        ]


class TestGroups:
    def test_a_group_that_only_limits_is_valid(self) -> None:
        assert not problems_of(groups=(group("all", "*"),))

    def test_a_group_chooses_its_models_in_one_way(self) -> None:
        result = problems_of(
            roles={"chat": Role(chain=CLOUD)},
            tasks={"code": TaskType(chain=CLOUD)},
            groups=(group("main", "a", role="chat", task="code", chain=CLOUD),),
        )
        assert result == ["groups.main: it names a role and a task and a chain: only one of them can choose the models"]

    def test_the_role_task_or_models_of_a_group_must_exist(self) -> None:
        result = problems_of(
            roles={"chat": Role(chain=CLOUD)},
            tasks={"code": TaskType(chain=CLOUD)},
            groups=(group("a", "a", role="chta"), group("b", "b", task="cod"), group("c", "c", chain=("haikou",))),
        )
        assert result == [
            "groups.a.role: unknown role 'chta'. Did you mean 'chat'?",
            "groups.b.task: unknown task 'cod'. Did you mean 'code'?",
            "groups.c.chain: unknown model 'haikou'. Did you mean 'haiku'?",
        ]

    def test_two_groups_of_one_name_are_refused(self) -> None:
        assert problems_of(groups=(group("a", "a"), group("a", "b"))) == ["groups.a: another group has the same name"]

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("*", "whatsapp:main"),
            ("*", "whatsapp:*"),
            ("whatsapp:*", "whatsapp:main"),
            ("whatsapp:*", "whatsapp:fan?"),
            ("whatsapp:*", "whatsapp:*:night"),
            ("whatsapp:main", "whatsapp:main"),
            ("fan[0-9]", "fan[0-9]"),
            ("fan[0-9]", "fan7"),
            ("fan?", "fan7"),
        ],
    )
    def test_a_pattern_after_a_wider_one_is_refused(self, first: str, second: str) -> None:
        assert problems_of(groups=(group("all", first), group("late", second))) == [
            f"groups.late.match: {second!r} never matches: group 'all' comes first and matches {first!r}"
        ]

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("whatsapp:main", "*"),
            ("whatsapp:main", "whatsapp:*"),
            ("a*", "*a"),
            ("fan?", "fan*"),
            ("fan[0-9]", "fan?"),
            ("*a]", "[xa]"),
            ("fan?", "fan[ab]"),
        ],
    )
    def test_a_pattern_that_can_still_match_is_valid(self, first: str, second: str) -> None:
        assert not problems_of(groups=(group("first", first), group("second", second)))


class TestOpenFall:
    ENDS = "it must end in one of canned_reply, hold, fail: the others are not always available"

    @pytest.mark.parametrize(
        ("remedies", "flaw"),
        [
            ((), ENDS),
            (("default_fallback",), ENDS),
            (("hold", "last_answer"), ENDS),
            (("default_fallback", "default_fallback", "hold"), "default_fallback is listed twice"),
            (
                ("canned_reply", "hold", "hold"),
                "hold is never reached: canned_reply comes first, and is always available",
            ),
            (("canned_reply", "fail"), "fail is never reached: canned_reply comes first, and is always available"),
            (("hold", "fail"), "fail is never reached: hold comes first, and is always available"),
            (
                ("fail", "last_answer", "hold"),
                "last_answer is never reached: fail comes first, and is always available",
            ),
        ],
    )
    def test_a_list_of_remedies_ends_in_one_that_is_always_available(
        self, remedies: tuple[str, ...], flaw: str
    ) -> None:
        sound = {word: ("hold",) for word in Urgency}
        assert problems_of(open_fall={"remedies": sound | {Urgency.BATCH: remedies}}) == [f"open_fall.batch: {flaw}"]
        assert problems_of(roles={"chat": {"chain": CLOUD, "open_fall": remedies}}) == [f"roles.chat.open_fall: {flaw}"]
        assert problems_of(tasks={"code": {"chain": CLOUD, "open_fall": remedies}}) == [f"tasks.code.open_fall: {flaw}"]

    @pytest.mark.parametrize(
        "remedies",
        [
            ("hold",), ("fail",), ("canned_reply",), ("canned_reply", "hold"),
            ("default_fallback", "last_answer", "canned_reply", "hold"), ("last_answer", "default_fallback", "fail"),
        ],
    )  # fmt: skip
    def test_a_list_whose_remedies_can_all_be_reached_is_valid(self, remedies: tuple[str, ...]) -> None:
        assert not problems_of(open_fall={"remedies": {word: remedies for word in Urgency}})

    def test_every_urgency_has_its_list(self) -> None:
        result = problems_of(open_fall={"remedies": {Urgency.INTERACTIVE: ("hold",), Urgency.BATCH: ("hold",)}})
        assert result == [f"open_fall.background: {self.ENDS}"]

    def test_a_default_fallback_is_a_model(self) -> None:
        assert problems_of(open_fall={"default_fallbacks": ("haiku", "smal")}) == [
            "open_fall.default_fallbacks: unknown model 'smal'. Did you mean 'small'?"
        ]
        assert problems_of(open_fall={"default_fallbacks": ("small", "haiku", "small")}) == [
            "open_fall.default_fallbacks: it names a model twice"
        ]

    def test_release_initial_is_at_most_release_max(self) -> None:
        assert problems_of(open_fall={"release_initial": 3, "release_max": 2}) == [
            "open_fall.release.initial: 3 is more than max, which is 2"
        ]
        assert problems_of(open_fall={"release_initial": 3, "release_max": 3}) == []

    def test_a_canned_reply_is_not_empty(self) -> None:
        with pytest.raises(ValidationError, match="at least 1 character"):
            Role(chain=("small",), canned_reply="")

    def test_a_canned_reply_is_no_longer_than_a_message(self) -> None:
        assert Role(chain=("small",), canned_reply="x" * 4096).canned_reply
        with pytest.raises(ValidationError, match="at most 4096 characters"):
            Role(chain=("small",), canned_reply="x" * 4097)
        with pytest.raises(ValidationError, match="at most 4096 characters"):
            OpenFallPolicy(canned_reply="x" * 4097)

    def test_no_pool_has_the_name_of_the_degrade_queue(self) -> None:
        assert problems_of(pools={"gpu": {}, "cloud": {}, "degrade": {}}) == [
            "pools.degrade: this name is reserved for the queue of degraded jobs"
        ]


class TestUrgencies:
    def test_a_backend_keeps_a_slot_for_jobs_that_are_not_interactive(self) -> None:
        tower = BACKENDS["tower"].model_copy(update={"slots": 2, "reserved_interactive": 2})
        assert problems_of(backends=BACKENDS | {"tower": tower}) == [
            "backends.tower.reserved_interactive: 2 of 2 slots leave none for other jobs"
        ]
        assert not problems_of(backends=BACKENDS | {"tower": tower.model_copy(update={"reserved_interactive": 1})})

    def test_less_urgent_jobs_have_a_share_and_do_not_starve_interactive_ones(self) -> None:
        def result(**shares: float) -> list[str]:
            policies = {
                word: {"start_within": 5, "expires_after": 60, "min_share": shares.get(word, 0)} for word in Urgency
            }
            return problems_of(urgency=policies)

        assert result(interactive=0.1, background=0.85) == [
            "urgency.interactive.min_share: interactive jobs already go first: a minimum share is for the less urgent"
        ]
        assert result(background=0.5, batch=0.5) == [
            "urgency: minimum shares of 1 together: more than 0.9 would starve interactive jobs"
        ]
        assert not result(background=0.5, batch=0.4)

    def test_every_urgency_has_a_policy(self) -> None:
        policy = {"start_within": 5, "expires_after": 60}
        assert problems_of(urgency={Urgency.BATCH: policy, Urgency.BACKGROUND: policy}) == [
            "urgency.interactive: missing"
        ]


def test_times_that_grow_do_not_end_before_they_begin() -> None:
    assert problems_of(breakers=BreakerPolicy(open_for=900), retry=RetryPolicy(initial_backoff=90)) == [
        "breakers.open_for_max: 600 s is shorter than open_for, which is 900 s",
        "retry.max_backoff: 60 s is shorter than initial_backoff, which is 90 s",
    ]
