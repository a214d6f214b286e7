"""The clients of `make clients`, their environments and how their checks are started."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent
HOMES = SOURCES.parents[1] / ".clients"
INSTALL_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Client:
    """A client and the packages of its environment. `arguments` start its checks; `GATEWAY_URL` in them is the gateway.

    `reports`: what its output is made of. `lines`: a JSON line for each check. `pytest`, `exit`: see `outcomes`.
    `seconds`: how long its checks may take. `by_name`: it installs gigabytes, so it runs only where it is named.
    """

    name: str
    language: str
    packages: tuple[str, ...]
    arguments: tuple[str, ...]
    reports: str = "lines"
    seconds: float = 240.0
    by_name: bool = False

    @property
    def home(self) -> Path:
        return HOMES / self.name

    @property
    def command(self) -> tuple[str, ...]:
        programs = {"javascript": "node", "java": "java", "python": str(self.home / "venv" / "bin" / "python")}
        return (programs[self.language], *self.arguments)


_PYTEST = (
    "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", ".", "-o", "asyncio_mode=auto",
    "-o", "asyncio_default_fixture_loop_scope=session", "-o", "asyncio_default_test_loop_scope=session",
    "-p", "no:cacheprovider", "-rA", "--tb=short",
)  # fmt: skip
_SCHEMATHESIS = (
    "-m", "schemathesis.cli", "run", "GATEWAY_URL/openapi.json", "--phases", "examples,coverage,fuzzing", "-n", "50",
    "--max-time", "60", "--continue-on-failure", "--warnings", "off", "--no-color",
    "--checks", "not_a_server_error,content_type_conformance,response_schema_conformance,ignored_auth",
)  # fmt: skip

CLIENTS = (
    Client("openai-js", "javascript", ("openai@6.49.0",), ("openai.mjs",)),
    Client("anthropic-js", "javascript", ("@anthropic-ai/sdk@1.14.0",), ("anthropic.mjs",)),
    Client("ollama-js", "javascript", ("ollama@0.6.4",), ("ollama.mjs",)),
    Client(
        "ai-sdk",
        "javascript",
        ("ai@6.0.326", "@ai-sdk/openai@3.0.141", "@ai-sdk/openai-compatible@2.0.92", "@ai-sdk/anthropic@3.0.140"),
        ("ai.mjs",),
    ),
    Client(
        "langchain",
        "python",
        ("langchain-openai==1.7.4", "langchain-tests==1.1.9"),
        (*_PYTEST, "langchain_standard.py"),
        "pytest",
    ),
    Client(
        "langchain-ollama",
        "python",
        ("langchain-ollama==1.1.0", "langchain-tests==1.1.9"),
        (*_PYTEST, "langchain_ollama_standard.py"),
        "pytest",
    ),
    Client(
        "langchain-anthropic",
        "python",
        ("langchain-anthropic==1.7.10", "langchain-tests==1.1.9"),
        (*_PYTEST, "langchain_anthropic_standard.py"),
        "pytest",
    ),
    Client(
        "llama-index",
        "python",
        ("llama-index-core==0.14.25", "llama-index-llms-ollama==0.11.0", "llama-index-llms-openai-like==0.8.1"),
        ("llama_index_client.py",),
    ),
    Client("ollama-python", "python", ("ollama==0.6.3",), ("ollama_client.py",)),
    Client("aider", "python", ("aider-chat==0.86.2",), ("aider_client.py",)),
    Client("open-webui", "python", ("open-webui==0.12.4",), ("open_webui_client.py",), seconds=900, by_name=True),
    Client("llm-ollama", "python", ("llm==0.30", "httpx>=0.28,<0.29", "llm-ollama>=0.15"), ("llm_ollama_client.py",)),
    Client("pydantic-ai", "python", ("pydantic-ai-slim[openai]==1.66.0",), ("pydantic_ai_client.py",)),
    Client("instructor", "python", ("instructor==1.17.0",), ("instructor_client.py",)),
    Client("llm", "python", ("llm==0.30", "httpx>=0.28,<0.29"), ("llm_client.py",)),
    Client("jdk", "java", (), ("JdkClient.java",)),
    Client("schemathesis", "python", ("schemathesis==4.32.5",), _SCHEMATHESIS, "exit"),
)


def prepare(client: Client) -> str:
    """Make the environment of a client, once, and give it the present checks. Why it cannot be made; empty: it is."""
    client.home.mkdir(parents=True, exist_ok=True)
    shutil.copytree(SOURCES / client.language, client.home, dirs_exist_ok=True)
    stamp = client.home / "packages.txt"
    wanted = "\n".join(client.packages)
    if stamp.exists() and stamp.read_text() == wanted:
        return ""
    steps = {"javascript": _npm, "java": _jdk, "python": _pip}[client.language]
    for step in steps(client):
        if trouble := _execute(step, client.home):
            return trouble
    stamp.write_text(wanted)
    return ""


def _jdk(_client: Client) -> list[list[str]]:
    return [["java", "--version"]]


def _npm(client: Client) -> list[list[str]]:
    (client.home / "package.json").write_text('{"private": true}')
    return [["npm", "install", "--no-audit", "--no-fund", "--silent", *client.packages]]


def _pip(client: Client) -> list[list[str]]:
    python = str(client.home / "venv" / "bin" / "python")
    if uv := shutil.which("uv"):
        return [
            [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, "venv"],
            [uv, "pip", "install", "--quiet", "--python", python, *client.packages],
        ]
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *client.packages]
    return [[sys.executable, "-m", "venv", "venv"], install]


def _execute(step: list[str], home: Path) -> str:
    """Run one step. Why it failed; empty: it did not."""
    if shutil.which(step[0]) is None:
        return f"{step[0]} is not installed"
    try:
        done = subprocess.run(step, cwd=home, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"{step[0]} did not end within {INSTALL_SECONDS} s"
    if done.returncode == 0:
        return ""
    lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
    return f"cannot be installed: {lines[-1][:200]}"
