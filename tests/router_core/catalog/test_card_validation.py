"""Contradictions about graphics cards."""

import pytest
from pydantic import ValidationError

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.catalog.pools import Pool


def backend(**more):
    values = {"url": "http://tower:11434", "protocol": "ollama", "pool": "gpu", "vram_gb": 16, **more}
    return Backend(**values)


def model(*backends, **more):
    return ModelSpec(upstream="x", backends=backends or ("tower",), **more)


def problems(backends, models=None):
    own = {
        alias: spec.model_copy(update={"upstream": alias})
        for alias, spec in (models or {}).items()
        if spec.upstream == "x"
    }
    pools = {"gpu": Pool(local=True), "other": Pool(local=True)}
    try:
        Catalog(pools=pools, backends=backends, models={**(models or {}), **own})
    except ValidationError as error:
        return [f"{problem.path}: {problem.message}" for problem in error.errors()[0]["ctx"]["error"].problems]
    return []


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        ({"vram_gb": None, "card": "left"}, "backends.tower.card", "it has no vram_gb"),
        ({"protocol": "openai"}, "backends.tower.vram_gb", "write loader: sidecar, llama-server or llama-swap"),
        ({"loader": "sidecar"}, "backends.tower.loader", "write protocol: openai"),
        ({"loader": "ollama", "protocol": "openai"}, "backends.tower.loader", "write protocol: ollama"),
        ({"keep_in_memory": 60}, "backends.tower.keep_in_memory", "remove keep_in_memory"),
    ],
)
def test_a_backend_that_cannot_have_a_card_is_refused_with_the_remedy(change, path, words):
    (problem,) = problems({"tower": backend(**change)})
    assert problem.startswith(path)
    assert words in problem


@pytest.mark.parametrize("loader", ["sidecar", "llama-server", "llama-swap"])
def test_a_backend_with_a_loader_may_have_a_card(loader):
    assert problems({"tower": backend(protocol="openai", loader=loader)}) == []


def test_two_backends_on_one_host_say_whether_they_share_a_card():
    second = "http://tower:11435"
    (problem,) = problems({"tower": backend(), "second": backend(url=second)})
    assert problem.startswith("backends.second.card: tower is on the same host")
    assert problems({"tower": backend(card="left"), "second": backend(url=second, card="right")}) == []
    assert problems({"tower": backend(card="left"), "second": backend(url=second, card="left")}) == []
    assert problems({"tower": backend(), "second": backend(url="http://other:11434")}) == []
    assert problems({"tower": backend(), "second": backend(url=second, vram_gb=None)}) == []


@pytest.mark.parametrize(
    "url",
    ["http://tower:11434", "http://tower:11434/v1", "http://TOWER:11434/api/", "http://user@tower:11434"],
)
def test_two_pools_cannot_decide_about_one_engine(url):
    first = {"tower": backend(card="left")}
    (problem,) = problems({**first, "second": backend(url=url, card="right", pool="other")})
    assert problem == (
        "backends.second.card: its engine is that of tower, and has one memory: "
        "write vram_gb: 16, card: left and pool: gpu for both"
    )
    (problem,) = problems({"second": backend(url=url, vram_gb=None, pool="other"), "tower": backend()})
    assert problem.startswith("backends.second.vram_gb: its engine is that of tower")
    assert problem.endswith("write vram_gb: 16, card: tower and pool: gpu for both")
    (problem,) = problems({**first, "second": backend(url=url, card="left", pool="other")})
    assert "must be in one pool" in problem
    assert problems({**first, "second": backend(url=url, card="left")}) == []


@pytest.mark.parametrize(
    "url", ["http://tower:11435", "http://tower:11434/left", "https://tower:11434/right", "http://[fe80::1]:11434"]
)
def test_other_engines_may_be_in_another_pool(url):
    first = {"tower": backend(card="left"), "six": backend(url="http://[fe80::2]:11434")}
    assert problems({**first, "second": backend(url=url, card="right", pool="other")}) == []


@pytest.mark.parametrize(
    ("upstreams", "count"),
    [
        (["qwen3-coder:480b-cloud"], 0),
        (["kimi-k2:CLOUD", "glm-cloud"], 0),
        (["glm-cloud", "llama3.2:3b"], 1),
        (["cloudy"], 1),
    ],
)
def test_an_ollama_that_only_passes_calls_on_needs_no_card_beside_one_with_a_card(upstreams, count):
    models = {f"m{n}": ModelSpec(upstream=name, backends=("second",)) for n, name in enumerate(upstreams)}
    backends = {"tower": backend(), "second": backend(vram_gb=None, pool="other")}
    assert len(problems(backends, models)) == count


