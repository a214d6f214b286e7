"""Every engine of a card does the same when it is ordered to: Ollama, the sidecar, llama-server's router, llama-swap.

The sidecar is a real one, with look-alikes of llama-server as processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from openfall.router_core.catalog.backend_entry import Backend, Loader
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.jobs.outcome import Failure
from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.registry import open_backend
from openfall.workers.gpu.card_engine import CardEngine
from tests.fakes.card_ollama import card_ollama
from tests.fakes.loading_servers import LlamaRouter, LlamaSwap, serving
from tests.faults import answer, fault_server
from tests.workers.backends.protocol_clients import request
from tests.workers.sidecar.harness import running_sidecar

SIZES = {"alpha": 10.0, "beta": 10.0, "small": 4.0, "broken": 4.0, "slow": 4.0}
CARD_GB = 16.0
ENOUGH_SECONDS = 60.0
HOUR = 3600.0
OUT_OF_MEMORY = "CUDA error: out of memory"
OTHER_NAME = "small-4b:q4"
"""Of `small`, at every engine."""


Crash = Callable[[str], object]
"""Lets a model leave by itself."""


@dataclass
class OnCard:
    engine: CardEngine
    crash: Crash

    async def models(self) -> set[str]:
        content = await self.engine.content()
        assert not isinstance(content, Failure), content
        return set(content.models)

    async def load(self, alias: str, seconds: float = ENOUGH_SECONDS, epoch: int = 1) -> Failure | None:
        return await self.engine.load(alias, seconds, epoch)


@asynccontextmanager
async def _server(
    loader: Loader, home: Path, stack: AsyncExitStack
) -> AsyncIterator[tuple[str, Callable[[str], object]]]:
    match loader:
        case Loader.OLLAMA:
            ollama = await stack.enter_async_context(
                card_ollama(SIZES, CARD_GB, load_seconds={"slow": HOUR}, names={OTHER_NAME: "small"})
            )
            ollama.broken.add("broken")
            yield ollama.url, ollama.memory.discard
        case Loader.SIDECAR:
            flags = {"broken": {"refuse": OUT_OF_MEMORY}, "slow": {"load-seconds": HOUR}}
            profiles: dict[str, dict[str, Any]] = {
                name: {"vram_gb": size, "flags": flags.get(name, {})} for name, size in SIZES.items()
            }
            profiles["small"]["aliases"] = [OTHER_NAME]
            sidecar = await stack.enter_async_context(running_sidecar(home, profiles, vram_gb=CARD_GB, token="t"))
            yield sidecar.url, lambda name: sidecar.switcher.residents.pop(name)
        case _:
            kind = LlamaRouter if loader is Loader.LLAMA_SERVER else LlamaSwap
            aliases = {OTHER_NAME: "small"}
            server = kind(SIZES, CARD_GB, {"slow": HOUR}, frozenset({"broken"}), aliases)
            yield await stack.enter_async_context(serving(server)), server.crash


def on_card(
    loader: Loader, home: Path, story: Callable[[OnCard], Awaitable[None]], upstreams: Mapping[str, str] | None = None
) -> None:
    protocol = "ollama" if loader is Loader.OLLAMA else "openai"
    upstreams = upstreams or {name: name for name in (*SIZES, "unknown")}
    models = {alias: ModelSpec(upstream=upstream, backends=("tower",)) for alias, upstream in upstreams.items()}

    async def work() -> None:
        async with AsyncExitStack() as stack, _server(loader, home, stack) as (url, crash):
            spec = Backend(url=url, protocol=protocol, pool="gpu", vram_gb=CARD_GB, loader=loader, api_key="t")
            client = open_backend(spec)
            stack.push_async_callback(client.close)
            await story(OnCard(CardEngine(client, models, loader), crash))

    asyncio.run(work())


every_engine = pytest.mark.parametrize("loader", list(Loader))
by_order_alone = pytest.mark.parametrize("loader", [loader for loader in Loader if loader is not Loader.OLLAMA])


@every_engine
def test_a_model_is_listed_while_it_is_in_memory(loader: Loader, tmp_path: Path) -> None:
    async def story(card: OnCard) -> None:
        assert await card.models() == set()
        assert await card.load("alpha") is None
        assert await card.load("small") is None
        assert await card.models() == {"alpha", "small"}
        assert await card.load("alpha") is None, "an order that is carried out already is no fault"
        assert await card.engine.unload("alpha", ENOUGH_SECONDS, 1) is None
        assert await card.models() == {"small"}
        assert await card.engine.unload("alpha", ENOUGH_SECONDS, 1) is None

    on_card(loader, tmp_path, story)


@every_engine
def test_a_load_that_fails_says_so_and_leaves_nothing(loader: Loader, tmp_path: Path) -> None:
    async def story(card: OnCard) -> None:
        failure = await card.load("broken")
        assert failure is not None
        assert failure.detail
        if loader in (Loader.OLLAMA, Loader.SIDECAR):  # the others hide the words of their child
            assert failure.error_class is ErrorClass.NO_VRAM
        assert await card.models() == set()

    on_card(loader, tmp_path, story)


@by_order_alone
def test_a_model_that_does_not_fit_is_refused_and_displaces_nothing(loader: Loader, tmp_path: Path) -> None:
    async def story(card: OnCard) -> None:
        assert await card.load("alpha") is None
        assert await card.load("beta") is not None
        assert await card.models() == {"alpha"}

    on_card(loader, tmp_path, story)


@every_engine
def test_a_load_that_takes_too_long_is_a_timeout(loader: Loader, tmp_path: Path) -> None:
    async def story(card: OnCard) -> None:
        failure = await card.load("slow", 0.3)
        assert failure is not None
        assert failure.error_class is ErrorClass.TIMEOUT
        assert await card.models() == set()

    on_card(loader, tmp_path, story)


@every_engine
def test_an_unknown_model_is_a_failure(loader: Loader, tmp_path: Path) -> None:
    async def story(card: OnCard) -> None:
        assert await card.load("unknown") is not None

    on_card(loader, tmp_path, story)


@every_engine
def test_a_model_that_left_by_itself_is_not_listed(loader: Loader, tmp_path: Path) -> None:
    async def story(card: OnCard) -> None:
        assert await card.load("alpha") is None
        card.crash("alpha")
        assert await card.models() == set()

    on_card(loader, tmp_path, story)


@pytest.mark.parametrize("loader", [Loader.SIDECAR, Loader.LLAMA_SERVER])
def test_a_call_never_makes_the_engine_load_a_model(loader: Loader, tmp_path: Path) -> None:
    async def story(card: OnCard) -> None:
        outcome = await card.engine._client.complete(replace(request("openai"), upstream="alpha"))  # noqa: SLF001 - the client of a worker
        assert isinstance(outcome, Failure)
        assert outcome.error_class is ErrorClass.OVERLOADED, "another try may succeed"
        assert await card.models() == set()

    on_card(loader, tmp_path, story)


def test_the_sidecar_refuses_the_order_of_a_manager_that_was_replaced(tmp_path: Path) -> None:
    async def story(card: OnCard) -> None:
        assert await card.load("alpha", epoch=7) is None
        assert await card.engine.unload("alpha", ENOUGH_SECONDS, 6) is not None
        assert await card.models() == {"alpha"}

    on_card(Loader.SIDECAR, tmp_path, story)


SPELLINGS = [
    *((loader, OTHER_NAME) for loader in Loader),
    *(
        (Loader.OLLAMA, name)
        for name in ("Small", "small:latest", "library/SMALL", "registry.ollama.ai/library/small:latest")
    ),
]


@pytest.mark.parametrize(("loader", "name"), SPELLINGS)
def test_a_model_has_one_place_in_memory_by_whatever_name_it_was_loaded(
    loader: Loader, name: str, tmp_path: Path
) -> None:
    async def story(card: OnCard) -> None:
        engine = card.engine
        assert await engine._client.load("small", None, ENOUGH_SECONDS) is None  # noqa: SLF001 - another program
        content = await engine.content()
        assert not isinstance(content, Failure)
        assert (set(content.models), content.foreign_gb) == ({"mine"}, 0)
        assert await engine.unload("mine", ENOUGH_SECONDS, 1) is None
        assert await card.models() == set()
        assert await card.load("mine") is None
        assert await card.models() == {"mine"}

    on_card(loader, tmp_path, story, {"mine": name})


@pytest.mark.parametrize(("loader", "kind"), [(Loader.LLAMA_SERVER, LlamaRouter), (Loader.LLAMA_SWAP, LlamaSwap)])
def test_a_load_that_is_given_up_does_not_go_on_behind_the_managers_back(
    loader: Loader, kind: type[LlamaRouter] | type[LlamaSwap]
) -> None:
    async def work() -> None:
        server = kind(SIZES, CARD_GB, {"slow": HOUR})
        async with serving(server) as url:
            client = open_backend(Backend(url=url, pool="gpu", vram_gb=CARD_GB, loader=loader))
            assert await client.load("slow", None, 0.2) is not None
            assert not server.states
            await client.close()

    asyncio.run(work())


@pytest.mark.parametrize("size", ["12", None, True, -4, float("nan"), float("inf"), [], {"gb": 4}])
def test_a_size_that_is_none_is_unknown(size: Any) -> None:
    async def work() -> None:
        rows = [{"name": "alpha", "state": "ready", "vram_gb": size}, {"name": "beta", "state": "ready", "vram_gb": 4}]
        async with fault_server(answer(json.dumps({"models": rows}).encode())) as server:
            client = open_backend(Backend(url=server.url, pool="gpu", vram_gb=CARD_GB, loader=Loader.SIDECAR))
            loaded = await client.list_loaded(5)
            await client.close()
        assert isinstance(loaded, tuple)
        assert [model.vram_gb for model in loaded] == [None, 4]

    asyncio.run(work())


@pytest.mark.parametrize("size", ["12", None, -4, 2.5, [], {}])
def test_a_size_of_an_ollama_that_is_none_is_unknown(size: Any) -> None:
    async def work() -> None:
        rows = [{"name": "alpha", "size": 4 * 2**30, "size_vram": size}]
        async with fault_server(answer({"models": rows})) as server:
            client = open_backend(Backend(url=server.url, pool="gpu", vram_gb=CARD_GB, protocol="ollama"))
            loaded = await client.list_loaded(5)
            await client.close()
        assert isinstance(loaded, tuple)
        assert [(model.vram_gb, model.vram_share) for model in loaded] == [(None, None)]

    asyncio.run(work())
