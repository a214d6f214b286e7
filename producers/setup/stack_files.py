"""The files of `openfall init`: which there are, what may not be overwritten, and how they are written."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from openfall.router_core.errors import OpenfallError

CHECKOUT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = "docker-compose.yml"
PASSWORD = "OPENFALL_VALKEY_PASSWORD"
PRIVATE, PUBLIC = 0o600, 0o644
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class InitRefused(OpenfallError):
    """Nothing was written. The message names the remedy."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to write. `appended`: its text is the old text and more, so nothing is lost."""

    path: Path
    text: str
    mode: int = PUBLIC
    appended: bool = False


def compose_text() -> str:
    """The compose file of the checkout, with the paths of the checkout."""
    file = CHECKOUT / COMPOSE_FILE
    if not file.is_file():
        raise InitRefused(
            "--compose needs a checkout of openfall: its images are built from the source. "
            "Run it from the checkout's .venv, or use --systemd."
        )
    text = file.read_text(encoding="utf-8")
    text = text.replace("context: .,", f"context: {_quoted(CHECKOUT)},")
    return re.sub(r"\./deploy/(\S+?):(/\S+)", lambda match: _quoted(f"{CHECKOUT}/deploy/{match[1]}:{match[2]}"), text)


def _quoted(text: object) -> str:
    return f'"{text}"' if re.search(r"[^\w./:@+-]", str(text)) else str(text)


def env_file(path: Path, variables: Mapping[str, str]) -> NewFile | None:
    """The `.env` file with these variables. One that exists keeps its text; None: it has them all."""
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    missing = {
        name: value for name, value in variables.items() if not re.search(rf"^\s*(export\s+)?{name}=", before, re.M)
    }
    if not missing:
        return None
    start = (
        f"{before.rstrip()}\n\n"
        if before.strip()
        else "# Variables of openfall.yaml and of docker-compose.yml. It has secrets.\n"
    )
    lines = "".join(f"{name}={value}\n" for name, value in missing.items())
    return NewFile(path, f"{start}{lines}", PRIVATE, appended=True)


def new_password() -> str:
    """A password that needs no quotes anywhere."""
    return secrets.token_hex(24)


def write_files(files: list[NewFile], force: bool) -> None:
    """Write every file, or none: without `force` none that exists is overwritten."""
    existing = [str(file.path) for file in files if file.path.exists() and not file.appended]
    if existing and not force:
        be = "exists" if len(existing) == 1 else "exist"
        raise InitRefused(
            f"{', '.join(existing)} {be}: nothing was written. Add --force to overwrite, or name another directory."
        )
    for file in files:
        try:
            _write(file)
        except OSError as error:
            remedy = "Make room, or name another directory." if error.errno in _NO_ROOM else "Name another directory."
            raise InitRefused(f"{file.path} cannot be written: {error.strerror}. {remedy}") from error


def _write(file: NewFile) -> None:
    file.path.parent.mkdir(parents=True, exist_ok=True)
    draft = file.path.with_name(f".{file.path.name}.new")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, file.mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            os.fchmod(out.fileno(), file.mode)
            out.write(file.text)
        draft.replace(file.path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise
