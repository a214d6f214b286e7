"""The stamp of a file shows whether it has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from openfall import config
from openfall.config.paths import DEMO


def test_an_unchanged_file_keeps_its_stamp(tmp_path: Path) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text("workers: {slots: 1}")
    loaded = config.load(file, environ={}, cwd=tmp_path)
    assert loaded.stamp == config.stamp(loaded.source)


def test_a_rewritten_file_has_another(tmp_path: Path) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text("workers: {slots: 1}")
    loaded = config.load(file, environ={}, cwd=tmp_path)
    file.write_text("workers: {slots: 21}")
    assert loaded.stamp != config.stamp(loaded.source)


def test_a_replaced_file_has_another_even_with_the_same_size_and_time(tmp_path: Path) -> None:
    file, other = tmp_path / "openfall.yaml", tmp_path / "new.yaml"
    file.write_text("workers: {slots: 1}")
    loaded = config.load(file, environ={}, cwd=tmp_path)
    other.write_text("workers: {slots: 2}")
    result = file.stat()
    os.utime(other, ns=(result.st_atime_ns, result.st_mtime_ns))
    other.replace(file)
    assert loaded.stamp != config.stamp(loaded.source)


def test_a_link_that_points_elsewhere_has_another(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).write_text("workers: {slots: 1}")
    link = tmp_path / "openfall.yaml"
    link.symlink_to("first")
    loaded = config.load(link, environ={}, cwd=tmp_path)
    link.unlink()
    link.symlink_to("second")
    assert loaded.stamp != config.stamp(loaded.source)


def test_a_missing_file_has_no_stamp(tmp_path: Path) -> None:
    assert config.stamp(tmp_path / "openfall.yaml") == (None, None)
    assert config.stamp(config.ENVIRONMENT, tmp_path) == (None, None)


def test_the_stamp_is_not_compared(tmp_path: Path) -> None:
    file = tmp_path / "openfall.yaml"
    file.write_text("workers: {slots: 1}")
    first = config.load(file, environ={}, cwd=tmp_path)
    file.write_text("workers:  {slots: 1}")
    again = config.load(file, environ={}, cwd=tmp_path)
    assert again == first
    assert again.stamp != first.stamp


def test_reading_a_file_needs_nothing_that_only_checks_or_writes_one() -> None:
    code = (
        "import sys, config, pathlib; config.load(pathlib.Path(sys.argv[1]));"
        "print([name for name in ('jsonschema', 'genai_prices', 'httpx') if name in sys.modules])"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(DEMO)], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
