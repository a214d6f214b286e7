"""A configuration that comes through a pipe: `--config <(...)`, /dev/stdin, a named pipe."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from openfall.config import ConfigError, load, pipes, refuse_pipe, stamp

TEXT = "redis: redis://rack:6379\n"


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere" / "pipe"
    path.parent.mkdir()
    os.mkfifo(path)
    return path


def test_a_pipe_is_read_to_its_end_and_its_data_is_in_the_current_directory(
    pipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    writer = threading.Thread(target=pipe.write_text, args=(TEXT,))
    writer.start()
    loaded = load(pipe, environ={})
    writer.join()
    assert loaded.stamp == stamp(pipe), "it is read once: a watcher sees no change"
    assert loaded.settings.redis.url == "redis://rack:6379"
    assert loaded.settings.data_dir == tmp_path / ".openfall"


def test_a_pipe_into_which_no_program_writes_is_named_at_once_and_reported_later(
    pipe: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pipes, "NOTICE_SECONDS", 0.01)
    monkeypatch.setattr(pipes, "PIPE_SECONDS", 0.02)
    with pytest.raises(ConfigError, match="no program wrote into this pipe within"):
        load(pipe, environ={})
    assert caplog.messages == [f"waits for the configuration: {pipe} is a pipe, and no program has written into it yet"]


def test_a_pipe_is_refused_where_several_processes_read_the_configuration(pipe: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it is a pipe, which can be read once"):
        refuse_pipe(pipe)
    refuse_pipe(tmp_path / "openfall.yaml")
    refuse_pipe(None)
