"""The programs of the README, the quickstart and the page of the command line run as they stand there."""

from __future__ import annotations

import asyncio
import re
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from openfall import AsyncOpenfall

ROOT = Path(__file__).resolve().parents[2]


class Sent(Exception):
    """Ends a program that reads an inbox for ever."""


@pytest.fixture
def config_text(config_text: str) -> str:
    """With the names that the programs use."""
    return config_text.replace("models:\n", "models:\n  coder: {upstream: coder-1, backends: [rack]}\n").replace(
        "roles:\n", "roles:\n  ace: {chain: [coder, tiny]}\n"
    )


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, config_file: Path, redis_url: str) -> None:
    monkeypatch.setenv("OPENFALL_CONFIG", str(config_file))
    monkeypatch.setenv("REDIS_URL", redis_url)


def programs(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)


def run_program(source: str, /, **names: Any) -> dict[str, Any]:
    """Run a program, also one that awaits at its top, with these names beside its own. Returns its variables."""
    scope: dict[str, Any] = {}
    body = textwrap.indent(f"{source}\nreturn locals()", "    ")
    exec(compile(f"async def program({', '.join(names)}):\n{body}", "<document>", "exec"), scope)

    async def main() -> dict[str, Any]:
        async with AsyncOpenfall(producer="haruka") as llm:
            if "job" in names:
                names["job"] = await llm.submit("Haruka waves", role="chat")
            try:
                own = {"llm": llm} if "llm" in names else {}
                variables: dict[str, Any] = await scope["program"](**{**names, **own})
            except Sent:
                return {}
            return variables

    return asyncio.run(main())


@pytest.mark.usefixtures("answering")
def test_the_first_program_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    first, _ = programs("README.md")  # the other one is of OpenAI: tests/producers/gateway/test_clients_page.py
    exec(compile(first, "README.md", "exec"), {})
    assert "echo Haruka waves tiny False role dialogue: tiny first of 2" in capsys.readouterr().out


@pytest.mark.usefixtures("answering")
def test_every_program_of_the_quickstart_runs(capsys: pytest.CaptureFixture[str]) -> None:
    sent: list[tuple[Any, str]] = []

    async def send(place: Any, text: str) -> None:
        sent.append((place, text))
        raise Sent

    ask, submit, stream, inbox, load, test = programs("docs/quickstart.md")
    run_program(ask)
    assert "echo Haruka waves" in capsys.readouterr().out
    run_program(submit, llm=None)
    capsys.readouterr()
    assert run_program(stream, llm=None)["result"].text == "echo Haruka waves"
    assert capsys.readouterr().out.strip() == "echo Haruka waves"
    late = stream.replace(", stream=True", "").replace("\nprinted", "\nawait llm.wait(job.id)\nprinted", 1)
    assert run_program(late, llm=None)["result"].text == "echo Haruka waves"
    assert capsys.readouterr().out.strip() == "echo Haruka waves"  # a job that has ended without a stream has no delta
    run_program(inbox, llm=None, text="Haruka waves", chat=7, message=9, send=send)
    assert sent == [([7, 9], "echo Haruka waves")]
    capsys.readouterr()
    run_program(load, llm=None)
    assert capsys.readouterr().out.startswith("rack ")
    run_program(test)
    assert capsys.readouterr().out == "Haruka waves back no first token within 5 s\n"


@pytest.mark.usefixtures("answering")
def test_the_programs_of_the_page_of_the_command_line_run() -> None:
    async def send(place: Any, text: str) -> None:
        raise Sent

    inbox, own_calls = programs("docs/cli.md")
    run_program(inbox, llm=None, text="Haruka waves", chat=7, message=9, send=send)
    called: list[str] = []

    def call(protocol: str, url: str, key: str, upstream: str) -> SimpleNamespace:
        called.append(upstream)
        if len(called) == 1:
            raise ConnectionError("the first model is away")
        return SimpleNamespace(input_tokens=3, output_tokens=4)

    exec(compile(own_calls, "docs/cli.md", "exec"), {"call": call})
    assert called == ["coder-1", "tiny-1"]
