"""The peers' own Python environments, made on demand under `.bench/`: theirs are not our dependencies.

`python -m benchmarks.peer_venvs` makes all of them ahead of a run. arq has one of its own because it needs redis-py
before 6 and rq a newer one, LiteLLM's proxy because it pins a hundred packages. An environment is made again when its
pins change.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.processes import ROOT, BenchmarkError

HOME = ROOT / ".bench" / "venv"

CLIENTS = ("aiohttp==3.14.5", "urllib3==2.8.0", "uvloop==0.23.0", "orjson==3.13.0", "hiredis==3.5.0")
"""What each peer gets besides itself: the fastest HTTP clients, event loop, JSON and Redis parser."""

PINS = {
    "arq": ("arq==0.28.0", "redis==5.3.1", *CLIENTS),
    "others": (
        "rq==2.12.0",
        "saq==0.26.4",
        "taskiq==0.13.0",
        "taskiq-redis==1.2.4",
        "dramatiq==2.2.1",
        "redis==8.1.0",
        *CLIENTS,
    ),
    # Each release of it pins releases of its own further packages. Those of later releases are not in each index.
    "litellm": ("litellm[proxy]==1.102.4",),
}


def get_python(name: str, console: Console) -> Path:
    """The interpreter of an environment; it is made first when it is not there. `BenchmarkError` when that fails."""
    place = HOME / name
    python, seal = place / "bin" / "python", place / "pins.txt"
    pins = "\n".join(PINS[name])
    if seal.exists() and seal.read_text() == pins:
        return python
    console.print(f"[dim]Installing the packages to compare with ({name}), once: a minute or two.[/dim]")
    shutil.rmtree(place, ignore_errors=True)
    for command in _commands(place, python, PINS[name]):
        _run(command, name)
    seal.write_text(pins)
    return python


def _commands(place: Path, python: Path, pins: tuple[str, ...]) -> list[list[str]]:
    if uv := shutil.which("uv"):
        make = [uv, "venv", "--quiet", "--python", sys.executable, str(place)]
        return [make, [uv, "pip", "install", "--quiet", "--python", str(python), *pins]]
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pins]
    return [[sys.executable, "-m", "venv", str(place)], install]


def _run(command: list[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-4:])
        raise BenchmarkError(f"could not install the packages to compare with ({name}): {last}")


def main() -> None:
    """Make every environment. The exit status is 1 if one cannot be made."""
    console, failed = Console(stderr=True), False
    for name in PINS:
        try:
            get_python(name, console)
        except BenchmarkError as error:
            console.print(str(error), style="red", markup=False)
            failed = True
    sys.exit(failed)


if __name__ == "__main__":
    main()
