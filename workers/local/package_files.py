"""Finds the files that a package brings. The package is not imported: that takes time, or needs other packages."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def find_package_file(package: str, pattern: str) -> Path | None:
    """The first file of the package that matches the pattern; None if there is none."""
    spec = find_spec(package)
    for directory in spec.submodule_search_locations or () if spec else ():
        for path in sorted(Path(directory).glob(pattern)):
            return path
    return None
