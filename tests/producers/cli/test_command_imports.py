"""The help text of every command, and the modules that a command imports."""

from __future__ import annotations

import subprocess
import sys

from tests.producers.cli.conftest import Run


def test_every_command_has_a_help_text(openfall: Run) -> None:
    assert "openfall [OPTIONS] COMMAND" in openfall("--help").stdout
    for command in ("up", "ask", "enqueue", "job", "batch", "status", "queues", "workers", "held", "work"):
        assert "Usage:" in openfall(command, "--help").stdout


def imported_by(environment: dict[str, str], *commands: str) -> set[str]:
    """The modules that a process has imported after these commands."""
    code = (
        "import contextlib, sys, openfall.producers.cli as cli\n"
        f"for command in {commands!r}:\n"
        "    with contextlib.suppress(SystemExit): cli.main(command.split())\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, env=environment, cwd=environment["HOME"], capture_output=True, text=True, check=True)
    return set(ran.stderr.splitlines()[-1].split())


def test_help_imports_no_command_and_nothing_slow(environment: dict[str, str]) -> None:
    slow = {"rich", "redis", "pydantic", "yaml", "asyncio", "openfall.config", "openfall.router_core",
            "openfall.producers.cli.ask"}  # fmt: skip
    assert not slow & imported_by(environment, "--help")


def test_a_command_for_users_imports_no_worker_code(environment: dict[str, str], redis_url: str) -> None:
    modules = imported_by({**environment, "REDIS_URL": redis_url}, "ask x --wait 1ms", "status", "models")
    assert {f"openfall.producers.{name}" for name in ("client", "cli.ask", "cli.status", "cli.models")} <= modules
    assert not {module for module in modules if module.startswith(("openfall.workers", "aiohttp"))}
