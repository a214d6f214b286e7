"""Every comparison, one after another: `python -m benchmarks`."""

from __future__ import annotations

import click
from rich.console import Console

from benchmarks import claims, fairness, gateway, latency, memory, routing, steady_state, submit_rate, throughput
from benchmarks.contenders import select_peers
from benchmarks.table import show


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.option("--quick", is_flag=True, help="Short runs, once: a few minutes instead of most of an hour.")
def main(as_json: bool, quick: bool) -> None:
    """Run all benchmarks."""
    console = Console(stderr=True)
    sheets = [
        *throughput.compare(select_peers(()), throughput.QUICK if quick else throughput.FULL, console),
        *latency.compare(latency.COMPARED, quick, console),
        *submit_rate.compare(submit_rate.COMPARED, quick, console),
        *memory.compare(memory.COMPARED, quick, console),
        *routing.compare(quick, console),
        *steady_state.compare(10_000 if quick else steady_state.JOBS, console),
        *claims.compare(quick, console),
        *fairness.sheets(fairness.run(fairness.QUICK if quick else fairness.FULL, console)),
        *gateway.compare(gateway.QUICK if quick else gateway.FULL, console),
    ]
    show(sheets, as_json)


if __name__ == "__main__":
    main()
