"""`openfall init`: what it detects, what it writes, and what it never overwrites or shows."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import redis
import yaml

from openfall.config import load
from openfall.producers.setup.config_text import build_config
from openfall.producers.setup.machine_detection import (
    DetectedCard,
    LocalModel,
    LocalRedis,
    Machine,
    ModelServer,
    ask_ollama,
    ask_redis,
    detect,
    ollama_url,
    parse_nvidia,
)
from tests.valkey_server import Server

KEY = "sk-ant-a-very-secret-key"
OLLAMA = ModelServer("ollama", "ollama", "http://127.0.0.1:11434", (
    LocalModel("llama3.2:3b", 2.0), LocalModel("qwen2.5-coder:32b", 19.9), LocalModel("nomic-embed-text:latest", 0.3),
    LocalModel("qwen3-coder:480b-cloud"), LocalModel("hf.co/Some/Model_X-GGUF:Q4_K_M", 40.0),
))  # fmt: skip
LLAMA_SERVER = ModelServer("llama-server", "openai", "http://127.0.0.1:8080/v1", (LocalModel("/srv/llama3.2:3b.gguf"),))
EVERYTHING = Machine(
    servers=(OLLAMA, LLAMA_SERVER), cards=(DetectedCard("NVIDIA GeForce RTX 4090", 24.0),),
    keys=("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "OPENROUTER_API_KEY"),
    redis=LocalRedis("redis://127.0.0.1:6379/0"),
)  # fmt: skip


@contextmanager
def answering(documents: Mapping[str, object]) -> Iterator[int]:
    """A server that answers these paths with JSON, and any other with a page."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_known = self.path in documents
            body = json.dumps(documents[self.path]).encode() if is_known else b"<html>hello</html>"
            self.send_response(200 if is_known else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def loaded(tmp_path: Path, machine: Machine, **options: bool):  # type: ignore[no-untyped-def]
    file = tmp_path / "openfall.yaml"
    file.write_text(build_config(machine, **options))
    return load(file, environ=dict.fromkeys(machine.keys, KEY))


def test_everything_that_a_machine_has_is_in_its_configuration_which_loads(tmp_path: Path) -> None:
    config = loaded(tmp_path, EVERYTHING)
    catalog = config.catalog
    assert set(catalog.backends) == {
        "ollama", "ollama-cloud", "llama-server", "anthropic", "openai", "gemini", "openrouter",
    }  # fmt: skip
    assert catalog.backends["ollama"].vram_gb == 24
    assert catalog.backends["ollama-cloud"].pool == "cloud"
    assert config.settings.redis.url == "redis://127.0.0.1:6379/0"
    coder = catalog.models["qwen2-5-coder-32b"]
    assert (coder.upstream, coder.vram_gb) == ("qwen2.5-coder:32b", 23.9)
    assert catalog.models["llama3-2-3b-2"].backends == ("llama-server",), "a name that two servers have stays unique"
    assert catalog.roles["chat"].chain[0] == "qwen2-5-coder-32b", "the largest local model that fits goes first"
    assert catalog.roles["chat"].chain[-1] == "or-sonnet"
    assert catalog.roles["embed"].chain == ("nomic-embed-text",)
    assert "nomic-embed-text" not in catalog.roles["chat"].chain


def test_a_provider_is_called_at_the_address_that_its_variable_names(tmp_path: Path) -> None:
    """A proxy for ANTHROPIC_BASE_URL was passed by: the key and the prompts went to the provider itself."""
    file = tmp_path / "openfall.yaml"
    file.write_text(build_config(Machine(keys=("ANTHROPIC_API_KEY", "OPENAI_API_KEY"))))
    proxies = {"ANTHROPIC_BASE_URL": "http://proxy:1", "OPENAI_BASE_URL": "http://proxy:2/v1"}
    urls = [{name: each.url for name, each in load(file, environ=e).catalog.backends.items()} for e in ({}, proxies)]
    assert urls == [
        {"anthropic": "https://api.anthropic.com", "openai": "https://api.openai.com/v1"},
        {"anthropic": "http://proxy:1", "openai": "http://proxy:2/v1"},
    ]


def test_a_model_that_does_not_fit_the_card_is_a_comment_with_the_reason(tmp_path: Path) -> None:
    text = build_config(EVERYTHING)
    assert '  # model-x-gguf-q4-k-m: {upstream: "hf.co/Some/Model_X-GGUF:Q4_K_M"' in text
    assert "# the card has 24 GB" in text
    assert KEY not in text


@pytest.mark.parametrize("in_containers", [False, True])
@pytest.mark.parametrize(
    "machine",
    [
        Machine(),
        Machine(servers=(ModelServer("ollama", "ollama", "http://127.0.0.1:11434", ()),)),
        Machine(servers=(LLAMA_SERVER,)),
        Machine(servers=(OLLAMA,)),
        Machine(keys=("ANTHROPIC_AUTH_TOKEN",)),
        Machine(redis=LocalRedis("redis://127.0.0.1:6379/0", "it has no append-only file")),
        EVERYTHING,
    ],
)
def test_the_configuration_of_any_machine_loads_and_has_a_role_chat(
    tmp_path: Path, machine: Machine, in_containers: bool
) -> None:
    config = loaded(tmp_path, machine, in_containers=in_containers)
    assert config.missing == ()
    assert "chat" in config.catalog.roles
    address = config.settings.gateway.listen[0]
    if in_containers and (machine.servers == () or machine.servers[0].models):
        assert address == "0.0.0.0:8309"
        assert not config.settings.engines


def test_servers_cards_and_keys_of_a_machine_are_detected_and_a_web_page_is_no_server(redis_url: str) -> None:
    tags = {"/api/tags": {"models": [{"name": "llama3.2:3b", "size": 2_019_393_189}, {"bad": 1}]}}
    models = {"/v1/models": {"object": "list", "data": [{"id": "qwen3"}]}}
    with answering(tags) as ollama, answering(models) as llama, answering({}) as page:
        environ = {
            "OLLAMA_URL": f"http://127.0.0.1:{ollama}",
            "REDIS_URL": redis_url,
            "OPENAI_API_KEY": KEY,
            "GEMINI_API_KEY": "",
        }
        machine = asyncio.run(detect(environ, {"llama-server": llama, "vllm": page, "lm-studio": 1}))
    assert [(server.name, server.models) for server in machine.servers] == [
        ("ollama", (LocalModel("llama3.2:3b", 2.0),)),
        ("llama-server", (LocalModel("qwen3"),)),
    ]
    assert machine.keys == ("OPENAI_API_KEY",)
    assert machine.redis == LocalRedis(redis_url)
    assert KEY not in repr(machine)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:11500", "http://127.0.0.1:11500"),
        (":11500", "http://127.0.0.1:11500"),
        ("0", "http://127.0.0.1:11434"),
        ("*:11500", "http://127.0.0.1:11500"),
        ("http://0.0.0.0:11434", "http://127.0.0.1:11434"),
        ("rack", "http://rack:11434"),
        (" 'rack:80' ", "http://rack:80"),
        ("http://rack", "http://rack"),
        ("http://rack:8080/", "http://rack:8080"),
        ("https://rack/ollama/", "https://rack/ollama"),
        ("[::1]", "http://[::1]:11434"),
        ("[::]:11500", "http://[::1]:11500"),
        ("rack:none", "http://127.0.0.1:11434"),
    ],
)
def test_the_variable_of_ollama_says_where_it_is(host: str, url: str) -> None:
    assert ollama_url({"OLLAMA_HOST": host}) == url
    assert ollama_url({"OLLAMA_HOST": host, "OLLAMA_URL": "http://attic:1/"}) == "http://attic:1"


