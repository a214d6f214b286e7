"""The examples of docs/clients.md are run as they stand, against a real gateway."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from tests.faults import COMPLETION, answer, kept
from tests.producers.gateway.running_gateway import open_gateway, run
from tests.producers.gateway.sdk_streams import TEXT, words

PAGE = (Path(__file__).parents[3] / "docs" / "clients.md").read_text(encoding="utf-8")
GATEWAY = "http://127.0.0.1:8309"


def _examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("example", _examples("python"), ids=("openai", "background", "anthropic", "ollama"))
def test_an_example_in_python_prints_the_answer(redis_url: str, tmp_path: Path, example: str) -> None:
    streams = [words("A lantern ", "festival.")] if "stream=True" in example else []

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, kept(answer(COMPLETION)), *streams) as gateway:
            printed = await asyncio.to_thread(_run_here, example.replace(GATEWAY, gateway.url))
        assert printed.count(TEXT) == 1 + len(streams)

    run(main)


def test_the_example_of_curl_prints_the_answer(redis_url: str, tmp_path: Path) -> None:
    (example,) = (text for text in _examples("sh") if text.startswith("curl"))

    async def main() -> None:
        async with open_gateway(redis_url, tmp_path, answer(COMPLETION)) as gateway:
            printed = await _output("sh", "-c", example.replace("curl", "curl -s", 1).replace(GATEWAY, gateway.url))
        assert json.loads(printed)["choices"][0]["message"]["content"] == TEXT

    run(main)


def test_the_files_of_the_agents_can_be_read_and_name_the_gateway() -> None:
    (codex,), (opencode,) = _examples("toml"), _examples("json")
    assert tomllib.loads(codex)["model_providers"]["openfall"]["base_url"] == f"{GATEWAY}/v1"
    assert json.loads(opencode)["provider"]["openfall"]["options"]["baseURL"] == f"{GATEWAY}/v1"


def _run_here(example: str) -> str:
    """What an example prints. In this process, since the SDKs take a second to import."""
    with redirect_stdout(StringIO()) as printed:
        exec(compile(example, "docs/clients.md", "exec"), {})
    return printed.getvalue()


async def _output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()
