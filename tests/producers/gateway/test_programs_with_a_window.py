"""What programs with a window send at their start and in a chat, as their sources have it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx

from tests.faults import COMPLETION, answer
from tests.producers.gateway.running_gateway import open_gateway, run
from tests.producers.gateway.test_ollama_gateway import CALL, HELLO, STREAM, ollama_gateway

TOOL = {"type": "function", "function": {"name": "wave", "description": "", "parameters": {"type": "object"}}}
NAMED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
CALLED = answer({**COMPLETION, "choices": [{"index": 0, "message": NAMED, "finish_reason": "tool_calls"}]})


def test_n8n_finds_its_credentials_right(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            older = await gateway.http.get(
                "/", headers={"accept": "application/json,text/html,application/xhtml+xml,*/*"}
            )
            newer = await gateway.http.get("/api/tags", headers={"authorization": "Bearer"})
            of_openai = await gateway.http.get("/v1/models", headers={"authorization": "Bearer any"})
        assert [older.status_code, newer.status_code, of_openai.status_code] == [200] * 3
        assert newer.json()["models"]
        assert of_openai.json()["data"]

    run(main)


def test_copilot_finds_a_version_that_it_takes_and_the_room_of_each_model(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            version = (await gateway.http.get("/api/version")).json()["version"]
            models = (await gateway.http.get("/api/tags")).json()["models"]
            shown = [(await gateway.http.post("/api/show", json={"model": each["model"]})).json() for each in models]
            body = {"model": models[0]["model"], "messages": HELLO, "stream": False}
            chat = await gateway.http.post("/v1/chat/completions", json=body)
        assert [int(part) for part in version.split(".")] >= [0, 6, 4]
        for each in shown:
            info = each["model_info"]
            assert info[f"{info['general.architecture']}.context_length"] >= 4096
            assert isinstance(info["general.basename"], str)
            assert "completion" in each["capabilities"]
            assert each["details"]["family"]
        assert chat.status_code == 200

    run(main)


def test_continue_reads_the_parameters_of_a_model_and_asks_for_tools_without_a_stream(
    redis_url: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, CALLED) as gateway:
            shown = (await gateway.http.post("/api/show", json={"name": "chat"})).json()
            options = {"temperature": None, "num_ctx": 8192, "use_mmap": None, "stop": ["\n"]}
            body = {"model": "chat", "messages": HELLO, "options": options, "keep_alive": 1800}
            chat = (await gateway.http.post("/api/chat", json={**body, "tools": [TOOL], "stream": False})).json()
        lines = filter(None, shown["parameters"].split("\n"))
        assert all(re.match(r'^(\S+)\s+((?:".*")|\S+)$', line) for line in lines)
        assert isinstance(shown["template"], str)
        assert chat["message"]["role"] == "assistant"
        function = chat["message"]["tool_calls"][0]["function"]
        assert (function["name"], function["arguments"]) == ("wave", {"hand": "left"})

    run(main)


def test_home_assistant_lists_pulls_and_streams_a_chat(redis_url: str, tmp_path: Path) -> None:
    """A name that a person types has no tag, so it is in no list, and is pulled."""

    async def main() -> None:
        async with ollama_gateway(redis_url, tmp_path, STREAM) as (_, client):
            listed = {model["model"] for model in (await client.list()).get("models", [])}
            if "chat" not in listed:
                await client.pull("chat")
            more: Any = {
                "tools": [TOOL],
                "stream": True,
                "keep_alive": "-1s",
                "options": {"num_ctx": 8192},
                "think": False,
            }
            parts = [part async for part in await client.chat("chat", HELLO, **more)]
        assert "".join(part.message.content or "" for part in parts) == "A lantern festival."
        assert parts[-1].done

    run(main)


def test_open_webui_verifies_both_connections_with_the_origin_of_no_page(redis_url: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, pools=()) as gateway:
            headers = {"authorization": "Bearer any", "x-openwebui-user-name": "A%20Name"}
            async with httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=60) as program:
                replies = [await program.get(path) for path in ("/v1/models", "/api/version", "/api/tags", "/api/ps")]
        assert [response.status_code for response in replies] == [200] * 4
        assert all(entry["id"] and entry["owned_by"] for entry in replies[0].json()["data"])

    run(main)
