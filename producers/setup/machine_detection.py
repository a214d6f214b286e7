"""What this machine has: model servers, graphics cards, keys and a Redis. It asks, and changes nothing.

Of a key only the name is read, never the value.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from openfall.router_core.catalog.redis_server import RedisServer
from openfall.router_core.redis_preconditions import ServerTerms
from openfall.router_core.state.errors import StoreError
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.redis_server_check import fetch_findings
from openfall.workers.gpu.device_memory import SYSFS, read_amd

TIMEOUT_SECONDS = 1.5
MAX_BYTES = 4_000_000
OLLAMA_PORT = 11434
OLLAMA_URL = f"http://127.0.0.1:{OLLAMA_PORT}"
REDIS_URL = "redis://127.0.0.1:6379/0"
OPENAI_SERVERS = {"llama-server": 8080, "lm-studio": 1234, "vllm": 8000}
"""Servers with OpenAI's protocol, and the default port of each."""
EXPECTED_SERVERS = ", ".join(f"{name} {port}" for name, port in {"ollama": OLLAMA_PORT, **OPENAI_SERVERS}.items())
"""The servers that are looked for, in words."""

KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "OPENAI_API_KEY", "GEMINI_API_KEY", "OPENROUTER_API_KEY")


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model of a server, under the server's own name. `size_gb` None: the server does not say it."""

    name: str
    size_gb: float | None = None


@dataclass(frozen=True, slots=True)
class ModelServer:
    """A server of models that answers at `url`. `name`: of its backend."""

    name: str
    protocol: str
    url: str
    models: tuple[LocalModel, ...]


@dataclass(frozen=True, slots=True)
class DetectedCard:
    """A graphics card."""

    name: str
    memory_gb: float


@dataclass(frozen=True, slots=True)
class LocalRedis:
    """A Redis or Valkey that answers. `problem`: why openfall would not use it as it is set up; empty: it would."""

    url: str
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What was detected. `keys` are names of variables."""

    servers: tuple[ModelServer, ...] = ()
    cards: tuple[DetectedCard, ...] = ()
    keys: tuple[str, ...] = ()
    redis: LocalRedis | None = None


async def detect(environ: Mapping[str, str], ports: Mapping[str, int] = OPENAI_SERVERS) -> Machine:
    """Ask what usually answers on this machine, all at once. `environ`: the variables of the process and of `.env`."""
    questions = [
        asyncio.to_thread(ask_ollama, ollama_url(environ)),
        *(asyncio.to_thread(ask_openai, name, f"http://127.0.0.1:{port}/v1") for name, port in ports.items()),
    ]
    redis_url = environ.get("REDIS_URL") or REDIS_URL
    answers, cards, redis = await asyncio.gather(
        asyncio.gather(*questions), asyncio.to_thread(list_cards), ask_redis(redis_url)
    )
    keys = tuple(name for name in KEYS if environ.get(name))
    return Machine(servers=tuple(filter(None, answers)), cards=cards, keys=keys, redis=redis)


_LOOPBACK = {"": "127.0.0.1", "0": "127.0.0.1", "*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where a host is reached that stands for every interface."""


def ollama_url(environ: Mapping[str, str]) -> str:
    """Where this machine's Ollama answers: OLLAMA_URL, else OLLAMA_HOST as Ollama reads it, else its default address.

    OLLAMA_HOST is a host, `HOST:PORT`, `:PORT` or a URL, for the server and for its clients. A host that stands for
    every interface is reached at the loopback address."""
    if url := environ.get("OLLAMA_URL"):
        return url.rstrip("/")
    text = environ.get("OLLAMA_HOST", "").strip().strip("\"'")
    scheme, is_url, address = text.rpartition("://")
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname or "", parts.port
    except ValueError:  # Ollama takes its default for it, too
        return OLLAMA_URL
    if not is_url:
        scheme, port = "http", port or OLLAMA_PORT
    host = _LOOPBACK.get(host, host)
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def ask_ollama(url: str) -> ModelServer | None:
    """The Ollama at an address, with its models; None: no such server answers there. A gateway of openfall, to which
    OLLAMA_HOST may lead the clients of this machine, is none: it would be a backend of itself."""
    rows = _rows(_get_json(f"{url}/api/tags"), "models")
    if rows is None or _is_gateway(url):
        return None
    models = tuple(LocalModel(str(row["name"]), _gigabytes(row.get("size"))) for row in rows if row.get("name"))
    return ModelServer("ollama", "ollama", url, models)


def ask_openai(name: str, url: str) -> ModelServer | None:
    """A server with OpenAI's protocol, with its models; None: no such server answers there."""
    rows = _rows(_get_json(f"{url}/models"), "data")
    models = tuple(LocalModel(str(row["id"])) for row in rows or () if row.get("id"))
    return ModelServer(name, "openai", url, models) if models else None


async def ask_redis(url: str) -> LocalRedis | None:
    """The Redis or Valkey at an address, and whether it is set up to keep accepted jobs."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), RedisConnection(RedisServer(url=url)) as link:
            fatal = [finding.message for finding in await fetch_findings(link, ServerTerms()) if finding.is_fatal]
    except (StoreError, TimeoutError, ValueError) as error:
        return LocalRedis(url, "it wants a password") if "NOAUTH" in str(error) else None
    return LocalRedis(url, "; ".join(fatal))


def list_cards() -> tuple[DetectedCard, ...]:
    """The graphics cards: NVIDIA's by `nvidia-smi`, AMD's by their driver's files."""
    program = shutil.which("nvidia-smi")
    command = [program or "", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    text = ""
    if program:
        try:
            text = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
        except (OSError, subprocess.TimeoutExpired):
            text = ""
    return (*parse_nvidia(text), *(DetectedCard("AMD", round(each.total_gb, 1)) for each in read_amd(SYSFS)))


def parse_nvidia(text: str) -> Iterator[DetectedCard]:
    """The lines of `nvidia-smi`: `NVIDIA GeForce RTX 4090, 24564` (MiB)."""
    for line in text.splitlines():
        match = re.fullmatch(r"(?P<name>.+), (?P<mib>\d+)", line.strip())
        if match:
            yield DetectedCard(match["name"], round(int(match["mib"]) / 1024, 1))


def _get_json(url: str) -> Any:
    """The JSON at an address, asked without a proxy; None: nothing answers, or something else."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=TIMEOUT_SECONDS) as response:
            return json.loads(response.read(MAX_BYTES))
    except (OSError, HTTPException, ValueError):  # another protocol, or an address that is none
        return None


def _is_gateway(url: str) -> bool:
    document = _get_json(f"{url}/openapi.json")
    info = document.get("info") if isinstance(document, dict) else None
    return isinstance(info, dict) and info.get("title") == "openfall"


def _rows(document: Any, key: str) -> list[dict[str, Any]] | None:
    rows = document.get(key) if isinstance(document, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else None


def _gigabytes(size: object) -> float | None:
    return round(size / 1e9, 1) if isinstance(size, int) and size > 10_000_000 else None
