"""Agents that others wrote: their packages, how each is started at a gateway, and where its traffic may go."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.clients.environments import Client

PROMPT = "Run the command echo with one word, then tell me what is lit."
NOWHERE = "http://127.0.0.1:9"
"""A proxy for every other host than this machine: nothing listens there."""


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent. `arguments` are those of its program for one prompt at a gateway, after it has `settings` in its
    home."""

    client: Client
    program: str
    arguments: Callable[[str], list[str]]
    settings: Callable[[Path, str], dict[str, str]]
    """Writes the files of the agent below its home, and returns its environment."""

    @property
    def name(self) -> str:
        return self.client.name

    def command(self, gateway: str) -> list[str]:
        return [str(self.client.home / "node_modules" / ".bin" / self.program), *self.arguments(gateway)]

    def environment(self, home: Path, gateway: str) -> dict[str, str]:
        """A home of its own, no proxy to this machine and none that works to any other."""
        home.mkdir()
        proxies = {name: NOWHERE for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")}
        direct = {name: "127.0.0.1,localhost" for name in ("NO_PROXY", "no_proxy")}
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {**kept, "HOME": str(home), "TERM": "dumb", **proxies, **direct, **self.settings(home, gateway)}


def _claude_settings(home: Path, gateway: str) -> dict[str, str]:
    return {"ANTHROPIC_BASE_URL": gateway, "ANTHROPIC_AUTH_TOKEN": "any", "ANTHROPIC_MODEL": "coder"}


def _codex_settings(home: Path, gateway: str) -> dict[str, str]:
    (home / ".codex").mkdir()
    (home / ".codex" / "config.toml").write_text(
        'model = "coder"\nmodel_provider = "openfall"\n\n'
        f'[model_providers.openfall]\nname = "openfall"\nbase_url = "{gateway}/v1"\nwire_api = "responses"\n'
    )
    return {"CODEX_HOME": str(home / ".codex")}


def _opencode_settings(home: Path, gateway: str) -> dict[str, str]:
    folder = home / ".config" / "opencode"
    folder.mkdir(parents=True)
    options = {"baseURL": f"{gateway}/v1", "apiKey": "any"}
    models = {"coder": {"name": "coder"}}
    provider = {"npm": "@ai-sdk/openai-compatible", "name": "openfall", "options": options, "models": models}
    body = {"provider": {"openfall": provider}, "model": "openfall/coder"}
    (folder / "opencode.json").write_text(json.dumps(body))
    return {}


def _npm(name: str, package: str) -> Client:
    return Client(name, "javascript", (package,), ())


AGENTS = (
    Agent(
        _npm("claude-code", "@anthropic-ai/claude-code@2.1.332"),
        "claude",
        lambda _gateway: ["-p", PROMPT, "--allowedTools", "Bash(echo:*)"],
        _claude_settings,
    ),
    Agent(
        _npm("codex", "@openai/codex@0.171.0"),
        "codex",
        lambda _gateway: ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", PROMPT],
        _codex_settings,
    ),
    Agent(_npm("opencode", "opencode-ai@1.18.33"), "opencode", lambda _gateway: ["run", PROMPT], _opencode_settings),
)
