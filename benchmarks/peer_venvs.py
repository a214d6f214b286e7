"""The peers' own Python environments, made on demand under `.bench/`: theirs are not our dependencies.

`python -m benchmarks.peer_venvs` makes both ahead of a run. There are two because arq needs redis-py before 6 and
rq needs a newer one. An environment is made again when its pins change.
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
}


def get_python(name: str, console: Console) -> Path:
    """The interpreter of an environment; it is made first when it is not there. `BenchmarkError` when that fails."""
    place = HOME / name
    python, seal = place / "bin" / "python", place / "pins.txt"
    pins = "\n".join(PINS[name])
    if seal.exists() and seal.read_text() == pins:
        return python
    console.print(f"[dim]Installing the packages to compare with ({name}), once: about half a minute.[/dim]")
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
    """Make every environment."""
    console = Console(stderr=True)
    for name in PINS:
        get_python(name, console)


if __name__ == "__main__":
    main()