def test_a_gateway_to_which_the_variable_of_ollama_leads_its_clients_is_no_server_of_models() -> None:
    tags = {"/api/tags": {"models": [{"name": "chat"}]}}
    with answering(tags | {"/openapi.json": {"info": {"title": "openfall"}}}) as gateway, answering(tags) as ollama:
        assert ask_ollama(f"http://127.0.0.1:{gateway}") is None
        assert ask_ollama(f"http://127.0.0.1:{ollama}") is not None


def test_a_server_that_speaks_no_http_and_a_host_with_a_blank_are_no_servers_of_models() -> None:
    def greet() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"SSH-2.0-OpenSSH_9\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=greet, daemon=True)
        thread.start()
        assert ask_ollama(f"http://127.0.0.1:{listener.getsockname()[1]}") is None
        thread.join(30)
    assert ask_ollama(ollama_url({"OLLAMA_HOST": "my rack"})) is None


def test_no_redis_is_no_error_and_cards_are_read_from_nvidia_smi() -> None:
    assert asyncio.run(ask_redis("redis://127.0.0.1:1/0")) is None
    text = "NVIDIA GeForce RTX 4090, 24564\nfailed to initialize NVML\nNVIDIA H200, 143771\n"
    assert list(parse_nvidia(text)) == [
        DetectedCard("NVIDIA GeForce RTX 4090", 24.0),
        DetectedCard("NVIDIA H200", 140.4),
    ]


Init = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def init(tmp_path: Path) -> Init:
    """`openfall init` as a new user runs it: nothing answers at the addresses of this test."""

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "openfall.producers.cli", "init", *arguments]
        own = {"HOME": str(tmp_path), "REDIS_URL": "redis://127.0.0.1:1/0", "OLLAMA_URL": "http://127.0.0.1:1"}
        own |= {name: os.environ[name] for name in ("PATH", "SSL_CERT_FILE")} | environ
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=own, timeout=60, check=False)

    return run


