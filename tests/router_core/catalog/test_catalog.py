from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.catalog_errors import CatalogError, CatalogProblem, UnknownName
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import POOL_DEFAULTS, Billing, Pool
from openfall.router_core.catalog.roles_and_tasks import Role
from openfall.router_core.catalog.urgency_policy import URGENCY_DEFAULTS, UrgencyPolicy
from openfall.router_core.vocabulary import Urgency

TOWER = Backend(url="http://127.0.0.1:8080", pool="gpu")
PROVIDER = Backend(url="https://example.invalid/v1", pool="cloud")
CODER = ModelSpec(upstream="coder:32b", backends=("tower",))
HAIKU = ModelSpec(upstream="haiku-4-5", backends=("provider",))
BOTH = {"tower": TOWER, "provider": PROVIDER}


def problems_of(**parts: object) -> tuple[str, ...]:
    with pytest.raises(ValidationError) as caught:
        Catalog.model_validate(parts)
    (result,) = caught.value.errors()
    error = result["ctx"]["error"]
    assert isinstance(error, CatalogError)
    assert str(error) == "\n".join(map(str, error.problems))
    return tuple(map(str, error.problems))


def test_an_empty_catalog_has_the_default_pools_and_urgencies() -> None:
    catalog = Catalog()
    assert catalog.pools == POOL_DEFAULTS
    assert catalog.urgency == URGENCY_DEFAULTS


def test_only_the_gpu_pool_is_local_by_default() -> None:
    assert [name for name, pool in POOL_DEFAULTS.items() if pool.local] == ["gpu"]


def test_a_backend_in_an_unknown_pool_is_reported_with_the_nearest_one() -> None:
    assert problems_of(backends={"tower": TOWER.model_copy(update={"pool": "gpuu"})}) == (
        "backends.tower.pool: unknown pool 'gpuu'. Did you mean 'gpu'?",
    )


def test_a_model_at_an_unknown_backend_is_reported_once_for_each() -> None:
    model = CODER.model_copy(update={"backends": ("towr", "tower", "moon")})
    assert problems_of(backends=BOTH, models={"coder": model}) == (
        "models.coder.backends: unknown backend 'towr'. Did you mean 'tower'?",
        "models.coder.backends: unknown backend 'moon'. Known: provider, tower.",
    )


def test_a_model_at_backends_of_two_pools_is_refused() -> None:
    model = CODER.model_copy(update={"backends": ("tower", "provider")})
    assert problems_of(backends=BOTH, models={"coder": model}) == (
        "models.coder.backends: its backends are in different pools (cloud, gpu): one model, one pool",
    )


def test_a_role_with_an_unknown_model_is_reported_with_the_known_ones() -> None:
    assert problems_of(roles={"chat": Role(chain=("coder",))}) == (
        "roles.chat.chain: unknown model 'coder'. Known: none.",
    )


def test_a_chain_that_names_a_model_twice_is_refused() -> None:
    result = problems_of(
        backends=BOTH, models={"coder": CODER, "haiku": HAIKU}, roles={"chat": Role(chain=("coder", "haiku", "coder"))}
    )
    assert result == ("roles.chat.chain: it names a model twice",)


def test_a_role_with_the_name_of_a_model_is_refused_unless_it_means_just_that_model() -> None:
    models = {"coder": CODER, "haiku": HAIKU}
    assert problems_of(backends=BOTH, models=models, roles={"coder": Role(chain=("haiku", "coder"))}) == (
        "roles.coder: a model has the same name: callers could mean either",
    )
    assert Catalog(backends=BOTH, models=models, roles={"coder": Role(chain=("coder",))}).roles


def test_a_missing_urgency_is_refused() -> None:
    urgency = {word: policy for word, policy in URGENCY_DEFAULTS.items() if word is not Urgency.BATCH}
    assert problems_of(urgency=urgency) == ("urgency.batch: missing",)


def test_every_contradiction_is_reported_at_once() -> None:
    result = problems_of(
        pools={},
        backends={"tower": TOWER},
        models={"coder": CODER, "haiku": HAIKU},
        roles={"chat": Role(chain=("nothing", "nothing"))},
        urgency={},
    )
    assert [line.partition(":")[0] for line in result] == [
        "backends.tower.pool",
        "models.haiku.backends",
        *["roles.chat.chain"] * 3,
        "urgency.interactive",
        "urgency.background",
        "urgency.batch",
    ]


def test_the_text_of_a_problem_is_its_path_and_message() -> None:
    assert str(CatalogProblem(path="models.coder.backends", message="nowhere")) == "models.coder.backends: nowhere"


