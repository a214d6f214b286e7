"""`openfall init`: looks for what this machine has, and writes files that fit it."""

from __future__ import annotations

import getpass
import grp
import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from openfall import config as configuration
from openfall.config.env_file import FILE_NAME as ENV_FILE
from openfall.config.env_file import EnvFile, read_env_file
from openfall.config.paths import FILE_NAME
from openfall.config.yaml_document import Document
from openfall.producers.amount_text import plural
from openfall.producers.cli.event_loop import run_async
from openfall.producers.cli.terminal import echo, echo_marked, show_json
from openfall.producers.setup import stack_files
from openfall.producers.setup.config_text import build_config
from openfall.producers.setup.machine_detection import EXPECTED_SERVERS, Machine, detect
from openfall.producers.setup.stack_files import NewFile
from openfall.producers.setup.unit_files import UnitPlan, render_units

_IN_CONTAINERS = ': in containers it needs `redis: ${REDIS_URL}` and `gateway: {listen: ["0.0.0.0:8309"]}`'


@click.command(short_help="Write an openfall.yaml that fits this machine.")
@click.argument("directory", default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option("--detect", "only_detect", is_flag=True, help="Show what this machine has, and write nothing.")
@click.option("--systemd", is_flag=True, help="Also write units for systemd, with this user, program and directory.")
@click.option("--compose", is_flag=True, help="Also write docker-compose.yml, and .env with a new password.")
@click.option("--force", is_flag=True, help="Overwrite files that exist. A .env file is never overwritten.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def init(directory: Path, only_detect: bool, force: bool, as_json: bool, **wanted: bool) -> None:
    """Write an openfall.yaml that fits this machine, in DIRECTORY (here).

    With --systemd or --compose an openfall.yaml that exists is kept.

    It asks for model servers (Ollama, llama-server, LM Studio, vLLM), graphics cards, a Redis, and the names of keys in
    the environment and in .env. No value of a key is read into a file or shown.
    """
    target = directory.absolute()
    env_file = _env_file(target)
    machine = run_async(detect(env_file.over(os.environ)))
    if only_detect:
        show_json(_shown(machine)) if as_json else _show_machine(machine)
        return
    files = list(_files(target, machine, **wanted))
    config_file = target / FILE_NAME
    is_kept = any(wanted.values()) and config_file.exists() and not force
    files = [file for file in files if file.path != config_file or not is_kept]
    is_addition = {file.path: file.appended and file.path.exists() for file in files}
    stack_files.write_files(files, force)
    loaded = configuration.load(config_file)  # whatever it has, it must load
    if as_json:
        show_json({"machine": _shown(machine), "written": [str(file.path) for file in files]})
        return
    _show_machine(machine)
    echo()
    for file in files:
        note = ", only you can read it" if file.mode == stack_files.PRIVATE else ""
        echo(f"{'added to' if is_addition[file.path] else 'wrote'} {_shorten(file.path)}{note}")
    if is_kept:
        echo(f"kept {_shorten(config_file)}{_IN_CONTAINERS if wanted['compose'] else ''}")
    echo("\nNext:")
    pools = dict.fromkeys(backend.pool for backend in loaded.catalog.backends.values())
    if any(wanted.values()) and (keys := [name for name in machine.keys if not env_file.values.get(name)]):
        echo(f"  # add to .env, as a service does not see the variables of your shell: {', '.join(keys)}")
    for command in _next(target, machine, pools, **wanted):
        echo(f"  {command}")


def _shown(machine: Machine) -> dict[str, Any]:
    """A machine for JSON. REDIS_URL may have a password, and OLLAMA_URL too."""
    fields = asdict(machine)
    for place in (*fields["servers"], *filter(None, [fields["redis"]])):
        place["url"] = configuration.redact_value(place["url"])
    return fields


def _env_file(target: Path) -> EnvFile:
    """The `.env` file in the directory. One with an error has no variables."""
    return read_env_file(target / ENV_FILE, Document(target / ENV_FILE, os.environ))


def _files(target: Path, machine: Machine, *, systemd: bool, compose: bool) -> Iterator[NewFile]:
    yield NewFile(target / FILE_NAME, build_config(machine, in_containers=compose))
    if compose:
        yield NewFile(target / stack_files.COMPOSE_FILE, stack_files.compose_text())
        variables = {stack_files.PASSWORD: stack_files.new_password()}
        variables["COMPOSE_PROFILES"] = ",".join(_profiles(machine))
        variables["OPENFALL_POOL"] = "cloud" if machine.keys else "gpu"
        if any(server.protocol == "ollama" for server in machine.servers):
            variables["OLLAMA_URL"] = "http://host.docker.internal:11434"
        if env := stack_files.env_file(target / ENV_FILE, variables):
            yield env
    if systemd:
        for name, text in render_units(_unit_plan(target)).items():
            yield NewFile(target / "systemd" / name, text)


def _profiles(machine: Machine) -> Iterator[str]:
    """The profiles of docker-compose.yml that this machine needs."""
    yield "gateway"
    if machine.servers and machine.keys:
        yield "local-worker"
    if not machine.servers and not machine.keys:
        yield "local"


def _unit_plan(target: Path) -> UnitPlan:
    executable = Path(sys.argv[0]).absolute()
    if executable.name != "openfall":
        executable = Path(sys.executable).with_name("openfall")
    group = grp.getgrgid(os.getgid()).gr_name
    return UnitPlan(executable=executable, config=target / FILE_NAME, user=getpass.getuser(), group=group)


def _show_machine(machine: Machine) -> None:
    for server in machine.servers:
        names = [model.name for model in server.models]
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        listed = f": {', '.join(names[:4])}{more}" if names else ""
        echo_marked(
            "✓",
            "green",
            f"{server.name} at {configuration.redact_value(server.url)}, {plural(len(names), 'model')}{listed}",
        )
    if not machine.servers:
        echo_marked("-", "yellow", f"no model server answers ({EXPECTED_SERVERS}); of an Ollama elsewhere: OLLAMA_URL")
    for card in machine.cards:
        echo_marked("✓", "green", f"graphics card {card.name}, {card.memory_gb:g} GB")
    if machine.keys:
        echo_marked("✓", "green", f"keys: {', '.join(machine.keys)}")
    else:
        echo_marked(
            "-", "yellow", "no key is set (ANTHROPIC_API_KEY, OPENAI_API_KEY, GEMINI_API_KEY, OPENROUTER_API_KEY)"
        )
    redis = machine.redis
    if redis is None:
        echo_marked("-", "yellow", "no Redis answers: `openfall up` and containers have one of their own")
    elif redis.problem:
        echo_marked("!", "yellow", f"Redis at {configuration.redact_value(redis.url)} is not used: {redis.problem}")
    else:
        echo_marked("✓", "green", f"Redis at {configuration.redact_value(redis.url)} keeps accepted jobs")


def _next(target: Path, machine: Machine, pools: Iterable[str], *, systemd: bool, compose: bool) -> Iterator[str]:
    program = sys.argv[0] if Path(sys.argv[0]).name == "openfall" else "openfall"
    if target != Path.cwd():
        yield f"cd {shlex.quote(str(target))}"
    if compose:
        yield from _next_with_compose(machine)
    if compose and systemd:
        yield "# Or without containers, as units of this machine:"
    if systemd:
        yield from _next_with_systemd(machine, pools)
    elif not compose:
        yield f"{program} up    # everything; Ctrl-C stops it. Then, in another terminal:"
    if systemd or not compose:
        yield f"{program} preflight    # checks keys, endpoints and models"
    if not (systemd or compose):
        yield f'{program} ask "Hello"'


def _next_with_compose(machine: Machine) -> Iterator[str]:
    yield "docker compose run --rm gateway keys new me    # prints the key of the gateway, once"
    yield "docker compose up -d"
    if "local" in _profiles(machine):
        yield "docker compose exec ollama ollama pull llama3.2:3b    # for openfall.yaml: Ollama comes without a model"
    if machine.servers:
        yield "# Model servers of this machine must listen for containers, too: OLLAMA_HOST=0.0.0.0"


def _next_with_systemd(machine: Machine, pools: Iterable[str]) -> Iterator[str]:
    units = " ".join(["openfall-serve", "openfall-degrade", *(f"openfall-work@{pool}" for pool in pools)])
    if machine.redis is None or machine.redis.problem:
        yield "# install Valkey or Redis, and set REDIS_URL in .env (docs/install.md has its settings)"
    yield "sudo cp systemd/*.service /etc/systemd/system/ && sudo systemctl daemon-reload"
    yield f"sudo systemctl enable --now {units}"


def _shorten(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
