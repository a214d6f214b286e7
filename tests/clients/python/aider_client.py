"""The command aider at the gateway: one question, with a stream and without."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from report import GATEWAY, TEXT, equal, run

OPTIONS = (
    "--model", "openai/chat", "--openai-api-base", f"{GATEWAY}/v1", "--openai-api-key", "any", "--chat-mode", "ask",
    "--no-git", "--yes-always", "--no-check-update", "--no-analytics", "--no-show-model-warnings", "--no-pretty",
    "--no-auto-lint",
    "--no-detect-urls", "--map-tokens", "0",
)  # fmt: skip


def answered(*more: str) -> None:
    command = [str(Path(sys.executable).with_name("aider")), *OPTIONS, *more, "--message", "Haruka waves"]
    with TemporaryDirectory() as home:
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=120, check=False)
    equal((done.returncode, TEXT in done.stdout), (0, True))


run({"a stream": lambda: answered("--stream"), "whole": lambda: answered("--no-stream")})
