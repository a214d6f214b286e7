from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def short_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for a unix socket, whose path must be short."""
    directory = tmp_path_factory.mktemp("c")
    assert len(str(directory)) < 70
    return directory
