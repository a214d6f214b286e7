"""A sidecar in the test's own process, with servers that are look-alikes in processes of their own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from openfall.config import load_manifest
from openfall.workers.sidecar.sidecar_process import running
from openfall.workers.sidecar.switcher import Switcher

FAKE = Path(__file__).resolve().parents[2] / "fakes" / "fake_llama_server.py"
DEADLINE_SECONDS = 60.0
Reply = tuple[int, Any]


def write_manifest(home: Path, profiles: dict[str, Any], **sections: Any) -> Path:
    """A manifest of look-alikes. JSON is YAML."""
    command = {"command": [sys.executable, "-I", "-S", str(FAKE)]}
    path = home / "manifest.yaml"
    path.write_text(json.dumps({"listen": "127.0.0.1:0", **command, **sections, "profiles": profiles}))
    return path


@dataclass
class Sidecar:
    url: str
    switcher: Switcher
    http: aiohttp.ClientSession

    async def get(self, path: str, **more: Any) -> Reply:
        async with self.http.get(self.url + path, **more) as response:
            return response.status, await response.json()

    async def post(self, path: str, body: Any, **more: Any) -> Reply:
        async with self.http.post(self.url + path, json=body, **more) as response:
            return response.status, await response.json()

    async def switch(self, name: str) -> Reply:
        return await self.post("/models/switch", {"model": name})

    async def ask(self, model: str, prompt: str = "hello", query: str = "") -> Reply:
        """The status, and the text or the code of the error."""
        body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
        status, reply = await self.post(f"/v1/chat/completions{query}", body)
        return status, reply["error"]["code"] if status >= 400 else reply["choices"][0]["message"]["content"]

    async def states(self) -> dict[str, str]:
        _, status = await self.get("/models/status")
        return {model["name"]: model["state"] for model in status["models"]}


@asynccontextmanager
async def running_sidecar(home: Path, profiles: dict[str, Any], **sections: Any) -> AsyncIterator[Sidecar]:
    manifest = load_manifest(write_manifest(home, profiles, **sections), environ={}, cwd=home)
    async with running(manifest) as (switcher, url), aiohttp.ClientSession() as http:
        yield Sidecar(url.rpartition(":")[0] + ":" + url.rpartition(":")[2], switcher, http)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await condition():
            await asyncio.sleep(0.02)
