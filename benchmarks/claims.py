"""The cost of breakers, keys, limits, budgets, cards ...: server time of a claim of one job and of its settle, side by
side. `python -m benchmarks.claims`

Claims without breakers run the same script without the parts that read blocks and epochs. Claims without shares have no
urgency with a share. With `batch kept waiting` all is well too, but 100 batch jobs wait behind. Each variant is
measured beside the base, call by call, on one server, in a database of its own: see `paired.py`. A fixed piece of work
is one of them, and shows how fast the machine is: see `yardstick.py`. The benchmark exits with 1 if budgets or cards
would cost more on the reference machine than is promised for them. `--instructions` counts the instructions of the
same claims, and judges by them: do this on a busy machine. What empties its caches delays the fixed work less.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

import click
from redis import Redis
from rich.console import Console

from benchmarks import claim_instructions
from benchmarks.claim_side import Side
from benchmarks.claim_variants import BASE, QUEUES, VARIANTS, YARDSTICK, Variant
from benchmarks.paired import ThreadClock, scaled_difference, typical_difference
from benchmarks.processes import BenchmarkError
from benchmarks.server import valkey
from benchmarks.table import Row, Sheet, figure, readable, show
from benchmarks.yardstick import INSTRUCTIONS, REFERENCE_SPEED, REFERENCE_US
from openfall.router_core.jobs.job import CompletionJob
from openfall.router_core.jobs.outcome import Attempt
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.state.claims import Delivery
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.settlement import CallReport, DeliveryOutcome
from openfall.router_core.state.worker_queue import CREDIT_INTERVAL_JOBS, WorkerQueue
from openfall.router_core.vocabulary import CallSignal, CredentialSignal, ErrorClass

COLUMNS = {
    "usec": "server µs",
    "p90": "server µs, 90th percentile",
    "more": "µs more (95 %)",
    "scaled": "µs more on the reference machine (95 %)",
}
TURNS, JOBS = 40, 104
BROKEN = "broken: "
NO_CALL, WELL, PAID, FAILING = "no call was made", "the call went well", "with three budgets", "every third failed"
SETTLES = {WELL: BASE, NO_CALL: BASE, FAILING: BASE, PAID: next(row for row in VARIANTS if row.budgets)}


@dataclass
class Measured:
    """What each call of a variant took, and how much more than the one of the base beside it, in rounds of as many
    calls as a worker updates credits after."""

    taken: list[list[float]] = field(default_factory=list)
    more: list[list[float]] = field(default_factory=list)

    def add(self, base: Sequence[float], ours: Sequence[float]) -> None:
        """Add a turn. Its first round is not counted: it meets empty caches."""
        more = [b - a for a, b in zip(base, ours, strict=True)]
        self.taken.append(list(ours[CREDIT_INTERVAL_JOBS:]))
        starts = range(CREDIT_INTERVAL_JOBS, len(more), CREDIT_INTERVAL_JOBS)
        self.more += [more[at : at + CREDIT_INTERVAL_JOBS] for at in starts]

    def row(self, name: str, yardstick: Measured | None) -> Row:
        """`yardstick`: the fixed work of the same turns. None: this is the base."""
        ranked = [sorted(turn) for turn in self.taken]
        at = {share: figure([turn[int(len(turn) * share)] for turn in ranked]) for share in (0.5, 0.9)}
        more = scaled = None
        if yardstick is not None:
            more, scaled = typical_difference(self.more), scaled_difference(self.more, yardstick.more, REFERENCE_US)
        return Row(name, {"usec": at[0.5], "p90": at[0.9], "more": more, "scaled": scaled})


@dataclass
class Comparison:
    """Two databases of one server: the base in the first, a variant in the second. `jobs` are claimed of each in a
    turn."""

    sides: tuple[Side, Side]
    jobs: int

    async def claims(self, variant: Variant, queues: int, turn: int) -> tuple[list[float], list[float]]:
        """What each claim of the base and of the variant took."""
        await self._claim((BASE, variant), queues, turn)
        return self._taken()

    async def settles(self, kind: str, variant: Variant, queues: int, turn: int) -> tuple[list[float], list[float]]:
        """What each settle took of a call that went well, and of one of this kind."""
        workers, deliveries = await self._claim((BASE, variant), queues, turn)
        self._taken()
        for n in range(self.jobs):
            for side in _order(n):
                outcome = _outcome((WELL, kind)[side], n, deliveries[side][n])
                await workers[side].settle(workers[side].settlement(deliveries[side][n], outcome))
        return self._taken()

    async def _claim(
        self, variants: tuple[Variant, Variant], queues: int, turn: int
    ) -> tuple[dict[int, WorkerQueue], tuple[list[Delivery], list[Delivery]]]:
        workers = {side: await self.sides[side].begin(variants[side], queues, self.jobs) for side in _order(turn)}
        deliveries: tuple[list[Delivery], list[Delivery]] = ([], [])
        self._taken()
        for n in range(self.jobs):
            for side in _order(n):
                claim = await workers[side].claim(1, 0)
                if not claim.deliveries:
                    raise BenchmarkError("a claim returned no job")
                deliveries[side].append(claim.deliveries[0])
        return workers, deliveries

    def _taken(self) -> tuple[list[float], list[float]]:
        base, ours = (side.taken for side in self.sides)
        for side in self.sides:
            side.taken = []
        return base, ours


def _order(number: int) -> tuple[int, int]:
    """Each side goes first as often as the other."""
    return (1, 0) if number % 2 else (0, 1)


def _outcome(kind: str, number: int, delivery: Delivery) -> DeliveryOutcome:
    """The end of a delivery. Of `FAILING` every third call fails: each sums up the window, and none opens a breaker."""
    job = CompletionJob(id=delivery.id, producer="b", chain=("model-0",), body={}, role="dialogue", group="family")
    result = Result(id=delivery.id, status=Status.CANCELLED)
    if kind == NO_CALL:
        return DeliveryOutcome(next_step=result, call=None).counted(job, delivery.model)
    failed = kind == FAILING and number % 3 == 0
    attempt = Attempt(
        model=delivery.model, backend=delivery.backend, started_at=1, ended_at=2, input_tokens=9, output_tokens=9,
        cost_nusd=12, error=ErrorClass.TIMEOUT if failed else None,
    )  # fmt: skip
    call = CallReport(
        attempt=attempt, group=None, signal=CallSignal.FAILURE if failed else CallSignal.OK, epoch=delivery.epoch,
        credential="0a1b", credential_signal=CredentialSignal.FINE, credential_epoch=delivery.credential_epoch,
        cooldown_seconds=0.0, jitter=0.5,
    )  # fmt: skip
    return DeliveryOutcome(next_step=result, call=call).counted(job, delivery.model)


async def measure(urls: Sequence[str], turns: int, jobs: int, console: Console) -> list[Sheet]:
    """All variants in turns: claims for each number of queues, and settles. `urls`: two databases of one server."""
    async with AsyncExitStack() as stack:
        sides = []
        for url in urls:
            link = await stack.enter_async_context(RedisConnection(url))
            store = stack.enter_context(Redis.from_url(url))
            sides.append(Side(link, store, ThreadClock(int(store.info("server")["process_id"]))))
        await sides[0].link.load("accept", "claim", "settle", "breaker_force")
        await sides[0].load_changed()
        return await _compare_all(Comparison((sides[0], sides[1]), jobs), turns, console)


async def _compare_all(comparison: Comparison, turns: int, console: Console) -> list[Sheet]:
    base = {queues: Measured() for queues in QUEUES}
    claims = {(queues, row): Measured() for queues in QUEUES for row in VARIANTS}
    settles = {kind: Measured() for kind in SETTLES}
    for turn in range(turns):
        console.print(f"[dim]turn {turn + 1}/{turns}[/dim]", highlight=False)
        for (queues, row), measured in claims.items():
            of_base, ours = await comparison.claims(row, queues, turn)
            measured.add(of_base, ours)
            base[queues].add(of_base, of_base)
        for kind, measured in settles.items():
            measured.add(*await comparison.settles(kind, SETTLES[kind], QUEUES[0], turn))
    sheets = []
    for queues in QUEUES:
        fixed = claims[queues, YARDSTICK]
        rows = [base[queues].row(BASE.name, None), *(claims[queues, row].row(row.name, fixed) for row in VARIANTS)]
        notes = [speed(rows), *broken_promises(rows)]
        sheets.append(Sheet(f"A claim of one job, {queues} queues", COLUMNS, rows, notes=notes))
    fixed = claims[QUEUES[0], YARDSTICK]
    return [*sheets, Sheet("A settle", COLUMNS, [settles[kind].row(kind, fixed) for kind in SETTLES])]


def speed(rows: Sequence[Row]) -> str:
    """A sentence about this machine."""
    took = next(more.median for row in rows if row.name == YARDSTICK.name and (more := row.figures["more"]))
    return (
        f"{YARDSTICK.name}: {INSTRUCTIONS:,} instructions, {INSTRUCTIONS / took:,.0f} in a µs here, "
        f"{REFERENCE_SPEED:,} on the reference machine"
    )


def broken_promises(rows: Sequence[Row]) -> list[str]:
    """A sentence for each row that would cost more on the reference machine than is promised, even at the lower end of
    its interval."""
    most = {row.name: row.most_us for row in VARIANTS if row.most_us is not None}
    return [
        f"{BROKEN}{row.name} cost {readable(scaled.min)} µs more or above, at most {most[row.name]:.0f} are promised"
        for row in rows
        if row.name in most and (scaled := row.figures["scaled"]) and scaled.min > most[row.name]
    ]


def compare(quick: bool, console: Console) -> list[Sheet]:
    """Everything on a server of its own."""
    with valkey() as server:
        urls = (server.url, f"{server.url.removesuffix('/0')}/1")
        return asyncio.run(measure(urls, TURNS // 8 if quick else TURNS, JOBS, console))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.option("--quick", is_flag=True, help="A few turns.")
@click.option(
    "--instructions", is_flag=True, help="Count the instructions of claims by valgrind, in place of their time."
)
def main(as_json: bool, quick: bool, instructions: bool) -> None:
    """Compare claims and settles with and without breakers, shares, limits, budgets and cards."""
    console = Console(stderr=True)
    try:
        sheets = claim_instructions.count(console) if instructions else compare(quick, console)
    except BenchmarkError as error:
        raise click.ClickException(str(error)) from None
    if instructions:
        sheets = [replace(sheet, notes=broken_promises(sheet.rows)) for sheet in sheets]
    show(sheets, as_json)
    if any(note.startswith(BROKEN) for sheet in sheets for note in sheet.notes):
        sys.exit(1)


if __name__ == "__main__":
    main()
