"""A configuration that is being written is neither in force nor invalid until it is whole."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from openfall.config import LoadedConfig, load
from openfall.config.config_watcher import SETTLED_SECONDS, ConfigWatcher
from openfall.config.open_writers import is_on_network, is_open_for_writing

VALID = """
pools: {gpu: {local: yes}}
backends: {box: {url: "http://127.0.0.1:1", pool: gpu}}
models: {tiny: {upstream: tiny-1, backends: [box]}}
roles: {chat: {chain: [tiny]}}
"""
CHANGED = f"{VALID}logs: {{format: json}}\n"
LOGGER = logging.getLogger("openfall.test")


class Watched:
    """A file, its watcher, and the time."""

    def __init__(self, home: Path) -> None:
        self.file, self.now = home / "openfall.yaml", 1e9
        self.write(VALID, at=self.now - 60)
        self.watcher = ConfigWatcher(load(self.file), lambda loaded: loaded, LOGGER, lambda: self.now)

    def write(self, text: str, at: float | None = None) -> None:
        """Write the file in place."""
        self.file.write_text(text)
        moment = round((self.now if at is None else at) * 1e9)
        os.utime(self.file, ns=(moment, moment))

    def look(self, seconds: float = 0.0) -> LoadedConfig | None:
        """What the watcher has read after a while."""
        self.now += seconds
        return self.watcher.reload_if_changed()


@pytest.mark.parametrize("half", ["", VALID, CHANGED[: len(CHANGED) // 2], CHANGED[:-9], "roles: ["])
def test_half_a_file_is_neither_in_force_nor_invalid(tmp_path: Path, caplog: Any, half: str) -> None:
    watched = Watched(tmp_path)
    watched.write(half)
    assert watched.look() is None
    assert watched.look(SETTLED_SECONDS * 0.9) is None
    watched.write(CHANGED)
    assert watched.look() is None
    changed = watched.look(SETTLED_SECONDS)
    assert changed is not None
    assert changed.settings.logs.format == "json"
    assert watched.look() is None
    assert not caplog.records


def test_a_file_that_is_replaced_is_not_reported_as_missing(tmp_path: Path, caplog: Any) -> None:
    watched = Watched(tmp_path)
    watched.file.unlink()
    assert watched.look(2.0) is None
    assert not caplog.records
    watched.write(CHANGED, at=watched.now - 60)
    assert watched.look() is not None
    watched.file.unlink()
    assert watched.look(2.0) is None
    assert watched.look(2.0) is None
    assert "stays in force" in caplog.records[-1].getMessage()


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, caplog: Any) -> None:
    watched = Watched(tmp_path)

    def change_while_it_is_checked(loaded: LoadedConfig) -> LoadedConfig:
        watched.write("roles: [", at=watched.now - 50)
        raise ValueError("half")

    watched.write(CHANGED, at=watched.now - 60.5)
    watched.watcher.derive = change_while_it_is_checked
    assert watched.look() is None
    assert not caplog.records


def test_a_file_whose_time_lies_in_the_future_is_read_at_once(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.write(CHANGED, at=watched.now + 3600)
    assert watched.look() is not None


def test_a_file_that_stays_broken_is_reported_once(tmp_path: Path, caplog: Any) -> None:
    watched = Watched(tmp_path)
    watched.write("roles: [")
    assert [watched.look(SETTLED_SECONDS) for _ in range(3)] == [None] * 3
    assert sum("stays in force" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who writes a file")
def test_a_file_is_not_read_while_a_program_that_pauses_has_it_open(tmp_path: Path, caplog: Any) -> None:
    watched = Watched(tmp_path)
    with watched.file.open("a") as writer, (tmp_path / ".env").open("a") as other:
        watched.write(CHANGED)
        assert [watched.look(60 * SETTLED_SECONDS) for _ in range(3)] == [None] * 3
        assert not writer.closed
        assert not other.closed
    (message,) = [record.getMessage() for record in caplog.records]
    assert f"still has {watched.file} open for writing" in message
    changed = watched.look()
    assert changed is not None
    assert changed.settings.logs.format == "json"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who writes a file")
def test_a_question_about_the_writers_of_a_file_disturbs_none(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert not is_open_for_writing(file)
    assert not is_open_for_writing(tmp_path / "none")
    with file.open("rb+") as writer:
        assert is_open_for_writing(file)
        writer.write(b"x")
    assert not is_open_for_writing(file)
    assert file.read_bytes() == b"x"


def test_a_file_system_of_another_machine_does_not_say_who_writes_a_file(tmp_path: Path) -> None:
    """NFS and SMB refuse the lease of a file that no program writes: its changes would never be read."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "73 22 0:45 / /home rw,relatime shared:9 master:1 - nfs4 files:/home rw,vers=4.2\n"
        "80 22 0:50 / /share rw - cifs //files/share rw\n"
    )
    devices = (os.makedev(8, 1), os.makedev(0, 45), os.makedev(0, 50), os.makedev(0, 51))
    assert [is_on_network(device, mounts) for device in devices] == [False, True, True, False]
    assert not is_on_network(devices[1], tmp_path / "none")
