"""How fast one client puts jobs in: one after another, each acknowledged before the next, and in bulk by hundreds."""

from __future__ import annotations

import click
from rich.console import Console

from benchmarks.repeat import Case, Heading, interleaved, sheet
from benchmarks.rig import Demand, rig
from benchmarks.roster import PEERS, Peer, chosen
from benchmarks.table import Sheet, show

COMPARED = tuple(peer for peer in PEERS if peer.module in {"openfall", "rq", "arq", "taskiq", "saq", "dramatiq"})
COLUMNS = {"rate": "jobs/s", "client_cpu": "client CPU µs/job", "valkey_cpu": "Valkey CPU µs/job"}
MANNERS = {"single": ("one at a time", ("--single",)), "bulk": ("in bulk", ())}
WARM = 200
"""Jobs put in before the measured ones: connections, imports, scripts."""


def measure(peer: Peer, manner: str, count: int, console: Console) -> dict[str, float]:
    """One run, nobody working on the queue."""
    with rig(peer, Demand(count), console) as run:
        run.verb("fill", "--from", str(count), count=WARM)
        before = run.server.cpu_seconds
        told = run.verb("fill", *MANNERS[manner][1])
        valkey = run.server.cpu_seconds - before
    return {
        "rate": count / told["seconds"],
        "client_cpu": told["cpu_seconds"] / count * 1e6,
        "valkey_cpu": valkey / count * 1e6,
    }


def compare(peers: tuple[Peer, ...], quick: bool, console: Console) -> list[Sheet]:
    """Both manners for all peers."""
    count, repetitions = (1000, 1) if quick else (10_000, 3)
    cases = [Case(peer, manner) for manner in MANNERS for peer in peers]
    outcomes = interleaved(
        cases, repetitions, lambda case: measure(case.peer, str(case.setting), count, console), console
    )
    return [
        sheet(
            Heading(f"Submitting {title}", COLUMNS, "rate"),
            {case: told for case, told in outcomes.items() if case.setting == manner},
        )
        for manner, (title, _) in MANNERS.items()
    ]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.option("--quick", is_flag=True, help="A thousand jobs each, once.")
@click.option("--peer", "names", multiple=True, type=click.Choice([peer.module for peer in COMPARED]))
def main(as_json: bool, quick: bool, names: tuple[str, ...]) -> None:
    """Compare the rate of submitting."""
    show(compare(chosen(names, COMPARED), quick, Console(stderr=True)), as_json)


if __name__ == "__main__":
    main()