def test_the_names_of_this_machine_are_one_host():
    for host in ("localhost", "[::1]", "127.0.0.1"):
        (problem,) = problems({"tower": backend(url="http://127.0.0.1:1"), "second": backend(url=f"http://{host}:1")})
        assert problem.startswith("backends.second.card: its engine is that of tower")
        (problem,) = problems({"tower": backend(url="http://127.0.0.1:1"), "second": backend(url=f"http://{host}:2")})
        assert problem.startswith("backends.second.card: tower is on the same host")


def test_backends_of_one_card_agree_about_it():
    first, two = backend(card="left"), {"url": "http://tower:1", "card": "left"}
    (memory,) = problems({"tower": first, "second": backend(**two, vram_gb=24)})
    assert "must have the same" in memory
    (pool,) = problems({"tower": first, "second": backend(**two, pool="other")})
    assert "must be in one pool" in pool


def test_pinned_models_fit_on_their_card():
    tower = {"tower": backend()}
    both = {"a": model(vram_gb=9, pinned=True), "b": model(vram_gb=9, pinned=True)}
    (problem,) = problems(tower, both)
    assert problem.startswith("models.b.pinned: the pinned models of card tower need 18 GB, and it has 16")
    assert problems(tower, {"a": model(vram_gb=9, pinned=True), "b": model(vram_gb=5)}) == []


@pytest.mark.parametrize(
    ("first", "second", "pinned", "loader", "fits"),
    [
        (9, 5.6, False, "ollama", True),
        (9, 7, False, "ollama", False),
        (9, 7, False, "sidecar", True),
        (6, 6, True, "ollama", True),
        (9, 5.6, True, "ollama", False),
        (9, 7, True, "sidecar", True),
        (16, 16, False, "sidecar", False),
    ],
)
def test_what_an_engine_needs_to_load_a_model_beside_others_counts(first, second, pinned, loader, fits):
    tower = backend(loader=loader, protocol="ollama" if loader == "ollama" else "openai")
    models = {"a": model(vram_gb=first, pinned=True), "b": model(vram_gb=second, pinned=pinned)}
    faults = problems({"tower": tower}, models)
    assert bool(faults) is not fits
    assert ("Ollama needs 1.25 times the size" in "".join(faults)) is (loader == "ollama" and not fits)


@pytest.mark.parametrize(
    ("upstreams", "twin"),
    [
        (["qwen3:8b", "qwen3:8b"], "b"),
        (["qwen3", "qwen3:latest"], "b"),
        (["qwen3:8b", "Qwen3:8B", "other"], "b"),
        (["one", "library/two:latest", "TWO"], "c"),
        (["qwen3:8b", "qwen3:4b"], None),
        (["kimi:cloud", "kimi:cloud"], None),
    ],
)
def test_two_models_that_are_one_in_the_memory_of_a_card_are_refused(upstreams, twin):
    models = {"abc"[n]: ModelSpec(upstream=name, backends=("tower",)) for n, name in enumerate(upstreams)}
    faults = problems({"tower": backend()}, models)
    assert [problem.partition(":")[0] for problem in faults] == ([f"models.{twin}.upstream"] if twin else [])
    assert not [problem for problem in problems({"tower": backend(vram_gb=None)}, models) if "same model" in problem]


def test_a_model_that_never_fits_beside_the_pinned_ones_is_refused():
    models = {"a": model(vram_gb=9, pinned=True), "b": model(vram_gb=9)}
    (problem,) = problems({"tower": backend()}, models)
    assert problem.startswith("models.b.vram_gb: beside the pinned models of card tower (a) it never fits")
    elsewhere = {"tower": backend(), "far": backend(url="http://far:11434")}
    assert problems(elsewhere, {**models, "b": model("tower", "far", vram_gb=9)}) == []


def test_a_model_larger_than_its_card_is_no_contradiction_while_nothing_is_pinned():
    assert problems({"tower": backend()}, {"a": model(vram_gb=40), "b": model(vram_gb=9)}) == []


@pytest.mark.parametrize(("key", "value"), [("pinned", True), ("preload", True), ("keep_warm", 0.0), ("slots", 1)])
def test_a_key_for_cards_without_a_card_is_refused(key, value):
    (problem,) = problems({"tower": backend(vram_gb=None)}, {"a": model(**{key: value})})
    assert problem == f"models.a.{key}: none of its backends has a card: write vram_gb there, or remove {key}"


def test_the_card_of_a_backend_is_its_name_unless_it_says_so():
    backends = {"tower": backend(), "near": backend(url="http://near:1", card="left")}
    catalog = Catalog(backends={**backends, "plain": backend(url="http://b:1", vram_gb=None)})
    assert [catalog.card_of(name) for name in catalog.backends] == ["tower", "left", None]
