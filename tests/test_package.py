"""The wheel, installed into an environment of its own and run beside a program that has the same module names."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[1]
ROOMS = ("router_core", "config", "producers", "workers")
BUILD = "from setuptools import build_meta; print('BUILT', build_meta.build_{}('dist'))"
DATA_FILES = (
    "*.lua",
    "*.yaml",
    ".env.example",
    "py.typed",
    "*.html",
    "*.css",
    "*.js",
    "*.svg",
    "*.service",
    "*.md",
    "*.sysusers",
)

CONFIG = """
redis: ${REDIS_URL}
data: ./data
backends: {box: {url: "http://127.0.0.1:9", pool: gpu}}
models: {tiny: {upstream: tiny-1, backends: [box]}}
roles: {chat: {chain: [tiny]}}
"""

BOT = """
import openfall

with openfall.Openfall() as llm:
    receipt = llm.submit("Haruka waves", role="chat")
    record = llm.record(receipt.id)
    model = openfall.resolve_runtime_model("chat")
    print(openfall.__version__, record.state, model.upstream)
    print(openfall.__file__)
"""

TYPED_BOT = """
import asyncio

from openfall import AsyncOpenfall, Openfall, resolve_runtime_model


async def main() -> None:
    async with AsyncOpenfall() as llm:
        reveal_type(await llm.ask("Haruka waves", role="chat", timeout="5s"))
        reveal_type([delivery.text async for delivery in llm.inbox("bot")])
        reveal_type([event async for event in llm.stream("8f21") if event["event"] == "done"])


asyncio.run(main())
reveal_type(Openfall().submit("Haruka waves", expires_in="5m").id)
reveal_type(resolve_runtime_model("chat").report(status=500))
Openfall().submit("Haruka waves", expire_in="5m")
"""


MYPY_OF_THE_BOT = """
[mypy]
follow_imports = skip
[mypy-openfall.*]
follow_imports = normal
"""
"""The packages that openfall imports are `Any`: to analyse them takes as long again, and the bot uses none of them."""


@dataclass(frozen=True)
class Installation:
    """A virtual environment with the wheel, and a directory whose modules have the names of openfall's folders."""

    python: Path
    script: Path
    site: Path
    home: Path

    def run(self, *command: str | Path, redis_url: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.home), "REDIS_URL": redis_url}
        return subprocess.run(
            command, cwd=self.home, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )


