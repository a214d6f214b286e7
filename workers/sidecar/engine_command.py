"""The command line of a profile's server."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping

from openfall.config import EMBEDDED_COMMAND, Manifest
from openfall.workers.local.errors import LocalError
from openfall.workers.local.shipped_model import locate_model

_EMBEDDED = (sys.executable, "-m", "openfall.workers.local.engine_process")


def check_profile(manifest: Manifest, name: str) -> None:
    """Raise `LocalError` for what can be known before the server is started, and before another one leaves for it."""
    profile = manifest.profiles[name]
    if profile.model is not None and not (path := locate_model(profile.model)[0]).is_file():
        raise LocalError(f"{name}: there is no file {path}. Correct `model` of the profile")
    program = _command(manifest, name)[0]
    if shutil.which(program, path=profile.environment.get("PATH")) is None:
        raise LocalError(f"{name}: there is no program {program}. Install it, or write its path under `command`")


def engine_command(manifest: Manifest, name: str, port: int) -> list[str]:
    """The words of the command line. `LocalError` if its model is not installed."""
    profile, sections = manifest.profiles[name], manifest.sections
    command = _command(manifest, name)
    model = () if profile.model is None else ("--model", str(locate_model(profile.model)[0]))
    flags: Mapping[str, tuple[str, ...]] = {**sections.flags, **profile.flags}
    return [
        *command,
        *model,
        "--port",
        str(port),
        "--alias",
        name,
        *(word for words in flags.values() for word in words),
    ]


def _command(manifest: Manifest, name: str) -> tuple[str, ...]:
    command = manifest.profiles[name].command or manifest.sections.command
    return _EMBEDDED if command == (EMBEDDED_COMMAND,) else command
