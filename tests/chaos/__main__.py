"""Chaos runs on real processes of this machine: `python -m tests.chaos torture|faults|outage|gateway|batches|...`.

Workers, Valkey, upstreams, a notifier and a receiver of webhooks are killed, frozen or broken while jobs run. The
verdict is that of a separate process that imports nothing of openfall (`tests/chaos/judge`): it reads only what each
witness wrote down for itself, the server, and its append-only file. Exit status 1: a promise was broken.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from benchmarks.processes import BenchmarkError
from tests.chaos import (
    batch_drill,
    budget_drill,
    card_drill,
    faults,
    garbage,
    gateway_drill,
    gateway_plan,
    hostile,
    hostile_gateway,
    outage,
    outage_plan,
    sentinel_drill,
    silence,
    torture,
    torture_plan,
)
from tests.chaos.garbage_damages import DAMAGES
from tests.chaos.judge.fault_kinds import KINDS
from tests.chaos.progress import Progress
from tests.chaos.silent_upstream import FAULTS
from tests.chaos.verdict_tables import (
    show_faults,
    show_garbage,
    show_hostile,
    show_hostile_gateway,
    show_promises,
    show_sentinel,
    show_silence,
)
from tests.fork_server import ForkServer

QUICK_TORTURE_JOBS = 1500
QUICK_FAULT_JOBS = 100
QUICK_GATEWAY_REQUESTS = 300

THREADS_SECONDS = 5.0
"""A run that was stopped waits this long for its threads."""

Scenario = Callable[[Path, Progress], Coroutine[Any, Any, dict[str, Any]]]

as_json = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


@click.group()
def main() -> None:
    """Break the fleet on purpose and judge what it did."""


@main.command("torture")
@click.option("--jobs", default=20_000, show_default=True, type=click.IntRange(min=100))
@click.option("--workers", default=4, show_default=True, type=click.IntRange(min=3))
@click.option("--latency-ms", default=300.0, show_default=True, type=click.FloatRange(min=100),
              help="The time for each answer: long enough that calls are in flight when a worker is hit.")  # fmt: skip
@click.option("--seed", type=int, help="Repeat the faults of an earlier run.")
@click.option("--quick", is_flag=True, help=f"{QUICK_TORTURE_JOBS} jobs: about a minute.")
@as_json
def torture_command(jobs: int, workers: int, latency_ms: float, seed: int | None, quick: bool, as_json: bool) -> None:
    """20,000 jobs while workers and Valkey are killed and frozen."""
    jobs = QUICK_TORTURE_JOBS if quick else jobs
    plan = torture_plan.Plan(jobs=jobs, workers=workers, latency_ms=latency_ms, seed=_choose_seed(seed))
    verdict = _run(lambda *run: torture.run(plan, *run), jobs, as_json, show_promises, seed=plan.seed)
    sys.exit(0 if verdict["kept"] else 1)


@main.command("faults")
@click.option("--jobs", default=1000, show_default=True, type=click.IntRange(min=10), help="Jobs for each kind.")
@click.option("--kinds", help=f"Only these, with a comma between: {', '.join(KINDS)}.")
@click.option("--quick", is_flag=True, help=f"{QUICK_FAULT_JOBS} jobs for each kind.")
@click.option("--steady", is_flag=True, help="Breakers stay open for the same time each time, without jitter.")
@as_json
def faults_command(jobs: int, kinds: str | None, quick: bool, steady: bool, as_json: bool) -> None:
    """1,000 jobs for each way in which one of two upstreams can be broken."""
    chosen = list(KINDS) if kinds is None else kinds.split(",")
    if unknown := [name for name in chosen if name not in KINDS]:
        raise click.BadParameter(f"unknown kind {unknown[0]!r}. Known: {', '.join(KINDS)}", param_hint="--kinds")
    jobs = QUICK_FAULT_JOBS if quick else jobs
    verdict = _run(lambda *run: faults.run(chosen, jobs, *run, steady=steady), 0, as_json, show_faults)
    sys.exit(0 if verdict["kept"] else 1)


@main.command("outage")
@click.option("--jobs", default=5000, show_default=True, type=click.IntRange(min=100))
@click.option("--seed", type=int, help="Repeat the jobs and the faults of an earlier run.")
@click.option("--quick", is_flag=True, help=f"{outage_plan.QUICK_JOBS} jobs, away for a quarter of a minute.")
@as_json
def outage_command(jobs: int, seed: int | None, quick: bool, as_json: bool) -> None:
    """5,000 jobs while every backend is away for a minute, and more is killed."""
    plan = outage_plan.Plan(outage_plan.QUICK_JOBS if quick else jobs, _choose_seed(seed), quick)
    verdict = _run(lambda *run: outage.run(plan, *run), plan.jobs, as_json, show_promises, seed=plan.seed)
    sys.exit(0 if verdict["kept"] else 1)


@main.command("gateway")
@click.option("--requests", default=10_000, show_default=True, type=click.IntRange(min=50))
@click.option("--seed", type=int, help="Repeat the requests and the kills of an earlier run.")
@click.option("--quick", is_flag=True, help=f"{QUICK_GATEWAY_REQUESTS} requests.")
@as_json
def gateway_command(requests: int, seed: int | None, quick: bool, as_json: bool) -> None:
    """10,000 requests at the HTTP gateway while clients, gateways and workers are killed."""
    plan = gateway_plan.GatewayPlan(QUICK_GATEWAY_REQUESTS if quick else requests, _choose_seed(seed))
    verdict = _run(lambda *run: gateway_drill.run(plan, *run), 0, as_json, show_promises, seed=plan.seed)
    sys.exit(0 if verdict["kept"] else 1)


@main.command("sentinel")
@click.option("--jobs", default=10_000, show_default=True, type=click.IntRange(min=100))
@click.option("--fsync", "confirmed", is_flag=True, help="With `durability: fsync` and one replica: none may be lost.")
@click.option("--quick", is_flag=True, help=f"{sentinel_drill.QUICK_JOBS} jobs, and one kill.")
@as_json
def sentinel_command(jobs: int, confirmed: bool, quick: bool, as_json: bool) -> None:
    """10,000 jobs and 160 streams while the primary of three Sentinels is killed three times and frozen once."""
    jobs = sentinel_drill.QUICK_JOBS if quick else jobs
    verdict = _run(lambda *run: sentinel_drill.run(jobs, confirmed, quick, *run), 0, as_json, show_sentinel)
    sys.exit(0 if verdict["kept"] else 1)


@main.command("silence")
@click.option("--files", help=f"Only these, with a comma between: {', '.join(silence.FILES)}.")
@click.option("--kinds", help=f"Only these faults, with a comma between: {', '.join(FAULTS)}.")
@as_json
def silence_command(files: str | None, kinds: str | None, as_json: bool) -> None:
    """Every fault on every model of every shipped chain: the longest silence of one interactive caller."""
    names = list(silence.FILES) if files is None else files.split(",")
    faults = list(FAULTS) if kinds is None else kinds.split(",")
    if unknown := [name for name in (*names, *faults) if name not in (*silence.FILES, *FAULTS)]:
        raise click.BadParameter(f"unknown {unknown[0]!r}. Known: {', '.join((*silence.FILES, *FAULTS))}")
    verdict = _run(lambda *run: silence.run(names, faults, *run), 0, as_json, show_silence)
    sys.exit(0 if verdict["kept"] else 1)


@main.command("hostile")
@click.option("--kinds", help=f"Only these, with a comma between: {', '.join(hostile.ALL_KINDS)}.")
@click.option("--seconds", default=5.0, show_default=True, type=click.FloatRange(min=1), help="For each kind.")
@as_json
def hostile_command(kinds: str | None, seconds: float, as_json: bool) -> None:
    """One worker under each hostile upstream, with small jobs at a healthy one beside it."""
    names = list(hostile.ALL_KINDS) if kinds is None else kinds.split(",")
    if unknown := [name for name in names if name not in hostile.ALL_KINDS]:
        raise click.BadParameter(f"unknown kind {unknown[0]!r}", param_hint="--kinds")
    verdict = _run(lambda *run: hostile.run(names, seconds, *run), 0, as_json, show_hostile)
    sys.exit(0 if verdict["kept"] else 1)


@main.command("hostilegateway")
@click.option("--kinds", help=f"Only these, with a comma between: {', '.join(hostile_gateway.KINDS)}.")
@click.option("--seconds", default=5.0, show_default=True, type=click.FloatRange(min=1), help="For each kind.")
@as_json
def hostilegateway_command(kinds: str | None, seconds: float, as_json: bool) -> None:
    """The HTTP gateway under each kind of hostile client, with small requests beside it."""
    names = list(hostile_gateway.KINDS) if kinds is None else kinds.split(",")
    if unknown := [name for name in names if name not in hostile_gateway.KINDS]:
        raise click.BadParameter(f"unknown kind {unknown[0]!r}", param_hint="--kinds")
    verdict = _run(lambda *run: hostile_gateway.run(names, seconds, *run), 0, as_json, show_hostile_gateway)
    sys.exit(0 if verdict["kept"] else 1)


@main.command("garbage")
@click.option("--damage", type=click.Choice(DAMAGES), help="Only this kind of damage.")
@click.option(
    "--every", default=1, show_default=True, type=click.IntRange(min=1), help="Only one damage in this number."
)
@click.option("--only", default="", help="Only keys whose name in docs/redis.md contains this.")
@as_json
def garbage_command(damage: str | None, every: int, only: str, as_json: bool) -> None:
    """Another program overwrites every documented key in Redis; everything beside it works."""
    damages = [damage] if damage else list(DAMAGES)
    verdict = _run(lambda *run: garbage.run(damages, every, only, *run), 0, as_json, show_garbage)
    sys.exit(0 if verdict["kept"] else 1)


@main.command("batches")
@click.option("--lines", default=20_000, show_default=True, type=click.IntRange(min=100))
@click.option("--quick", is_flag=True, help=f"{batch_drill.QUICK_LINES} lines.")
@as_json
def batches_command(lines: int, quick: bool, as_json: bool) -> None:
    """20,000 lines in three batches while gateways and their runners die at each step, and workers are killed."""
    lines = batch_drill.QUICK_LINES if quick else lines
    verdict = _run(lambda *run: batch_drill.run(lines, *run), 0, as_json, show_promises, seed=0)
    sys.exit(0 if verdict["kept"] else 1)


@main.command("lanes")
@click.option("--faults", "names", multiple=True, help="Only this fault; may be repeated.")
@click.option("--quick", is_flag=True, help="Two faults.")
@as_json
def lanes_command(names: tuple[str, ...], quick: bool, as_json: bool) -> None:
    """The manager of a card killed, frozen, cut off before, during and after a load; its engine hit in four ways."""
    known = [fault.name for fault in card_drill.FAULTS]
    if unknown := [name for name in names if name not in known]:
        raise click.BadParameter(f"unknown fault {unknown[0]!r}. Known: {', '.join(known)}", param_hint="--faults")
    chosen = names or (card_drill.QUICK_FAULTS if quick else known)
    verdict = _run(lambda *run: card_drill.run(chosen, *run), 0, as_json, show_promises, seed=0)
    sys.exit(0 if verdict["kept"] else 1)


@main.command("budgets")
@click.option("--jobs", default=20_000, show_default=True, type=click.IntRange(min=100))
@click.option("--workers", default=64, show_default=True, type=click.IntRange(1, 512))
@click.option("--seed", type=int, help="Repeat the jobs of an earlier run.")
@click.option("--quick", is_flag=True, help=f"{budget_drill.QUICK_JOBS} jobs, {budget_drill.QUICK_WORKERS} workers.")
@as_json
def budgets_command(jobs: int, workers: int, seed: int | None, quick: bool, as_json: bool) -> None:
    """20,000 jobs under three budgets while workers die in mid-call; the provider's invoice never exceeds a limit."""
    plan = budget_drill.BudgetPlan(jobs, workers, _choose_seed(seed))
    if quick:
        plan = budget_drill.quick_plan(plan.seed)
    verdict = _run(lambda *run: budget_drill.run(plan, *run), plan.jobs, as_json, show_promises, seed=plan.seed)
    sys.exit(0 if verdict["kept"] else 1)


