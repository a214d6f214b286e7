"""Finds the files that a package brings. The package is not imported: that takes time, or needs other packages."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path


def find_package_file(package: str, pattern: str) -> Path | None:
    """The first file of the package that matches the pattern; None if there is none."""
    spec = find_spec(package)
    for directory in spec.submodule_search_locations or () if spec else ():
        for path in sorted(Path(directory).glob(pattern)):
            return path
    return None


def install_command(package: str) -> str:
    """How to install a package of the extra `embedded` into this environment.

    It names the package itself: an extra needs to know from where openfall was installed.
    """
    with suppress(PackageNotFoundError):
        for requirement in requires("openfall") or ():
            name = requirement.partition(";")[0].strip()
            if name.startswith(package):
                return f"{sys.executable} -m pip install '{name}'"
    return f"{sys.executable} -m pip install {package}"