class TestQuestions:
    catalog = Catalog(
        pools={**POOL_DEFAULTS, "idle": Pool()},
        backends={**BOTH, "desk": TOWER},
        models={"coder": CODER, "haiku": HAIKU, "tiny": ModelSpec(upstream="tiny", backends=("desk", "tower"))},
    )

    def test_a_model_is_found_by_its_alias(self) -> None:
        assert self.catalog.model("haiku") is self.catalog.models["haiku"]

    def test_an_unknown_model_is_reported_with_the_nearest_one(self) -> None:
        with pytest.raises(UnknownName) as caught:
            self.catalog.model("haikou")
        assert (caught.value.kind, caught.value.name) == ("model", "haikou")
        assert str(caught.value) == "unknown model 'haikou'. Did you mean 'haiku'?"

    def test_a_name_in_another_case_is_proposed_as_it_is_written(self):
        assert str(UnknownName("model", "HAIKU", ["coder", "haiku"])) == "unknown model 'HAIKU'. Did you mean 'haiku'?"

    def test_a_model_is_served_by_the_pool_of_its_backends(self) -> None:
        assert [self.catalog.pool_of(alias) for alias in ("coder", "haiku", "tiny")] == ["gpu", "cloud", "gpu"]

    def test_a_model_is_local_if_its_pool_is(self) -> None:
        assert [self.catalog.is_local(alias) for alias in ("coder", "haiku")] == [True, False]

    def test_a_call_is_paid_for_by_the_token_unless_the_pool_is_local_or_the_backend_says_otherwise(self) -> None:
        assert [self.catalog.billing(name) for name in ("tower", "provider")] == [Billing.LOCAL, Billing.METERED]
        flat = Catalog(backends={"plan": PROVIDER.model_copy(update={"billing": Billing.FLAT})})
        assert flat.billing("plan") is Billing.FLAT

    def test_a_queue_is_named_for_pool_model_and_urgency(self) -> None:
        assert self.catalog.queue("haiku", Urgency.BATCH) == "cloud.haiku.batch"

    def test_a_queue_for_an_unknown_model_is_refused(self) -> None:
        with pytest.raises(UnknownName, match=r"unknown model 'zz'\. Known: coder, haiku, tiny\."):
            self.catalog.queue("zz", Urgency.BATCH)

    def test_a_pool_has_the_models_that_are_served_in_it(self) -> None:
        assert self.catalog.models_of("gpu") == ("coder", "tiny")
        assert self.catalog.models_of("idle") == ()

    def test_an_unknown_pool_is_reported_with_the_nearest_one(self) -> None:
        with pytest.raises(UnknownName, match=r"unknown pool 'clod'\. Did you mean 'cloud'\?"):
            self.catalog.models_of("clod")


@pytest.mark.parametrize(
    ("model", "values"),
    [
        pytest.param(Pool, {"remote": True}, id="an unknown key"),
        pytest.param(Backend, {"url": "127.0.0.1:8080", "pool": "gpu"}, id="a URL without a scheme"),
        pytest.param(Backend, {"url": "http://a b", "pool": "gpu"}, id="a URL with a space"),
        pytest.param(Backend, {"url": "http://a", "pool": "gpu", "slots": 0}, id="no slots"),
        pytest.param(Backend, {"url": "http://a", "pool": "gpu", "slots": 4097}, id="too many slots"),
        pytest.param(Backend, {"url": "http://a", "pool": "gpu", "protocol": "smoke"}, id="an unknown protocol"),
        pytest.param(Backend, {"url": "http://a", "pool": "GPU"}, id="a name in capitals"),
        pytest.param(Backend, {"url": "http://a", "pool": "a.b"}, id="a name with a dot"),
        pytest.param(ModelSpec, {"upstream": "", "backends": ["a"]}, id="an empty upstream"),
        pytest.param(ModelSpec, {"upstream": "x", "backends": []}, id="a model at no backend"),
        pytest.param(ModelSpec, {"upstream": "x", "backends": ["a"], "timeout": 0}, id="no time to answer"),
        pytest.param(Role, {"chain": []}, id="an empty chain"),
        pytest.param(UrgencyPolicy, {"start_within": -1, "expires_after": 1}, id="a negative time"),
    ],
)
def test_an_entry_that_breaks_a_rule_is_refused(model: type[BaseModel], values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(values)


def test_the_key_of_a_backend_is_in_no_representation() -> None:
    backend = Backend.model_validate({"url": "http://a", "pool": "gpu", "api_key": "sk-ant-secret"})
    assert "sk-ant" not in f"{backend} {backend!r} {backend.model_dump_json()}"
