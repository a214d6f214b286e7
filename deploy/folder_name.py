"""`import producers` in a checkout, as programs wrote it before the package had its name.

The folder lies at the root of the checkout, so Python finds it there by that name too. Without this module it would
load every module a second time, with classes of its own: `except producers.errors.BadRequest` would catch nothing. The
wheel has neither this module nor that name.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

from openfall import AsyncOpenfall, Openfall

__all__ = ["AsyncOpenfall", "Openfall"]

FOLDER = "producers."


class _SameModules:
    """Finds `producers.X` as `openfall.producers.X`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name.startswith(FOLDER) else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Python makes an empty module, which `exec_module` replaces."""

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = import_module(f"openfall.{module.__name__}")


sys.meta_path.insert(0, _SameModules())  # type: ignore[arg-type]