def _choose_seed(seed: int | None) -> int:
    return random.SystemRandom().randrange(1_000_000) if seed is None else seed


def _run(scenario: Scenario, bars: int, as_json: bool, show: Callable[[dict[str, Any]], None], **more: Any) -> Any:
    """Run a scenario in a new directory and show its verdict. The directory is kept if a promise was broken."""
    directory = Path(tempfile.mkdtemp(prefix="openfall-chaos-"))
    evidence = f"The evidence is in {directory}"
    with Progress(bars) as progress:
        try:
            verdict = asyncio.run(_stoppable(scenario(directory, progress)))
        except asyncio.CancelledError:
            raise click.ClickException(f"stopped by a signal. {evidence}") from None
        except BaseExceptionGroup as group:
            raise click.ClickException(f"{'; '.join(map(str, group.exceptions))}. {evidence}") from group
        except BenchmarkError as error:
            raise click.ClickException(f"{error}. {evidence}") from error
        seconds = progress.seconds
    verdict |= {"kept": verdict["kept"] and not verdict["problems"], "seconds": round(seconds, 1), **more}
    if as_json:
        click.echo(json.dumps(verdict, indent=2))
    else:
        show(verdict)
    if verdict["kept"]:
        shutil.rmtree(directory)
    else:
        click.echo(f"A promise was broken. {evidence}", err=True)
    return verdict


async def _stoppable(work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """SIGTERM and Ctrl-C cancel the run, which stops all its processes. A thread cannot be cancelled: the process ends
    without it."""
    task, is_stopped = asyncio.ensure_future(work), False

    def stop() -> None:
        nonlocal is_stopped
        is_stopped = task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        return await task
    finally:
        if is_stopped:
            end = threading.Timer(THREADS_SECONDS, os._exit, (1,))
            end.daemon = True
            end.start()


if __name__ == "__main__":
    with closing(ForkServer()) as fork_server:
        fork_server.fork()
        fork_server.install()
        main(prog_name="python -m tests.chaos")