def test_init_writes_every_file_once_says_what_comes_next_and_never_overwrites(init: Init, tmp_path: Path) -> None:
    first = init("fleet", "--systemd", "--compose", ANTHROPIC_API_KEY=KEY)
    assert (first.returncode, first.stderr) == (0, "")
    fleet = tmp_path / "fleet"
    assert {file.relative_to(fleet).as_posix() for file in fleet.rglob("*") if file.is_file()} == {
        "openfall.yaml", ".env", "docker-compose.yml", "systemd/openfall-serve.service",
        "systemd/openfall-degrade.service", "systemd/openfall-sidecar.service", "systemd/openfall-work@.service",
    }  # fmt: skip
    assert "docker compose up -d" in first.stdout
    assert "sudo systemctl enable --now openfall-serve openfall-degrade openfall-work@" in first.stdout
    assert "add to .env, as a service does not see the variables of your shell: ANTHROPIC_API_KEY" in first.stdout
    written = "".join(file.read_text() for file in fleet.rglob("*") if file.is_file())
    assert KEY not in written + first.stdout
    assert "${ANTHROPIC_API_KEY:-}" in written
    env = fleet / ".env"
    assert env.stat().st_mode & 0o777 == 0o600
    assert "COMPOSE_PROFILES=gateway\n" in env.read_text()
    password = next(line for line in env.read_text().splitlines() if line.startswith("OPENFALL_VALKEY_PASSWORD="))
    assert len(password) == len("OPENFALL_VALKEY_PASSWORD=") + 48
    assert password.partition("=")[2] not in first.stdout
    compose = yaml.safe_load((fleet / "docker-compose.yml").read_text())
    assert Path(compose["services"]["worker"]["build"]["context"], "pyproject.toml").is_file()
    mounts = [str(each) for service in compose["services"].values() for each in service.get("volumes", [])]
    assert any(mount.startswith("/") and mount.endswith("/deploy/valkey:/etc/valkey:ro") for mount in mounts)

    (fleet / "openfall.yaml").write_text("mine")
    again = init("fleet", "--compose")
    assert again.returncode == 2
    assert "docker-compose.yml exists: nothing was written" in again.stderr
    assert "--force" in again.stderr
    assert (fleet / "openfall.yaml").read_text() == "mine"
    forced = init("fleet", "--compose", "--force")
    assert forced.returncode == 0, forced.stderr
    assert password in env.read_text(), "a .env file keeps what it has"


def test_detect_writes_nothing_and_names_a_key_of_the_env_file_without_its_value(init: Init, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    shown = init("--detect")
    assert shown.returncode == 0
    assert "keys: OPENAI_API_KEY" in shown.stdout
    assert KEY not in shown.stdout + shown.stderr
    assert json.loads(init("--detect", "--json").stdout)["keys"] == ["OPENAI_API_KEY"]
    assert [file.name for file in tmp_path.iterdir()] == [".env"]


def test_neither_the_text_nor_the_json_shows_the_password_of_a_redis_that_answers(init: Init, server: Server) -> None:
    with redis.Redis.from_url(server.url) as admin:
        admin.execute_command("ACL SETUSER", "me", "on", f">{KEY}", "~*", "&*", "+@all")
    url = f"unix://me:{KEY}@{server.socket}"
    shown, as_json = init("--detect", REDIS_URL=url), init("--detect", "--json", REDIS_URL=url)
    assert str(server.socket) in shown.stdout
    assert str(server.socket) in json.loads(as_json.stdout)["redis"]["url"]
    assert KEY not in shown.stdout + shown.stderr + as_json.stdout + as_json.stderr


OWN = """pools: {rack: {local: yes}}
backends: {desk: {protocol: ollama, url: "http://127.0.0.1:1", pool: rack}}
models: {words: {upstream: words, backends: [desk]}}
"""


@pytest.mark.parametrize("option", ["--systemd", "--compose"])
def test_files_for_a_fleet_that_has_a_configuration_leave_it_as_it_is(init: Init, tmp_path: Path, option: str) -> None:
    (tmp_path / "openfall.yaml").write_text(OWN)
    assert init().returncode == 2
    ran = init(option)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "kept openfall.yaml" in ran.stdout
    assert ("openfall-work@rack" in ran.stdout) == (option == "--systemd")
    assert (tmp_path / "openfall.yaml").read_text() == OWN


@pytest.mark.parametrize("taken", ["systemd", ".openfall.yaml.new/x"])
def test_a_file_that_cannot_be_written_is_named_with_the_remedy(init: Init, tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    (tmp_path / taken).write_text("")
    ran = init("--systemd")
    name = "systemd/openfall-" if taken == "systemd" else "openfall.yaml cannot be written: Is a directory"
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"openfall: {tmp_path / name}")
    assert ran.stderr.endswith("Name another directory.\n")
