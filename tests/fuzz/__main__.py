"""Random changes of requests, answers, streams and errors: `python -m tests.fuzz`. Exit status 1: something was found.

The readers of the product run in this process. No exception may leave them but the documented ones, and the official
SDKs may read no answer that the product does not.
"""

from __future__ import annotations

import asyncio
import random
import sys

import click

from tests.fuzz.differential import compare
from tests.fuzz.run import run


@click.command()
@click.option("--mutations", default=150_000, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", type=int, help="Repeat an earlier run.")
@click.option("--only", type=int, help="Repeat one case of it, with its traceback.")
@click.option("--differential", default=20_000, show_default=True, help="Answers that the SDKs read too.")
def main(mutations: int, seed: int | None, only: int | None, differential: int) -> None:
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    findings = asyncio.run(run(mutations, seed, only))
    differences = asyncio.run(compare(differential, seed)) if only is None else {}
    for place, count in sorted(findings.counts.items(), key=lambda item: -item[1]):
        click.echo(f"{count:6} {place}  ({findings.first[place]})")
    for kind, cases in differences.items():
        click.echo(f"{len(cases):6} {kind}\n       {cases[0]}")
    click.echo(f"seed {seed}: {mutations} mutations, {len(findings.counts)} faults; "
               f"{differential} answers beside the SDKs, {len(differences)} kinds of differences")  # fmt: skip
    sys.exit(1 if findings.counts or differences else 0)


if __name__ == "__main__":
    main(prog_name="python -m tests.fuzz")
