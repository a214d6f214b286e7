"""Open WebUI, started without a window: its connections to both gateways, its list of models, a chat over each."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from report import GATEWAY, TEXT, equal, run

START_SECONDS = 500
"""It imports much, and makes its database."""


@contextmanager
def started() -> Iterator[str]:
    """Its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with TemporaryDirectory() as home:
        settings = {
            "DATA_DIR": home, "WEBUI_AUTH": "False", "WEBUI_SECRET_KEY": "x", "ENABLE_PERSISTENT_CONFIG": "False",
            "OLLAMA_BASE_URL": GATEWAY, "OPENAI_API_BASE_URL": f"{GATEWAY}/v1", "OPENAI_API_KEY": "any",
            "OFFLINE_MODE": "true", "HF_HUB_OFFLINE": "1", "RAG_EMBEDDING_ENGINE": "openai", "DO_NOT_TRACK": "true",
        }  # fmt: skip
        command = [str(Path(sys.executable).with_name("open-webui")), "serve", "--host", "127.0.0.1"]
        with (Path(home) / "log").open("w") as log:
            process = subprocess.Popen(
                [*command, "--port", str(port)], cwd=home, env={**os.environ, **settings}, stdout=log, stderr=log
            )
        try:
            url = f"http://127.0.0.1:{port}"
            until = time.monotonic() + START_SECONDS
            while not is_healthy(url):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"it did not start: {(Path(home) / 'log').read_text()[-2000:]}")
                time.sleep(1)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def is_healthy(url: str) -> bool:
    try:
        return bool(fetch(f"{url}/health")["status"])
    except (URLError, OSError):
        return False


def fetch(url: str, body: Any = None, token: str = "") -> Any:
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, headers), timeout=60) as response:
        return json.load(response)


with started() as url:
    token = fetch(f"{url}/api/v1/auths/signin", {"email": "", "password": ""})["token"]

    def models() -> None:
        owners = {model["id"]: model["owned_by"] for model in fetch(f"{url}/api/models", token=token)["data"]}
        equal((owners.get("chat"), owners.get("chat:latest")), ("openai", "ollama"))

    def chat(model: str) -> None:
        body = {"model": model, "messages": [{"role": "user", "content": "Haruka waves"}], "stream": False}
        answer = fetch(f"{url}/api/chat/completions", body, token)
        equal(answer["choices"][0]["message"]["content"], TEXT)

    def verified() -> None:
        fetch(f"{url}/openai/verify", {"url": f"{GATEWAY}/v1", "key": "any"}, token)
        equal(fetch(f"{url}/ollama/verify", {"url": GATEWAY, "key": ""}, token)["version"], "0.12.6")

    run({
        "models of both gateways": models,
        "a chat at the OpenAI gateway": lambda: chat("chat"),
        "a chat at the Ollama gateway": lambda: chat("chat:latest"),
        "the connections are verified": verified,
    })  # fmt: skip