def _build(kind: str, tree: Path) -> Path:
    built = subprocess.run(
        [sys.executable, "-c", BUILD.format(kind)], cwd=tree, capture_output=True, text=True, timeout=120, check=False
    )
    assert built.returncode == 0, built.stderr
    return tree / "dist" / built.stdout.rpartition("BUILT ")[2].strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the unpacked source distribution of a copy of the tree, offline."""
    home = tmp_path_factory.mktemp("build")
    for folder in (*ROOMS, "openfall"):
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(TREE / folder, home / "tree" / folder, symlinks=True, ignore=ignore)
    (home / "tree/docs").mkdir()
    for link in (TREE / "producers/documents").iterdir():  # each leads to a file of docs
        shutil.copy(TREE / "docs" / link.name, home / "tree/docs")
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(TREE / file, home / "tree")
    with tarfile.open(_build("sdist", home / "tree")) as sdist:
        sdist.extractall(home / "sdist")  # our own: `filter` came with Python 3.11.4
    (unpacked,) = (home / "sdist").iterdir()
    return _build("wheel", unpacked)


@pytest.fixture(scope="module")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The dependencies are those of the interpreter that runs the tests, without its own openfall."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home / "venv", symlinks=True, with_pip=False)
    python = home / "venv" / "bin" / "python"
    ran = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    site = Path(ran.stdout.strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    entry_points = ConfigParser()
    (metadata,) = site.glob("openfall-*.dist-info")
    entry_points.read(metadata / "entry_points.txt")
    module, _, function = entry_points["console_scripts"]["openfall"].partition(":")
    script = home / "venv" / "bin" / "openfall"
    script.write_text(f"#!{python}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    script.chmod(0o755)
    program = home / "program"
    for name in ("config", "workers", "producers"):
        (program / name).mkdir(parents=True)
        (program / name / "__init__.py").write_text("raise RuntimeError('a package of the program')\n")
    for name in ("config", "router_core", "utils"):
        (program / f"{name}.py").write_text("raise RuntimeError('a module of the program')\n")
    (program / "openfall.yaml").write_text(CONFIG)
    return Installation(python, script, site, program)


@pytest.mark.slow
def test_the_wheel_holds_one_package_with_all_its_data_files(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"openfall"}
    assert len(tops) == 2
    expected = {"openfall/py.typed", "openfall/__init__.py"}
    for room in ROOMS:
        for pattern in ("*.py", *DATA_FILES):
            expected |= {f"openfall/{path.relative_to(TREE)}" for path in (TREE / room).rglob(pattern)}
    assert {name for name in names if name.startswith("openfall/")} == expected


def test_the_environment_gains_openfall_and_nothing_else(installation: Installation) -> None:
    names = {path.name for path in installation.site.iterdir()} - {"dependencies.pth"}
    assert {name for name in names if not name.endswith(".dist-info")} == {"openfall"}
    assert not any(path.is_symlink() for path in installation.site.rglob("*"))


def test_a_bot_runs_beside_modules_of_the_same_names(installation: Installation, redis_url: str) -> None:
    (installation.home / "bot.py").write_text(BOT)
    ran = installation.run(installation.python, "bot.py", redis_url=redis_url)
    assert ran.returncode == 0, ran.stderr
    first, file = ran.stdout.splitlines()
    assert first.split()[1:] == ["queued", "tiny-1"]
    assert Path(file).parent == installation.site / "openfall"


def test_the_command_line_runs_beside_modules_of_the_same_names(installation: Installation, redis_url: str) -> None:
    by_name, module = [installation.script], [installation.python, "-m", "openfall.producers.cli"]
    commands = [
        (by_name, "--version", "0."), (module, "config check", "openfall.yaml"), (module, "workers", "worker"),
        (by_name, "resolve chat", "tiny@box"), (module, "work --help", "Usage"),
    ]  # fmt: skip
    for program, arguments, expected in commands:
        ran = installation.run(*program, *arguments.split(), redis_url=redis_url)
        assert ran.returncode == 0, (arguments, ran.stderr)
        assert expected in ran.stdout + ran.stderr, arguments


def test_a_worker_starts_beside_modules_of_the_same_names(installation: Installation, redis_url: str) -> None:
    command = [installation.python, "-m", "openfall.workers", "work", "gpu", "--announce"]
    process = subprocess.Popen(
        command, cwd=installation.home, env={"PATH": "/usr/bin:/bin", "REDIS_URL": redis_url}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert "ready" in process.stdout.readline()
        process.terminate()
        _, log = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, log
    assert "Traceback" not in log


def test_a_worker_of_an_unknown_pool_ends_with_one_line(installation: Installation, redis_url: str) -> None:
    ran = installation.run(installation.python, "-m", "openfall.workers", "work", "gpuu", redis_url=redis_url)
    assert ran.returncode == 2
    assert "gpuu" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_import_loads_nothing_but_itself(installation: Installation) -> None:
    code = "import sys, openfall; print([m for m in ('asyncio', 'pydantic', 'redis', 'aiohttp') if m in sys.modules])"
    ran = installation.run(installation.python, "-c", code)
    assert ran.stdout.strip() == "[]", ran.stderr


def test_a_program_sees_the_types_of_the_installed_package(installation: Installation) -> None:
    (installation.home / "typed_bot.py").write_text(TYPED_BOT)
    (installation.home / "mypy.ini").write_text(MYPY_OF_THE_BOT)
    ran = installation.run(
        sys.executable, "-m", "mypy", "--strict", "--python-executable", installation.python,
        "typed_bot.py", timeout=240,
    )  # fmt: skip
    revealed = [line.partition("Revealed type is ")[2].strip('"') for line in ran.stdout.splitlines()[:5]]
    assert "stream_event.DoneEvent" in revealed.pop(2), ran.stdout + ran.stderr
    assert revealed == [
        "openfall.router_core.jobs.result.Result",
        "list[str]",
        "str",
        "bool",
    ], ran.stdout + ran.stderr
    assert 'Unexpected keyword argument "expire_in"' in ran.stdout
    assert "Found 1 error in 1 file" in ran.stdout


def test_a_program_beside_the_checkout_finds_the_package(tmp_path: Path) -> None:
    """The checkout's own folder is called `openfall` too. Python must not take it for the package."""
    (tmp_path / "openfall").mkdir()
    (tmp_path / "bot.py").write_text("from openfall import Openfall; print(Openfall.__module__)", "utf-8")
    run = subprocess.run(
        [sys.executable, "bot.py"], cwd=tmp_path, env={}, capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.stdout, run.stderr) == ("openfall.producers.sync_client\n", "")


def test_the_folder_of_the_checkout_gives_the_same_classes_as_the_package() -> None:
    code = (
        "import openfall; from producers import AsyncOpenfall, Openfall; from producers.errors import BadRequest; "
        "package = openfall.AsyncOpenfall, openfall.Openfall, openfall.BadRequest; "
        "print((AsyncOpenfall, Openfall, BadRequest) == package)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=TREE, env={}, capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.stdout, run.stderr) == ("True\n", "")
