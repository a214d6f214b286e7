"""The types of the package, in strict mode. A test and not a step before the tests: these run beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_mypy_finds_no_mistake_in_the_package() -> None:
    mypy = [sys.executable, "-m", "mypy", "--no-error-summary"]
    check = subprocess.run(mypy, cwd=ROOT, capture_output=True, text=True, check=False)
    assert check.returncode == 0, f"mypy:\n{check.stdout}{check.stderr}"
