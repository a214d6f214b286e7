"""On a card openfall decides which models are in memory: no call unloads one, or makes an Ollama load it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from openfall.workers.backends.call_request import Request
from tests.faults import answer, fault_server
from tests.workers.backends.protocol_clients import adapter, run

CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
TEXTS = {"input": ["Hi"]}
MOVES: list[dict[str, Any]] = [
    {"keep_alive": 0},
    {"keep_alive": "5m"},
    {"shift": False},
    {"options": {"num_ctx": 32768}},
    {"options": {"num_gpu": 0, "num_batch": 64}},
    {"options": {"main_gpu": 1, "use_mmap": False, "num_thread": 2, "draft_num_predict": 4}},
]
"""What makes an Ollama unload a model or load it again (sched.go, needsReload)."""


def sent(body: Mapping[str, Any], ctx: int | None, **backend: Any) -> dict[str, Any]:
    """The body that an Ollama gets."""

    async def work() -> dict[str, Any]:
        async with fault_server(answer({})) as server, adapter("ollama", server.url, **backend) as client:
            request = Request(body=body, upstream="m", timeout=5, dialect="ollama", ctx=ctx)
            await (client.embed(request) if "input" in body else client.complete(request))
            received: dict[str, Any] = json.loads(server.calls_received[0].body)
            return received

    return run(work())


@pytest.mark.parametrize("plain", [CHAT, TEXTS], ids=["chat", "embed"])
@pytest.mark.parametrize("move", MOVES, ids=[", ".join(move.get("options", move)) for move in MOVES])
@pytest.mark.parametrize("ctx", [4096, None])
def test_a_caller_moves_no_model_of_a_card(plain: dict[str, Any], move: dict[str, Any], ctx: int | None) -> None:
    body = sent({**plain, **move}, ctx, vram_gb=16)
    assert body == sent(plain, ctx, vram_gb=16)
    assert body["keep_alive"] == -1
    assert body.get("options", {}).get("num_ctx") == ctx


def test_other_options_of_a_caller_are_kept_on_a_card() -> None:
    own = {**CHAT, "options": {"temperature": 0.3, "num_ctx": 9}, "think": False, "format": "json"}
    body = sent(own, 4096, vram_gb=16)
    assert (body["options"], body["think"], body["format"]) == ({"temperature": 0.3, "num_ctx": 4096}, False, "json")


@pytest.mark.parametrize("move", MOVES)
def test_without_a_card_a_caller_says_how_an_ollama_runs_its_model(move: dict[str, Any]) -> None:
    body = sent({**CHAT, **move}, 4096)
    assert all(body["options"][name] == value for name, value in move.get("options", {}).items())
    assert body.get("keep_alive") == move.get("keep_alive")
