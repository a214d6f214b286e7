"""`openfall preflight`: checks everything that the configuration names. One line per check, as each ends."""

from __future__ import annotations

from dataclasses import asdict

import click

from openfall.config import ConfigError, load
from openfall.producers.cli.event_loop import run_async
from openfall.producers.cli.options import common_options, config_path
from openfall.producers.cli.terminal import echo, echo_marked, show_json, wants_json
from openfall.producers.preflight_checks import CheckReport, config_problems, run_checks
from openfall.workers.admin.backend_preflight import CheckResult, CheckState

CHECK_FAILED = 4

_MARKS: dict[CheckState, tuple[str, str]] = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failure": ("✗", "red")}


@click.command(short_help="Check everything that the configuration names.")
@click.option("--offline", is_flag=True, help="Check only the configuration and its keys.")
@common_options
def preflight(offline: bool) -> None:
    """Check everything that the configuration names, and print a remedy for each failure.

    Checks the configuration, its keys, Redis, workers, breakers, every endpoint and every model. It loads no model and
    makes no call that costs money. Exits with 4 if a check fails.
    """
    results = run_async(_run_checks(offline))
    if not wants_json():
        echo(CheckReport(results).summary)
    failed = any(result.state == "failure" for result in results)
    raise click.exceptions.Exit(CHECK_FAILED if failed else 0)


async def _run_checks(offline: bool) -> list[CheckResult]:
    results: list[CheckResult] = []

    def report(result: CheckResult) -> None:
        results.append(result)
        show_json(asdict(result)) if wants_json() else _show(result)

    try:
        config = load(config_path())
    except ConfigError as error:
        for problem in config_problems(error):
            report(problem)
        return results
    async for result in run_checks(config, offline=offline):
        report(result)
    return results


def _show(result: CheckResult) -> None:
    mark, colour = _MARKS[result.state]
    echo_marked(mark, colour, result.message)
    if result.remedy:
        echo(f"    {result.remedy}")
