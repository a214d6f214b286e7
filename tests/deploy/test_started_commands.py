"""What containers and services start: each is a command of openfall that its parser takes. None is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import yaml

from tests.deploy.test_compose import SERVICES
from tests.deploy.test_kubernetes import OWN, container
from tests.producers.test_both_sides import typed

ROOT = Path(__file__).resolve().parents[2]
RUN = re.compile(r"docker compose (?:--profile \w+ )?run --rm (?:-T )?gateway ([^`>#\n(]+)")
PAGES = ("docker-compose.yml", "docs/install.md", "producers/cli/init.py")


def lines() -> Iterator[tuple[str, str]]:
    """The arguments of openfall, with the place where they stand."""
    for name, service in SERVICES.items():
        if service.get("build", {}).get("target") == "worker":
            yield f"docker-compose.yml: {name}", shlex.join(service["command"])
    for name in OWN:
        yield f"kubernetes: {name}", shlex.join(container(name)["args"])
    for unit in sorted((ROOT / "deploy/systemd").glob("*.service")):
        (started,) = re.findall(r"^ExecStart=\S+/openfall (.+)$", unit.read_text("utf-8"), re.MULTILINE)
        yield unit.name, started
    for page in PAGES:
        for arguments in RUN.findall((ROOT / page).read_text("utf-8")):
            yield page, arguments


def test_every_command_that_is_started_exists_with_its_options() -> None:
    unknown = []
    for place, line in lines():
        try:
            typed(shlex.split(line))
        except click.ClickException as error:
            unknown.append(f"{place}: openfall {line}: {error.format_message()}")
    assert unknown == []
    places = {place.partition(":")[0] for place, _ in lines()}
    assert {"docker-compose.yml", "kubernetes", "openfall-serve.service", *PAGES} <= places


def test_the_image_starts_openfall() -> None:
    _, stage = (ROOT / "deploy/Dockerfile").read_text("utf-8").split("AS worker", 1)
    (program,) = yaml.safe_load(re.findall(r"^ENTRYPOINT (.+)$", stage, re.MULTILINE)[0])
    assert program == "openfall"
