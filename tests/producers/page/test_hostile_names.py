"""The commands of the lines on top with names that another program wrote into Redis."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openfall.producers.held_release_text import describe_release
from openfall.producers.page.page_actions import ACTIONS
from openfall.producers.page.page_snapshot import PageSnapshot
from openfall.producers.page.sections import headline_section
from openfall.producers.page.sections.model_calls import ModelCalls
from openfall.router_core.state.last_workers import LastWorker
from openfall.router_core.vocabulary import HoldReason
from tests.producers.page.snapshots import NOW, QUEUE, STATUS, WORKER, calm_snapshot, held_job

HOSTILE = "x;touch injected\n$(touch injected)`touch injected`"
QUIET = replace(WORKER, name=HOSTILE, quiet=True)
QUEUES = tuple(replace(QUEUE, name=f"{HOSTILE}.a.batch", waiting=1, paused=paused) for paused in (True, False))
LAST = LastWorker("w", "gpu", "host", 7, f"journalctl --unit {HOSTILE}.service", NOW)
OTHER = replace(WORKER, queues=("degrade",))


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> PageSnapshot:
    return calm_snapshot(tmp_path_factory.mktemp("hostile"))


def words_of(command: str, folder: Path) -> list[str]:
    """The words of a command, as a shell reads them."""
    script = f"set -- {command}\nprintf '%s\\0' \"$@\""
    shell = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, check=True)
    return shell.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize(
    ("status", "name"),
    [
        ({"workers": (QUIET, WORKER)}, HOSTILE),
        ({"queues": QUEUES[:1]}, f"{HOSTILE}.a.batch"),
        ({"queues": QUEUES[1:], "workers": (OTHER,)}, ""),  # no configuration has this pool, so no command starts it
        ({"queues": QUEUES[1:], "workers": ()}, ""),
        ({"workers": (OTHER,), "last_workers": (LAST,)}, ""),
        ({"workers": (), "last_workers": (LAST, replace(LAST, pool=HOSTILE, log="docker logs x\n;touch i"))}, ""),
    ],
    ids=["a quiet worker", "a paused queue", "a pool", "no worker", "a log", "a pool and its log"],
)  # fmt: skip
def test_no_name_adds_a_command_to_that_of_a_line(
    calm: PageSnapshot, tmp_path: Path, status: dict[str, Any], name: str
) -> None:
    causes: Any = headline_section.context(replace(calm, status=replace(STATUS, **status)))["causes"]
    commands = [cause.remedy for cause in causes if cause.remedy.startswith(("openfall", "systemctl", "docker"))]
    words = [word for command in commands for word in words_of(command, tmp_path)]
    assert not list(tmp_path.iterdir())
    assert commands
    assert all("\n" not in command for command in commands)
    assert not name or name in words


def test_no_name_adds_a_command_to_that_of_a_held_job_or_of_an_action(calm: PageSnapshot, tmp_path: Path) -> None:
    job = held_job(HoldReason.POISONED, id=HOSTILE, crash_log=f"less {HOSTILE}", crash_host="h")
    release = describe_release(job, NOW, calm.catalog, ModelCalls(calm).blocks)
    assert "\n" not in release
    for action in ACTIONS.values():
        words = words_of(action.command_line(HOSTILE), tmp_path)
        assert (HOSTILE in words) == ("{subject}" in action.command)
    assert not list(tmp_path.iterdir())
