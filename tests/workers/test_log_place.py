"""Where the log of a worker is, as the people read it who look for it after the worker has died."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from openfall.workers.log_place import LOG_VARIABLE, log_place


@pytest.fixture
def pipe() -> Iterator[int]:
    """A descriptor that is no file."""
    reads, writes = os.pipe()
    yield writes
    os.close(reads)
    os.close(writes)


def journal_of(descriptor: int) -> dict[str, str]:
    file = os.fstat(descriptor)
    return {"JOURNAL_STREAM": f"{file.st_dev}:{file.st_ino}"}


def test_a_parent_that_keeps_the_output_names_its_file(pipe: int) -> None:
    assert log_place({LOG_VARIABLE: "/data/log/worker-gpu-1.log"}, "box", pipe) == "/data/log/worker-gpu-1.log"


@pytest.mark.parametrize(
    ("cgroups", "unit"),
    [
        ("0::/system.slice/system-openfall.slice/openfall-work@gpu.service\n", "openfall-work@gpu.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/bot.service\n", "bot.service"),
        ("0::/\n", "'openfall-work@*'"),
        (None, "'openfall-work@*'"),
    ],
)
def test_a_unit_of_systemd_is_read_with_journalctl(pipe: int, tmp_path: Path, cgroups: str | None, unit: str) -> None:
    file = tmp_path / "cgroup"
    if cgroups is not None:
        file.write_text(cgroups)
    place = log_place(journal_of(pipe), "box", pipe, file)
    assert place == f"journalctl --unit {unit} _PID={os.getpid()}"


def test_a_journal_that_this_process_does_not_write_to_is_not_named(pipe: int) -> None:
    assert "journalctl" not in log_place({"JOURNAL_STREAM": "1:2"}, "box", pipe)


def test_a_redirection_into_a_file_names_the_file(tmp_path: Path) -> None:
    with (tmp_path / "worker.log").open("wb") as file:
        assert log_place({}, "box", file.fileno()) == str(tmp_path / "worker.log")


def test_a_pod_of_kubernetes_is_read_with_kubectl(pipe: int) -> None:
    assert log_place({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "openfall-gpu-0", pipe) == (
        "kubectl logs --previous openfall-gpu-0"
    )


@pytest.mark.parametrize(("is_container", "place"), [(True, "docker logs 4f1c"), (False, "")])
def test_a_container_is_read_with_docker_and_a_terminal_is_unknown(
    pipe: int, tmp_path: Path, is_container: bool, place: str
) -> None:
    mark = tmp_path / "mark"
    if is_container:
        mark.touch()
    assert log_place({}, "4f1c", pipe, container_mark=mark) == place
