"""How fast one client submits jobs: one after another, each acknowledged before the next, and in bulk by hundreds."""

from __future__ import annotations

import click
from rich.console import Console

from benchmarks.contenders import PEERS, Peer, select_peers
from benchmarks.repeat import Case, Heading, interleaved, sheet
from benchmarks.run_environment import Demand, run_environment
from benchmarks.table import Sheet, show

COMPARED = tuple(peer for peer in PEERS if peer.module in {"openfall", "rq", "arq", "taskiq", "saq", "dramatiq"})
COLUMNS = {"rate": "jobs/s", "client_cpu": "client CPU µs/job", "valkey_cpu": "Valkey CPU µs/job"}
MODES = {"single": ("one at a time", ("--single",)), "bulk": ("in bulk", ())}
WARM = 200
"""Jobs submitted before the measured ones: connections, imports, scripts."""


def measure(peer: Peer, mode: str, count: int, console: Console) -> dict[str, float]:
    """One run without workers."""
    with run_environment(peer, Demand(count), console) as run:
        run.run_command("fill", "--from", str(count), count=WARM)
        before = run.server.cpu_seconds
        fill = run.run_command("fill", *MODES[mode][1])
        valkey = run.server.cpu_seconds - before
    return {
        "rate": count / fill["seconds"],
        "client_cpu": fill["cpu_seconds"] / count * 1e6,
        "valkey_cpu": valkey / count * 1e6,
    }


def compare(peers: tuple[Peer, ...], quick: bool, console: Console) -> list[Sheet]:
    """Both modes of all peers."""
    count, repetitions = (1000, 1) if quick else (10_000, 3)
    cases = [Case(peer, mode) for mode in MODES for peer in peers]
    outcomes = interleaved(
        cases, repetitions, lambda case: measure(case.peer, str(case.setting), count, console), console
    )
    return [
        sheet(
            Heading(f"Submitting {title}", COLUMNS, "rate"),
            {case: outcome for case, outcome in outcomes.items() if case.setting == mode},
        )
        for mode, (title, _) in MODES.items()
    ]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.option("--quick", is_flag=True, help="A thousand jobs each, once.")
@click.option("--peer", "names", multiple=True, type=click.Choice([peer.module for peer in COMPARED]))
def main(as_json: bool, quick: bool, names: tuple[str, ...]) -> None:
    """Compare the rate of submitting."""
    show(compare(select_peers(names, COMPARED), quick, Console(stderr=True)), as_json)


if __name__ == "__main__":
    main()
