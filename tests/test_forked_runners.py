"""`pytest --runners`: a run in several processes has the result of a run in one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fork_server import ROOT

TESTS = """
import os, signal
import pytest

def write(effect):
    with open("{effects}", "a") as file:
        file.write(effect)

@pytest.fixture(scope="session")
def lasting():
    yield
    write("ended ")

@pytest.fixture(scope="module")
def of_the_file(lasting):
    write("built ")

def test_begin(of_the_file, tmp_path):
    pass

def test_end_of_its_process(of_the_file):
    if __name__.endswith("first"):
        os.kill(os.getpid(), signal.SIGKILL)

def test_of_the_rest_of_the_file(of_the_file):
    pass

def test_failure(of_the_file):
    assert not "a wrong value"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a runner ends with the run on Linux only")
def test_each_test_is_run_and_a_test_that_ends_its_process_fails(tmp_path: Path) -> None:
    effects = tmp_path / "effects"
    for name in ("first", "second", "third"):
        (tmp_path / f"test_{name}.py").write_text(TESTS.format(effects=effects))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", "/dev/null", "--rootdir", tmp_path, "-p", "tests.conftest", "-p",
         "no:cacheprovider", "--import-mode", "importlib", "--runners", "2", "-v", tmp_path],
        capture_output=True, text=True, cwd=ROOT, timeout=100, check=False,
    )  # fmt: skip
    text = ran.stdout
    assert ran.returncode == 1, text + ran.stderr
    assert "4 failed, 8 passed" in text
    assert text.count('assert not "a wrong value"') >= 3, "a failure has its line"
    assert "FAILED test_first.py::test_end_of_its_process (call)\nthe runner has ended with status -9\n" in text
    assert effects.read_text().split().count("built") == 4, "once for each file, and again for the rest of the first"
    assert effects.read_text().split().count("ended") == 3, "for the rest of the first file and for the others"
